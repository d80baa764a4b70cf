//! A cgroup for one command, below the caller's own: limits, rules and guards of the caller hold in it, and nothing else of the
//! host is in it. It is gone when the command has ended.
//!
//! No controller is switched on, so the rule that processes live only in leaves does not bite
//! (Documentation/admin-guide/cgroup-v2.rst, "No Internal Process Constraint"): that rule is about cgroups that hand
//! controllers down, and the caller's cannot do that while the caller is in it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use super::{Error, cgroup, procfs};

/// What the directories are called, before the id of the process that made them.
const PREFIX: &str = "tfo-cli-run.";
/// How long processes that are just ending may keep the directory.
const REMOVAL_TIMEOUT: Duration = Duration::from_secs(5);
/// `errno` of a read of `cgroup.procs` in a threaded cgroup.
const NOT_SUPPORTED: i32 = libc::EOPNOTSUPP;

/// The directory. Dropping it removes it as [`CommandCgroup::remove`] does.
#[derive(Debug)]
pub struct CommandCgroup {
    /// The caller's.
    parent: PathBuf,
    path: PathBuf,
    /// Held with a `flock`: an empty directory without one is a killed command's.
    lock: Option<File>,
}

impl CommandCgroup {
    /// Makes it. What killed commands left empty goes before.
    pub fn create() -> Result<Self, Error> {
        let parent = own()?;
        sweep(&parent);
        let path = parent.join(format!("{PREFIX}{}", std::process::id()));
        let fail = |operation| {
            let object = path.display().to_string();
            move |source| Error::Io {
                operation,
                object,
                source,
            }
        };
        fs::create_dir(&path).map_err(fail("make the cgroup"))?;
        let made = Self {
            lock: File::open(&path).ok().filter(|file| file.try_lock().is_ok()),
            parent,
            path: path.clone(),
        };
        // Below a threaded domain a new cgroup takes nobody before it is threaded, too (cgroup_is_valid_domain()).
        let kind = path.join("cgroup.type");
        if fs::read_to_string(&kind).is_ok_and(|text| text.trim() == "domain invalid") {
            fs::write(&kind, "threaded").map_err(fail("make a threaded cgroup of"))?;
        }
        Ok(made)
    }

    /// Whether a process is in it, or in one that the command made below it. Not where /proc does not tell.
    pub fn holds(&self, process: u32) -> bool {
        cgroup_of(&process.to_string()).is_ok_and(|path| path.starts_with(&self.path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file into which a process writes `0` to move itself here. The rights are those of whoever opened it.
    pub fn door(&self) -> io::Result<File> {
        OpenOptions::new()
            .write(true)
            .open(self.path.join("cgroup.procs"))
    }

    /// Moves processes that are still in it to the caller's cgroup, where they would be without us, and removes it. Returns
    /// how many processes that were.
    pub fn remove(mut self) -> Result<usize, Error> {
        self.take_away()
    }

    fn take_away(&mut self) -> Result<usize, Error> {
        self.lock = None;
        let deadline = Instant::now() + REMOVAL_TIMEOUT;
        let mut moved = 0;
        loop {
            let done = self.empty(&self.path, &mut moved);
            match done.and_then(|()| fs::remove_dir(&self.path)) {
                Ok(()) => return Ok(moved),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(moved),
                Err(source) if Instant::now() >= deadline => {
                    return Err(Error::Io {
                        operation: "remove the cgroup",
                        object: self.path.display().to_string(),
                        source,
                    });
                }
                // A process that forked meanwhile, or one that is just ending.
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    }

    /// Moves everybody out, and removes the directories below that the command made.
    fn empty(&self, directory: &Path, moved: &mut usize) -> io::Result<()> {
        for entry in fs::read_dir(directory)?.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                self.empty(&entry.path(), moved)?;
                fs::remove_dir(entry.path())?;
            }
        }
        for id in members(directory)? {
            match fs::write(self.parent.join("cgroup.procs"), id.as_bytes()) {
                Ok(()) => *moved += 1,
                // It has ended.
                Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Drop for CommandCgroup {
    fn drop(&mut self) {
        // Who wants to know calls `remove`; on the way out of an error there is nobody to tell.
        if self.path.exists() {
            let _ = self.take_away();
        }
    }
}

/// Processes in a cgroup; of a threaded one, where the kernel does not list them, threads: whoever moves one of these moves
/// its process (`cgroup_procs_write_start()`).
fn members(directory: &Path) -> io::Result<Vec<String>> {
    let read = |name: &str| fs::read_to_string(directory.join(name));
    let text = match read("cgroup.procs") {
        Err(error) if error.raw_os_error() == Some(NOT_SUPPORTED) => read("cgroup.threads")?,
        other => other?,
    };
    Ok(text.lines().map(str::to_owned).collect())
}

/// The caller's own cgroup.
fn own() -> Result<PathBuf, Error> {
    cgroup_of("self")
}

/// The cgroup of a process.
fn cgroup_of(process: &str) -> Result<PathBuf, Error> {
    let file = format!("/proc/{process}/cgroup");
    let mount = cgroup::mount_point()?;
    let text = fs::read_to_string(&file).map_err(|source| Error::Io {
        operation: "read",
        object: file.clone(),
        source,
    })?;
    let fail = |path: &str, why: &str| Error::Cgroup {
        path: path.into(),
        why: why.into(),
    };
    let path = procfs::own_cgroup(&text).ok_or_else(|| fail(&file, "it names no cgroup v2"))?;
    // Of a cgroup outside of the caller's cgroup namespace the path begins so (cgroup_path_ns_locked()).
    if path.starts_with("/..") {
        return Err(fail(
            path,
            "this process is outside of the hierarchy that is mounted",
        ));
    }
    Ok(cgroup::below(&mount, Path::new(path)))
}

/// Removes what killed commands left: directories that nobody holds a lock on, and in which nobody is.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(PREFIX) {
            continue;
        }
        let held = File::open(entry.path());
        if held.is_ok_and(|directory| directory.try_lock().is_ok()) {
            // Fails, as it should, where somebody is in it.
            let _ = fs::remove_dir(entry.path());
        }
    }
}
