//! What cgroups are called: by their id (the inode of the directory) at once where the kernel opens files by handle,
//! by walking the tree where it does not.

use std::{
    collections::HashMap,
    fs::{self, File},
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::fs::{DirEntryExt as _, MetadataExt as _},
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::sys;
use crate::model::source::Lookup;

/// How often the tree is walked for unknown ids at most.
const REWALK: Duration = Duration::from_millis(500);
/// Depth of the walk; systemd and container runtimes stay far below.
const MAX_DEPTH: usize = 32;
/// What the kernel adds to the path of a directory that was removed (`d_path`, `fs/d_path.c`).
const DELETED: &str = " (deleted)";

/// Paths by cgroup id. Nothing is kept of cgroups that are gone: who shows their counters remembers their names.
#[derive(Debug)]
pub struct Names {
    mount: PathBuf,
    way: Way,
}

#[derive(Debug)]
enum Way {
    /// `open_by_handle_at(2)` on this mount: exact, and nothing is kept.
    Handle(File),
    /// The tree as it was found last.
    Walk(Walk),
}

#[derive(Debug, Default)]
struct Walk {
    paths: HashMap<u64, String>,
    at: Option<Instant>,
}

impl Names {
    /// Knows nothing yet.
    pub fn new(mount: PathBuf) -> Self {
        let way = File::open(&mount).map_or_else(|_| Way::Walk(Walk::default()), Way::Handle);
        Self { mount, way }
    }

    /// The same where files cannot be opened by handle: it takes `CAP_DAC_READ_SEARCH`.
    #[cfg(test)]
    fn walking(mount: PathBuf) -> Self {
        Self {
            mount,
            way: Way::Walk(Walk::default()),
        }
    }

    /// Whether new cgroups are found only by walking the tree.
    pub fn is_walking(&self) -> bool {
        matches!(self.way, Way::Walk(_))
    }

    /// The path of a cgroup below the mount, beginning with `/`.
    pub fn path(&mut self, id: u64) -> Lookup<String> {
        if id == 0 {
            return Lookup::Gone;
        }
        if let Way::Handle(root) = &self.way {
            match by_handle(root, &self.mount, id) {
                Ok(answer) => return answer,
                // No right to (EPERM), or a kernel or sandbox without it.
                Err(_) => self.way = Way::Walk(Walk::default()),
            }
        }
        match &mut self.way {
            Way::Walk(walk) => walk.path(&self.mount, id),
            Way::Handle(_) => Lookup::NotYet,
        }
    }
}

/// A cgroup that is gone has no directory any more, and `exportfs_decode_fh` says so with ESTALE; for a moment the
/// directory may be found while it goes.
fn by_handle(root: &File, mount: &Path, id: u64) -> io::Result<Lookup<String>> {
    let directory = match sys::open_kernfs(root.as_fd(), id) {
        Ok(directory) => directory,
        Err(error) if matches!(error.raw_os_error(), Some(libc::ESTALE | libc::ENOENT)) => {
            return Ok(Lookup::Gone);
        }
        Err(error) => return Err(error),
    };
    let link = fs::read_link(format!("/proc/self/fd/{}", directory.as_raw_fd()))?;
    // Outside of our cgroup namespace there is nothing to show either.
    let Ok(below) = link.strip_prefix(mount) else {
        return Ok(Lookup::Gone);
    };
    let mut path = format!("/{}", below.display());
    let is_there = || fs::symlink_metadata(&link).is_ok_and(|found| found.ino() == id);
    if path.ends_with(DELETED) && !is_there() {
        path.truncate(path.len() - DELETED.len());
    }
    Ok(Lookup::Known(path))
}

impl Walk {
    /// Who was not there at a walk may have been born since: only the next walk tells.
    fn path(&mut self, mount: &Path, id: u64) -> Lookup<String> {
        if let Some(path) = self.paths.get(&id) {
            return Lookup::Known(path.clone());
        }
        if self.at.is_some_and(|at| at.elapsed() < REWALK) {
            return Lookup::NotYet;
        }
        self.paths = tree(mount);
        self.at = Some(Instant::now());
        self.paths
            .get(&id)
            .map_or(Lookup::Gone, |path| Lookup::Known(path.clone()))
    }
}

/// Every directory below the mount.
fn tree(mount: &Path) -> HashMap<u64, String> {
    let mut paths = HashMap::new();
    if let Ok(root) = fs::metadata(mount) {
        paths.insert(root.ino(), "/".to_owned());
    }
    let mut pending = vec![(mount.to_path_buf(), 0)];
    while let Some((directory, depth)) = pending.pop() {
        // A cgroup may vanish while we look: that is no error.
        let Ok(entries) = fs::read_dir(&directory) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = entry.path();
            let name = path.strip_prefix(mount).unwrap_or(&path);
            paths.insert(entry.ino(), format!("/{}", name.display()));
            if depth < MAX_DEPTH {
                pending.push((path, depth + 1));
            }
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_ids_have_no_path() {
        for mut names in [
            Names::new("/nonexistent".into()),
            Names::walking("/nonexistent".into()),
        ] {
            assert_eq!(names.path(0), Lookup::Gone);
            assert_eq!(names.path(42), Lookup::Gone);
        }
    }

    /// Born after a walk is not gone: the next walk finds it, and not before.
    #[test]
    fn born_after_a_walk_is_not_yet_known() {
        let root = std::env::temp_dir().join(format!("tfo-names-{}", std::process::id()));
        fs::create_dir_all(root.join("one")).expect("it can be made");
        let id = |name: &str| fs::metadata(root.join(name)).expect("it is there").ino();
        let mut names = Names::walking(root.clone());
        assert_eq!(names.path(id("one")), Lookup::Known("/one".into()));
        fs::create_dir(root.join("two")).expect("it can be made");
        let (first, two) = (names.path(id("two")), id("two"));
        assert!(
            matches!(first, Lookup::NotYet) || first == Lookup::Known("/two".into()),
            "{first:?}"
        );
        let deadline = Instant::now() + Duration::from_secs(20);
        while names.path(two) == Lookup::NotYet && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(names.path(two), Lookup::Known("/two".into()));
        fs::remove_dir_all(&root).expect("it can be removed");
        let gone = Names::walking(root).path(two);
        assert_eq!(gone, Lookup::Gone);
    }
}
