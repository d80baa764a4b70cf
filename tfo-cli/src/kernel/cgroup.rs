//! cgroup v2: where it is mounted, a directory of it, and a lock that lives in it.

use std::{
    fs::{self, File},
    io,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Error, procfs, sys};

/// A directory of the hierarchy, opened.
#[derive(Debug)]
pub struct Cgroup {
    /// Where the hierarchy is mounted.
    pub mount: PathBuf,
    /// The directory itself.
    pub path: PathBuf,
    directory: File,
}

impl Cgroup {
    /// Opens the root of the hierarchy, or the directory given: absolute, or relative to the mount.
    pub fn open(wanted: Option<&Path>) -> Result<Self, Error> {
        let mount = mount_point()?;
        let path = wanted.map_or_else(|| mount.clone(), |path| below(&mount, path));
        let fail = |why: String| Error::Cgroup {
            path: wanted.unwrap_or(&path).to_path_buf(),
            why,
        };
        let directory = File::open(&path).map_err(|error| fail(error.to_string()))?;
        if !path.join("cgroup.procs").exists() {
            return Err(fail("not a cgroup v2 directory".into()));
        }
        Ok(Self {
            mount,
            path,
            directory,
        })
    }
}

/// Where a cgroup lies that is given as a path: absolute, or relative to the mount.
pub fn below(mount: &Path, path: &Path) -> PathBuf {
    if path.starts_with(mount) {
        return path.to_path_buf();
    }
    // "/system.slice" as in /proc/PID/cgroup.
    mount.join(path.strip_prefix("/").unwrap_or(path))
}

impl Cgroup {
    /// cgroup id of the directory; 0 for the root, which is everything.
    pub fn scope_id(&self) -> u64 {
        if self.level() == 0 {
            0
        } else {
            self.directory.metadata().map_or(0, |found| found.ino())
        }
    }

    /// Whether the mount shows the whole hierarchy of the host, and not the part of a cgroup namespace: the root has the
    /// number 1 (`kernfs_create_root` gives it the first one).
    pub fn is_whole(&self) -> bool {
        fs::metadata(&self.mount).is_ok_and(|root| root.ino() == 1)
    }

    /// Depth below the root of the hierarchy.
    pub fn level(&self) -> u32 {
        let below = self
            .path
            .strip_prefix(&self.mount)
            .map_or(0, |path| path.components().count());
        u32::try_from(below).unwrap_or(u32::MAX)
    }
}

impl AsFd for Cgroup {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }
}

/// The first cgroup2 mount of this mount namespace.
pub fn mount_point() -> Result<PathBuf, Error> {
    let mounts = fs::read_to_string("/proc/self/mounts").map_err(|source| Error::Io {
        operation: "read",
        object: "/proc/self/mounts".into(),
        source,
    })?;
    procfs::mount_of_type(&mounts, "cgroup2").ok_or(Error::NoCgroup2)
}

/// Tells instances of this tool apart: every running one holds a shared `flock` on the root of the
/// hierarchy. The kernel drops it with the process, also on SIGKILL, and nothing is written to disk.
#[derive(Debug, Default)]
pub struct Presence {
    root: Option<File>,
}

impl Presence {
    /// Announces this instance. Waits a moment for one that is just ending; without the lock the tool works
    /// all the same and leaves callback flags behind at its end.
    pub fn announce(mount: &Path) -> Self {
        let Ok(root) = File::open(mount) else {
            return Self { root: None };
        };
        let deadline = Instant::now() + Duration::from_secs(1);
        while root.try_lock_shared().is_err() {
            if Instant::now() >= deadline {
                return Self { root: None };
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Self { root: Some(root) }
    }

    /// Leaves; true when nobody else is there, and nobody can come as long as `self` lives.
    pub fn leave(&self) -> io::Result<bool> {
        let Some(root) = &self.root else { return Ok(false) };
        root.unlock()?;
        sys::is_locked(root.try_lock())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_last_instance_is_alone() {
        let dir = std::env::temp_dir();
        let (first, second) = (Presence::announce(&dir), Presence::announce(&dir));
        assert!(!first.leave().unwrap());
        assert!(second.leave().unwrap());
        drop(second);
        assert!(first.leave().unwrap());
    }
}
