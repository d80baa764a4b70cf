//! A cgroup of one's own: the test's sockets are in it, those of a busy host are not.

use std::{
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};
use tfo_lab::traffic::cgroup::{self, CgroupTree};

use super::tool::Tool;

/// While it lives, this process is in a cgroup of its own, and sockets opened meanwhile stay there.
pub struct Sandbox {
    tree: CgroupTree,
}

impl Sandbox {
    pub fn enter() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let tree = CgroupTree::create(&format!("tfo-test-{}-{number}", process::id()))?;
        Ok(Self { tree })
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.tree.path()
    }

    /// Its path below the cgroup2 mount, as records have it.
    pub fn name(&self) -> Result<String> {
        let name = self.path().file_name().context("the sandbox has no name")?;
        Ok(format!("/{}", name.to_string_lossy()))
    }

    /// Its id: the inode of the directory.
    pub fn id(&self) -> Result<u64> {
        Ok(self
            .path()
            .metadata()
            .context("sandbox: reading its inode")?
            .ino())
    }

    /// Runs `work` on a thread in the child cgroup `name`.
    pub fn within<T: Send>(&self, name: &str, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        cgroup::within(Some(&self.tree), name, work)
    }

    /// Directory of a child cgroup.
    pub fn child(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Starts `tfo-cli <command> --cgroup <sandbox> <args>` and waits until it has attached.
    pub fn tool(&self, command: &str, args: &[&str]) -> Result<Tool> {
        let path = self.path().to_string_lossy();
        let mut all = vec![command, "--cgroup", &path];
        all.extend(args);
        Tool::attached(&all)
    }

    /// Starts `trace --format json` on the sandbox.
    pub fn trace(&self, args: &[&str]) -> Result<Tool> {
        self.tool("trace", &[&["--format", "json"], args].concat())
    }
}
