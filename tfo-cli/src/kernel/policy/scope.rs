//! Finds the cgroup that a user names by path, unit or container, and the path of a cgroup id.

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
    policy::{CgroupRef, CgroupSelector},
};

/// Levels of the hierarchy below its root that are read.
const MAX_DEPTH: usize = 64;
/// Id of the root of the hierarchy (`cgroup_setup_root` makes its kernfs node first, kernel/cgroup/cgroup.c).
const ROOT_ID: u64 = 1;
/// Fewest digits of a container's id that may stand for it.
const MIN_ID_LEN: usize = 6;
/// Candidates that an error lists at most.
const MAX_LISTED: usize = 5;

/// All cgroups of the host, as of the instant they were read.
#[derive(Debug)]
pub struct Cgroups {
    /// Where cgroup2 is mounted.
    mount: PathBuf,
    /// Paths below the mount, by cgroup id.
    paths: HashMap<u64, String>,
}

impl Cgroups {
    /// Reads the whole hierarchy.
    pub fn read() -> Result<Self, Error> {
        let mount = cgroup::mount_point()?;
        let mut paths = HashMap::new();
        if let Ok(root) = fs::metadata(&mount) {
            paths.insert(root.ino(), "/".to_owned());
        }
        let mut pending = vec![(mount.clone(), 0)];
        while let Some((directory, depth)) = pending.pop() {
            // A cgroup that vanishes meanwhile is no error.
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

    /// The path of a cgroup below the mount; `None` when it is gone.
    pub fn path(&self, id: u64) -> Option<String> {
        self.paths.get(&id).cloned()
    }

    /// How many levels below the root of the hierarchy a cgroup lies. `None` where that is not known: it is gone, or only a part of
    /// the hierarchy can be seen.
    pub fn level(&self, id: u64) -> Option<u32> {
        let path = self.paths.contains_key(&ROOT_ID).then(|| self.paths.get(&id))??;
        let names = path.split('/').filter(|name| !name.is_empty());
        u32::try_from(names.count()).ok()
    }

    /// Whether a cgroup is gone. Within a cgroup namespace only a part of the hierarchy can be seen; there, no cgroup
    /// counts as gone.
    pub fn is_gone(&self, id: u64) -> bool {
        self.paths.contains_key(&ROOT_ID) && !self.paths.contains_key(&id)
    }

    /// The id of a process in a cgroup or in one below it, through which the network namespace of a service is found;
    /// `None` when there is no process.
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

    /// The cgroup that a selector names.
    pub fn find(&self, selector: &CgroupSelector) -> Result<CgroupRef, Error> {
        match selector {
            CgroupSelector::Path(path) => self.by_path(selector, path),
            CgroupSelector::Unit(name) => {
                let wanted = if name.contains('.') {
                    name.clone()
                } else {
                    format!("{name}.service")
                };
                self.only(selector, |path| {
                    path.rsplit('/').next() == Some(&*wanted)
                        && (names::parse(path).unit.as_deref() == Some(&*wanted) || is_slice(&wanted))
                })
            }
            CgroupSelector::Container(id) => {
                let is_short_id = id.len() < MIN_ID_LEN && id.bytes().all(|byte| byte.is_ascii_hexdigit());
                if is_short_id || id.is_empty() {
                    return Err(Error::Cgroup {
                        what: selector.to_string(),
                        why: format!("give at least {MIN_ID_LEN} digits of its id"),
                    });
                }
                // The container's own cgroup, not those within it.
                let is_it = |path: &str| {
                    let own = |path: &str| names::parse(path).container;
                    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
                    own(path)
                        .is_some_and(|found| found == *id || found.len() == 64 && found.starts_with(&**id))
                        && own(path) != own(parent)
                };
                self.only(selector, is_it)
            }
        }
    }

    fn by_path(&self, selector: &CgroupSelector, path: &Path) -> Result<CgroupRef, Error> {
        let fail = |why: String| Error::Cgroup {
            what: selector.to_string(),
            why,
        };
        if !cgroup::below(&self.mount, path).exists() {
            return Err(missing(selector));
        }
        let opened = Cgroup::open(Some(path)).map_err(|error| match error {
            super::super::Error::Cgroup { why, .. } => fail(why),
            other => Error::Kernel(other),
        })?;
        // The path is shown and stored without symbolic links and dots.
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

    /// The cgroup whose path fits; more than one is an error.
    fn only(&self, selector: &CgroupSelector, fits: impl Fn(&str) -> bool) -> Result<CgroupRef, Error> {
        let mut found: Vec<(&u64, &String)> = self.paths.iter().filter(|(_, path)| fits(path)).collect();
        found.sort_by_key(|(_, path)| *path);
        let why = match found[..] {
            [(id, path)] => {
                return Ok(CgroupRef {
                    path: path.clone(),
                    id: *id,
                });
            }
            [] => return Err(missing(selector)),
            _ => {
                let paths: Vec<&str> = found
                    .iter()
                    .take(MAX_LISTED)
                    .map(|(_, path)| path.as_str())
                    .collect();
                let more = if found.len() > MAX_LISTED { ", ..." } else { "" };
                format!(
                    "{} cgroups fit: {}{more}; name one with --cgroup",
                    found.len(),
                    paths.join(", ")
                )
            }
        };
        Err(Error::Cgroup {
            what: selector.to_string(),
            why,
        })
    }
}

/// The error for a cgroup that does not exist at present.
fn missing(selector: &CgroupSelector) -> Error {
    Error::NoCgroup {
        what: selector.to_string(),
    }
}

/// Whether a unit is a slice; unit names are case-sensitive.
fn is_slice(unit: &str) -> bool {
    unit.rsplit_once('.').is_some_and(|(_, kind)| kind == "slice")
}

#[cfg(test)]
mod tests {
    use super::{super::levels, *};

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
        let find = |selector: CgroupSelector| {
            all.find(&selector)
                .map(|found| found.id)
                .map_err(|error| error.to_string())
        };
        assert_eq!(find(CgroupSelector::Unit("nginx.service".into())), Ok(3));
        assert_eq!(find(CgroupSelector::Unit("nginx".into())), Ok(3));
        assert_eq!(find(CgroupSelector::Unit("system.slice".into())), Ok(2));
        assert_eq!(find(CgroupSelector::Container(ID[..12].into())), Ok(4));
        for (selector, part) in [
            (CgroupSelector::Unit("apache".into()), "no such cgroup"),
            (
                CgroupSelector::Unit("x@1.service".into()),
                "2 cgroups fit: /a/x@1.service, /b/x@1.service",
            ),
            (CgroupSelector::Container("0123".into()), "at least 6 digits"),
            (CgroupSelector::Container(String::new()), "at least 6 digits"),
            (CgroupSelector::Container("fedcba987".into()), "no such cgroup"),
        ] {
            let error = all.find(&selector).expect_err("it cannot be found");
            // Only a cgroup that does not exist may come later.
            let is_missing = matches!(error, Error::NoCgroup { .. });
            assert_eq!(is_missing, part == "no such cgroup", "{selector}: {error}");
            assert!(error.to_string().contains(part), "{selector}: {error}");
        }
    }

    #[test]
    fn levels_reach_down_to_the_deepest_cgroup_and_all_the_way_where_one_is_not_known() {
        let of = |all: &Cgroups, ids: &[u64]| {
            let cgroup = |id: &u64| CgroupRef {
                path: "/somewhere/else".to_owned(),
                id: *id,
            };
            let there: Vec<CgroupRef> = ids.iter().map(cgroup).collect();
            levels::of(all, there.iter())
        };
        let deep = "/x".repeat(40);
        let mut all = cgroups(&["/", "/a", "/a/b", &deep]);
        assert_eq!((of(&all, &[]), of(&all, &[1]), of(&all, &[3, 1, 2])), (0, 1, 3));
        // One that is gone, and one that is deeper than the kernel side looks.
        assert_eq!((of(&all, &[1, 7]), of(&all, &[4])), (levels::ALL, levels::ALL));
        // A cgroup namespace: nobody knows how deep its root lies.
        all.paths.remove(&ROOT_ID);
        assert_eq!(of(&all, &[2]), levels::ALL);
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
