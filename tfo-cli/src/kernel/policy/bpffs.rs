//! The pin directory: a directory of a bpffs that only root can enter. Commands lock it; `peek` reads it without the lock.

use std::{
    fs::{self, DirBuilder, File, Metadata, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use nix::{
    fcntl::OFlag,
    sys::statfs::{BPF_FS_MAGIC, statfs},
    unistd::geteuid,
};

use super::{super::sys, Error};

/// How long to wait for the lock: a command that applies 10,000 rules holds it for less than a second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// Mode bits that allow group or others to write.
const OTHERS_WRITE: u32 = 0o022;
/// Mode bit of a directory in which only the owner of an entry may rename or remove it (sticky bit).
const STICKY: u32 = 0o1000;
/// Time between two attempts to take the lock.
const RETRY_INTERVAL: Duration = Duration::from_millis(5);

/// The pin directory, which need not exist, with the lock that lets one command at a time work on it.
///
/// The lock is a `flock` on the directory itself, which only root can open; any user could open the bpffs above and hold
/// a lock on that for ever. The kernel releases it when the process ends, however it ends. The directory is removed with
/// the last rule: a command that waited for the lock then finds that the path is no longer this directory, and starts
/// again.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// The open and locked directory; `None` while it does not exist.
    lock: Option<File>,
}

impl Directory {
    /// Checks and locks the directory; with `make`, creates it before if it does not exist. Dropping this removes a
    /// directory that is empty.
    pub fn lock(path: &Path, make: bool) -> Result<Self, Error> {
        let mut directory = Self::lock_within(path, LOCK_TIMEOUT)?;
        if make {
            directory.create()?;
        }
        Ok(directory)
    }

    /// Checks and locks the directory if nobody else has it locked; for who can come again.
    pub fn lock_now(path: &Path) -> Result<Self, Error> {
        Self::lock_within(path, Duration::ZERO)
    }

    fn lock_within(path: &Path, patience: Duration) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        check_parent(path, parent)?;
        let mut directory = Self {
            path: path.to_path_buf(),
            lock: None,
        };
        directory.lock = directory.open(patience)?;
        Ok(directory)
    }

    /// Creates the directory with mode 0700 and locks it, unless that was done before.
    pub fn create(&mut self) -> Result<(), Error> {
        while self.lock.is_none() {
            match DirBuilder::new().mode(0o700).create(&self.path) {
                // One that another process has created meanwhile is checked by `open`.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make", self.path.display().to_string())(error));
                }
                _ => {}
            }
            self.lock = self.open(LOCK_TIMEOUT)?;
        }
        Ok(())
    }

    /// Opens, checks and locks the directory; `None` when it does not exist.
    fn open(&self, patience: Duration) -> Result<Option<File>, Error> {
        let name = || self.path.display().to_string();
        let deadline = Instant::now() + patience;
        loop {
            let options = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW;
            let opened = OpenOptions::new()
                .read(true)
                .custom_flags(options.bits())
                .open(&self.path);
            let file = match opened {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                Err(error) => return Err(Error::io("open", name())(error)),
            };
            let opened = file.metadata().map_err(Error::io("look at", name()))?;
            check_owner(&self.path, &opened)?;
            while !sys::is_locked(file.try_lock()).map_err(Error::io("lock", name()))? {
                if Instant::now() >= deadline {
                    return Err(Error::Busy {
                        path: self.path.clone(),
                    });
                }
                thread::sleep(RETRY_INTERVAL);
            }
            let now = fs::symlink_metadata(&self.path);
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino())) {
                return Ok(Some(file));
            }
        }
    }

    /// The path of the directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a pin in the directory.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Names of the pins in the directory; `None` when it does not exist.
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

    /// Removes a pin. A pin that does not exist is no error.
    pub fn unpin(&self, name: &str) -> Result<(), Error> {
        let path = self.pin(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", path.display().to_string())(error))
            }
            _ => Ok(()),
        }
    }

    /// Removes the directory, which must be empty. One that does not exist is no error.
    pub fn remove(&mut self) -> Result<(), Error> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(Error::io("remove", self.path.display().to_string())(error))
            }
            _ => {
                self.lock = None;
                Ok(())
            }
        }
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Fails for a directory that is not empty, which is to stay.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// Checks that the directory above is on a bpffs, and that other users cannot replace what is in it.
fn check_parent(path: &Path, parent: &Path) -> Result<(), Error> {
    match statfs(parent).map(|found| found.filesystem_type()) {
        Ok(BPF_FS_MAGIC) => {}
        Ok(_) => {
            return Err(Error::NoBpffs {
                directory: path.to_path_buf(),
                parent: parent.to_path_buf(),
            });
        }
        Err(source) => return Err(Error::io("look at", parent.display().to_string())(source.into())),
    }
    let found = fs::metadata(parent).map_err(Error::io("look at", parent.display().to_string()))?;
    // A new bpffs is writable for all users, but has the sticky bit: only owners may rename and remove entries.
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(Error::Unsafe {
            path: parent.to_path_buf(),
            why: "others may rename and remove what is in it".to_owned(),
        });
    }
    check_user(parent, &found)
}

/// Checks that only root can write to the pin directory, because the pins decide on every connection of the host.
fn check_owner(path: &Path, found: &Metadata) -> Result<(), Error> {
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(Error::Unsafe {
            path: path.to_path_buf(),
            why: format!("others may write to it (mode {:o})", found.mode() & 0o7777),
        });
    }
    check_user(path, found)
}

/// Checks that the directory belongs to root or to the user of this process.
fn check_user(path: &Path, found: &Metadata) -> Result<(), Error> {
    if [0, geteuid().as_raw()].contains(&found.uid()) {
        return Ok(());
    }
    Err(Error::Unsafe {
        path: path.to_path_buf(),
        why: format!("it belongs to uid {}", found.uid()),
    })
}
