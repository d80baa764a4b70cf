//! The pin directory: on a bpffs, ours alone, and locked while it is looked at or changed.

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

/// How long another instance is waited for: applying 10,000 rules takes less than a second.
const LOCK_TIMEOUT: Duration = Duration::from_secs(20);
/// Mode bits that let group or others write.
const OTHERS_WRITE: u32 = 0o022;
/// Mode bit of a directory whose entries only their owners rename and remove.
const STICKY: u32 = 0o1000;
/// How often the lock is tried.
const RETRY: Duration = Duration::from_millis(5);

/// The pin directory, which need not exist, with the lock that serialises everybody who works on it.
///
/// The lock is a `flock` on the directory itself: only who may write there can open it, where anybody can open the bpffs
/// above and hold a lock on that for ever. It ends with the process, however that ends. The directory is removed with the
/// last rule; who waited for the lock meanwhile finds that its path leads elsewhere, and begins again.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// `None` while there is no directory.
    lock: Option<File>,
}

impl Directory {
    /// Checks and locks it. `make`: also where it does not exist yet. One that is empty in the end goes.
    pub fn lock(path: &Path, make: bool) -> Result<Self, Error> {
        let parent = path.parent().unwrap_or(Path::new("/"));
        check_parent(path, parent)?;
        let mut directory = Self {
            path: path.to_path_buf(),
            lock: None,
        };
        directory.lock = directory.open()?;
        if make {
            directory.create()?;
        }
        Ok(directory)
    }

    /// Makes it, for root alone, and locks it; nothing where that was done before.
    pub fn create(&mut self) -> Result<(), Error> {
        while self.lock.is_none() {
            match DirBuilder::new().mode(0o700).create(&self.path) {
                // One that somebody else has made is looked at below.
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(Error::io("make", self.path.display().to_string())(error));
                }
                _ => {}
            }
            self.lock = self.open()?;
        }
        Ok(())
    }

    /// Opens and locks it; `None` where it does not exist.
    fn open(&self) -> Result<Option<File>, Error> {
        let name = || self.path.display().to_string();
        let deadline = Instant::now() + LOCK_TIMEOUT;
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
                thread::sleep(RETRY);
            }
            let now = fs::symlink_metadata(&self.path);
            if now.is_ok_and(|now| (now.dev(), now.ino()) == (opened.dev(), opened.ino())) {
                return Ok(Some(file));
            }
        }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Path of a pin in it.
    pub fn pin(&self, name: &str) -> PathBuf {
        self.path.join(name)
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
            // An empty one is of no use to anybody; this fails where there is something in it.
            let _ = fs::remove_dir(&self.path);
        }
    }
}

/// The directory above must be on a bpffs, and nobody else may exchange what is in it.
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
    // A new bpffs is open to everybody, with the sticky bit: then only owners rename and remove.
    if found.mode() & OTHERS_WRITE != 0 && found.mode() & STICKY == 0 {
        return Err(Error::Unsafe {
            path: parent.to_path_buf(),
            why: "others may rename and remove what is in it".to_owned(),
        });
    }
    check_user(parent, &found)
}

/// Whoever may write to the directory of the pins decides on every connection of the host.
fn check_owner(path: &Path, found: &Metadata) -> Result<(), Error> {
    if found.mode() & OTHERS_WRITE != 0 {
        return Err(Error::Unsafe {
            path: path.to_path_buf(),
            why: format!("others may write to it (mode {:o})", found.mode() & 0o7777),
        });
    }
    check_user(path, found)
}

fn check_user(path: &Path, found: &Metadata) -> Result<(), Error> {
    if [0, geteuid().as_raw()].contains(&found.uid()) {
        return Ok(());
    }
    Err(Error::Unsafe {
        path: path.to_path_buf(),
        why: format!("it belongs to uid {}", found.uid()),
    })
}
