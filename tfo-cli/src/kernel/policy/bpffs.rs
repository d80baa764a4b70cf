//! The pin directory: on a bpffs, ours alone, and locked while it is looked at or changed.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{super::sys, Error};

/// How long another instance is waited for: applying 10,000 rules takes less than a second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(5);

/// The pin directory, which need not exist, with the lock that serialises everybody who works on it.
///
/// The lock is a `flock` on the directory above: that one exists always, and is not removed and made again. It
/// ends with the process, however that ends.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Checks and locks it.
    pub fn lock(path: &Path) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        let no_bpffs = || Error::NoBpffs {
            directory: path.to_path_buf(),
            parent: parent.to_path_buf(),
        };
        match statfs(parent).map(|found| found.filesystem_type()) {
            Ok(BPF_FS_MAGIC) => {}
            Ok(_) => return Err(no_bpffs()),
            Err(source) => return Err(Error::io("look at", parent.display().to_string())(source.into())),
        }
        let lock = File::open(parent).map_err(Error::io("open", parent.display().to_string()))?;
        let deadline = Instant::now() + LOCK_TIMEOUT;
        while !sys::is_locked(lock.try_lock()).map_err(Error::io("lock", parent.display().to_string()))? {
            if Instant::now() >= deadline {
                return Err(Error::Busy {
                    path: parent.to_path_buf(),
                });
            }
            thread::sleep(RETRY);
        }
        Ok(Self {
            path: path.to_path_buf(),
            _lock: lock,
        })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a pin in it.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Makes it, for root alone.
    pub fn create(&self) -> Result<(), Error> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(Error::io("make", self.path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }

    /// Names of the pins in it; `None` when it does not exist.
    pub fn names(&self) -> Result<Option<Vec<String>>, Error> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::io("read", self.path.display().to_string())(error)),
        };
        let mut names: Vec<String> = entries
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        Ok(Some(names))
    }

    /// Removes a pin; one that is gone is fine.
    pub fn unpin(&self, name: &str) -> Result<(), Error> {
        let path = self.pin(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory itself, once it is empty. What is not ours keeps it.
    pub fn remove(&self) -> Result<(), Error> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }
}
