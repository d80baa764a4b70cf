//! Cgroups for the demo's services, so that dashboards can tell them apart.
//!
//! All services are threads of one process, so the tree is a threaded one (cgroups(7)): the process is in its top as long
//! as the tree exists, the threads are in its leaves. A socket belongs to the cgroup of the thread that opened it; threads
//! inherit the cgroup of the thread that started them.

use std::{
    fs,
    path::{Path, PathBuf},
    process, thread,
};

use anyhow::{Context, Result, bail};
use nix::unistd::gettid;

use crate::guardian::Guardian;

/// A tree of cgroups that exists until dropped.
#[derive(Debug)]
pub struct CgroupTree {
    top: PathBuf,
    /// The cgroup that this process was in before.
    home: PathBuf,
    guardian: Option<Guardian>,
}

impl CgroupTree {
    /// Creates `<cgroup2>/<name>` and moves this process there.
    pub fn create(name: &str) -> Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").context("/proc/self/mounts: reading it")?;
        let mount = find_mount(&mounts).context("cgroup2: not mounted on this machine")?;
        let own = fs::read_to_string("/proc/self/cgroup").context("/proc/self/cgroup: reading it")?;
        let home = mount.join(own_cgroup(&own).unwrap_or_default());
        let top = mount.join(name);
        remove_tree(&top); // left over by a killed run
        let guardian = Guardian::over_cgroup(&top.to_string_lossy())?;
        fs::create_dir(&top).with_context(|| format!("{}: creating the cgroup", top.display()))?;
        let tree = Self {
            top,
            home,
            guardian: Some(guardian),
        };
        write(&tree.top.join("cgroup.procs"), &process::id().to_string())?;
        Ok(tree)
    }

    /// Directory of the tree's top.
    pub fn path(&self) -> &Path {
        &self.top
    }

    /// Moves the calling thread into the leaf called `service`.
    fn enter(&self, service: &str) -> Result<()> {
        let leaf = self.top.join(service);
        if !leaf.exists() {
            fs::create_dir(&leaf).with_context(|| format!("{}: creating the cgroup", leaf.display()))?;
            write(&leaf.join("cgroup.type"), "threaded")?;
        }
        write(&leaf.join("cgroup.threads"), &gettid().to_string())
    }
}

impl Drop for CgroupTree {
    fn drop(&mut self) {
        let _ = write(&self.home.join("cgroup.procs"), &process::id().to_string());
        if remove_tree(&self.top)
            && let Some(guardian) = self.guardian.take()
        {
            guardian.dismiss();
        }
    }
}

/// Runs `work` on a thread inside the leaf `service`; threads it starts stay there. Without a tree
/// it just runs.
pub fn within<T: Send>(
    tree: Option<&CgroupTree>,
    service: &str,
    work: impl FnOnce() -> Result<T> + Send,
) -> Result<T> {
    let Some(tree) = tree else { return work() };
    thread::scope(|scope| {
        let inside = scope.spawn(|| {
            tree.enter(service)?;
            work()
        });
        match inside.join() {
            Ok(result) => result,
            Err(_) => bail!("cgroup {service}: the thread inside panicked"),
        }
    })
}

/// Removes a tree of depth two; returns whether it is gone.
fn remove_tree(top: &Path) -> bool {
    for leaf in fs::read_dir(top).into_iter().flatten().flatten() {
        if leaf.path().is_dir() {
            let _ = fs::remove_dir(leaf.path());
        }
    }
    let _ = fs::remove_dir(top);
    !top.exists()
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("{}: writing {value}", path.display()))
}

/// Mount point of cgroup2 in the text of `/proc/self/mounts`.
fn find_mount(mounts: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let (_device, point, kind) = (fields.next()?, fields.next()?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(point))
    })
}

/// The process's own place (`0::/path`) in the text of `/proc/self/cgroup`, without the slash.
fn own_cgroup(text: &str) -> Option<&str> {
    text.lines().find_map(|line| line.strip_prefix("0::/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroup2_is_found_wherever_it_is_mounted() {
        let mounts = "proc /proc proc rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(find_mount(mounts), Some(PathBuf::from("/sys/fs/cgroup/unified")));
        assert_eq!(find_mount("cgroup2\nshort line\n"), None);
    }

    #[test]
    fn own_place_is_the_unified_one() {
        assert_eq!(own_cgroup("3:cpu:/x\n0::/user.slice/a\n"), Some("user.slice/a"));
        assert_eq!(own_cgroup("0::/\n"), Some(""));
    }
}
