//! From what a person calls a cgroup to the cgroup itself, and back.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{
    super::{cgroup, cgroup::Cgroup},
    Error,
};
use crate::{
    model::cgroup as names,
    policy::{CgroupRef, Scope},
};

/// Depth of the walk.
const MAX_DEPTH: usize = 64;
/// Id of the root of the hierarchy (`cgroup_setup_root` makes its kernfs node first, kernel/cgroup/cgroup.c).
const ROOT_ID: u64 = 1;
/// A container is not guessed from less of its id than this.
const SHORTEST_ID: usize = 6;
/// Candidates an error lists.
const LISTED: usize = 5;

/// Every cgroup there is, as of now.
#[derive(Debug)]
pub struct Cgroups {
    mount: PathBuf,
    /// Path by id.
    paths: HashMap<u64, String>,
}

impl Cgroups {
    /// Walks the hierarchy.
    pub fn read() -> Result<Self, Error> {
        let mount = cgroup::mount_point()?;
        let mut paths = HashMap::new();
        if let Ok(root) = fs::metadata(&mount) {
            paths.insert(root.ino(), "/".to_owned());
        }
        let mut pending = vec![(mount.clone(), 0)];
        while let Some((directory, depth)) = pending.pop() {
            // A cgroup may vanish while we look: that is no error.
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let path = entry.path();
                let name = path.strip_prefix(&mount).unwrap_or(&path);
                paths.insert(entry.ino(), format!("/{}", name.display()));
                if depth < MAX_DEPTH {
                    pending.push((path, depth + 1));
                }
            }
        }
        Ok(Self { mount, paths })
    }

    /// Path of a cgroup below the mount.
    pub fn path(&self, id: u64) -> Option<String> {
        self.paths.get(&id).cloned()
    }

    /// Whether a cgroup is gone. Where only a part of the hierarchy can be seen (a cgroup namespace) nobody is
    /// declared dead.
    pub fn is_gone(&self, id: u64) -> bool {
        self.paths.contains_key(&ROOT_ID) && !self.paths.contains_key(&id)
    }

    /// A process of a cgroup, or of one below it: to find the network namespace of a service.
    pub fn process(&self, id: u64) -> Option<u32> {
        let above = self.paths.get(&id)?;
        let below = format!("{}/", above.trim_end_matches('/'));
        let mut paths: Vec<&String> = self
            .paths
            .values()
            .filter(|path| *path == above || path.starts_with(&below))
            .collect();
        paths.sort_unstable();
        paths.into_iter().find_map(|path| {
            let file = self.mount.join(path.trim_start_matches('/')).join("cgroup.procs");
            // Processes that cannot be seen from here are listed as 0.
            let text = fs::read_to_string(file).ok()?;
            text.lines()
                .filter_map(|line| line.parse().ok())
                .find(|id| *id > 0)
        })
    }

    /// The cgroup a scope means.
    pub fn find(&self, scope: &Scope) -> Result<CgroupRef, Error> {
        match scope {
            Scope::Cgroup(path) => self.by_path(scope, path),
            Scope::Unit(name) => {
                let wanted = if name.contains('.') {
                    name.clone()
                } else {
                    format!("{name}.service")
                };
                self.only(scope, |path| {
                    path.rsplit('/').next() == Some(&*wanted)
                        && (names::parse(path).unit.as_deref() == Some(&*wanted) || is_slice(&wanted))
                })
            }
            Scope::Container(id) => {
                let is_short_id = id.len() < SHORTEST_ID && id.bytes().all(|byte| byte.is_ascii_hexdigit());
                if is_short_id || id.is_empty() {
                    return Err(Error::Scope {
                        what: scope.to_string(),
                        why: format!("give at least {SHORTEST_ID} digits of its id"),
                    });
                }
                // The container's own directory, not those it has inside.
                let is_it = |path: &str| {
                    let own = |path: &str| names::parse(path).container;
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    own(path)
                        .is_some_and(|found| found == *id || found.len() == 64 && found.starts_with(&**id))
                        && own(path) != own(parent)
                };
                self.only(scope, is_it)
            }
        }
    }

    fn by_path(&self, scope: &Scope, path: &Path) -> Result<CgroupRef, Error> {
        let fail = |why: String| Error::Scope {
            what: scope.to_string(),
            why,
        };
        if !cgroup::below(&self.mount, path).exists() {
            return Err(missing(scope));
        }
        let opened = Cgroup::open(Some(path)).map_err(|error| match error {
            super::super::Error::Cgroup { why, .. } => fail(why),
            other => Error::Kernel(other),
        })?;
        // Links and dots are resolved: the path is shown and stored.
        let real = fs::canonicalize(&opened.path).map_err(|error| fail(error.to_string()))?;
        let mount = fs::canonicalize(&self.mount).unwrap_or_else(|_| self.mount.clone());
        let below = real
            .strip_prefix(&mount)
            .map_err(|_| fail(format!("lies outside of the cgroup2 mount {}", mount.display())))?;
        let id = fs::metadata(&real)
            .map_err(|error| fail(error.to_string()))?
            .ino();
        Ok(CgroupRef {
            path: format!("/{}", below.display()),
            id,
        })
    }

    /// The only cgroup that fits.
    fn only(&self, scope: &Scope, fits: impl Fn(&str) -> bool) -> Result<CgroupRef, Error> {
        let mut found: Vec<(&u64, &String)> = self.paths.iter().filter(|(_, path)| fits(path)).collect();
        found.sort_by_key(|(_, path)| *path);
        let why = match found[..] {
            [(id, path)] => {
                return Ok(CgroupRef {
                    path: path.clone(),
                    id: *id,
                });
            }
            [] => return Err(missing(scope)),
            _ => {
                let paths: Vec<&str> = found.iter().take(LISTED).map(|(_, path)| path.as_str()).collect();
                let more = if found.len() > LISTED { ", ..." } else { "" };
                format!(
                    "{} cgroups fit: {}{more}; name one with --cgroup",
                    found.len(),
                    paths.join(", ")
                )
            }
        };
        Err(Error::Scope {
            what: scope.to_string(),
            why,
        })
    }
}

/// It is not there, which may change.
fn missing(scope: &Scope) -> Error {
    Error::NoCgroup {
        what: scope.to_string(),
    }
}

/// Whether a unit is a slice; unit names are case-sensitive.
fn is_slice(unit: &str) -> bool {
    unit.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn cgroups(paths: &[&str]) -> Cgroups {
        let paths = (1..).zip(paths).map(|(id, path)| (id, (*path).to_owned()));
        Cgroups {
            mount: "/nonexistent".into(),
            paths: paths.collect(),
        }
    }

    #[test]
    fn units_and_containers_are_found() {
        let docker = format!("/system.slice/docker-{ID}.scope");
        let inner = format!("{docker}/init");
        let all = cgroups(&[
            "/",
            "/system.slice",
            "/system.slice/nginx.service",
            &docker,
            &inner,
            "/a/x@1.service",
            "/b/x@1.service",
        ]);
        let find = |scope: Scope| {
            all.find(&scope)
                .map(|found| found.id)
                .map_err(|error| error.to_string())
        };
        assert_eq!(find(Scope::Unit("nginx.service".into())), Ok(3));
        assert_eq!(find(Scope::Unit("nginx".into())), Ok(3));
        assert_eq!(find(Scope::Unit("system.slice".into())), Ok(2));
        assert_eq!(find(Scope::Container(ID[..12].into())), Ok(4));
        for (scope, part) in [
            (Scope::Unit("apache".into()), "no such cgroup"),
            (
                Scope::Unit("x@1.service".into()),
                "2 cgroups fit: /a/x@1.service, /b/x@1.service",
            ),
            (Scope::Container("0123".into()), "at least 6 digits"),
            (Scope::Container(String::new()), "at least 6 digits"),
            (Scope::Container("fedcba987".into()), "no such cgroup"),
        ] {
            let error = all.find(&scope).expect_err("it cannot be found");
            // Only what is not there may come later.
            let is_missing = matches!(error, Error::NoCgroup { .. });
            assert_eq!(is_missing, part == "no such cgroup", "{scope}: {error}");
            assert!(error.to_string().contains(part), "{scope}: {error}");
        }
    }

    #[test]
    fn a_process_is_found_in_the_cgroup_or_below() {
        let mount = std::env::temp_dir().join(format!("tfo-cli-cgroups-{}", std::process::id()));
        let mut all = cgroups(&["/", "/app", "/app/worker", "/apple", "/empty"]);
        all.mount.clone_from(&mount);
        for (path, text) in [("app", "0\n"), ("app/worker", "0\n42\n43\n"), ("apple", "7\n")] {
            fs::create_dir_all(mount.join(path)).expect("a directory");
            fs::write(mount.join(path).join("cgroup.procs"), text).expect("a file");
        }
        let found = [1, 2, 3, 4, 5, 6].map(|id| all.process(id));
        fs::remove_dir_all(&mount).expect("it is ours");
        assert_eq!(found, [Some(42), Some(42), Some(42), Some(7), None, None]);
    }

    #[test]
    fn nobody_is_declared_dead_where_the_root_is_not_seen() {
        let mut all = cgroups(&["/", "/a"]);
        assert!(all.is_gone(9) && !all.is_gone(2));
        all.paths.remove(&ROOT_ID);
        assert!(!all.is_gone(9));
    }
}
