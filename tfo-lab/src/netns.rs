//! Network namespaces, and running code inside one.
//!
//! A thread that has entered a namespace stays there, so every entry happens on a thread of its own:
//! [`Namespace::run`] for a call, [`Namespace::spawn`] for background work. Child processes that such a thread starts are
//! in the namespace, too.

pub mod loopback;

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt,
    panic,
    path::PathBuf,
    sync::Arc,
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::sched::{CloneFlags, setns, unshare};

use crate::command;

/// Where iproute2 keeps the handles of named namespaces.
pub const NAMED_DIR: &str = "/run/netns";

/// A handle on a network namespace. Cloning is cheap. The namespace lives as long as a handle, a name or a thread inside
/// it exists.
#[derive(Clone, Debug)]
pub struct Namespace {
    handle: Arc<File>,
    label: String,
}

impl Namespace {
    /// Opens a namespace that `ip netns add` created.
    pub fn open_named(name: &str) -> Result<Self> {
        let path = PathBuf::from(NAMED_DIR).join(name);
        let handle = File::open(&path).with_context(|| {
            format!(
                "{}: opening the namespace; `tfo-lab up` creates it",
                path.display()
            )
        })?;
        Ok(Self {
            handle: Arc::new(handle),
            label: name.to_owned(),
        })
    }

    /// Opens the namespace the calling thread is in.
    pub fn current() -> Result<Self> {
        let path = "/proc/thread-self/ns/net";
        let handle = File::open(path).with_context(|| format!("{path}: opening the own namespace"))?;
        Ok(Self {
            handle: Arc::new(handle),
            label: "current".to_owned(),
        })
    }

    /// Creates a namespace without a name. The kernel removes it after its last user, even if that is killed.
    pub fn anonymous(label: &str) -> Result<Self> {
        let created = thread::scope(|scope| {
            let create = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)
                    .context("creating a network namespace: this needs root (CAP_SYS_ADMIN)")?;
                loopback::bring_up()?;
                Self::current()
            });
            join(create.join())
        })?;
        Ok(Self {
            label: label.to_owned(),
            ..created
        })
    }

    /// The name given at creation, for messages.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The inode number by which records name this namespace.
    pub fn inode(&self) -> Result<u64> {
        let metadata = self.handle.metadata();
        Ok(metadata
            .with_context(|| format!("namespace {}: reading its inode", self.label))?
            .ino())
    }

    /// Runs `work` inside the namespace, on a thread made for this call.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                work()
            });
            join(inside.join())
        })
    }

    /// Starts a background thread named `name` inside the namespace. The name is what the kernel
    /// reports as `comm` for the sockets it opens (15 bytes at most).
    pub fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<JoinHandle<Result<T>>> {
        let namespace = self.clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                namespace.enter()?;
                work()
            })
            .with_context(|| format!("thread {name}: starting it"))
    }

    /// Runs an external command inside the namespace and returns its standard output.
    pub fn command(&self, program: &str, args: &[&str]) -> Result<String> {
        self.run(|| command::run(program, args))
    }

    /// Reads a sysctl (`net/ipv4/tcp_fastopen`) as this namespace sees it; `None` if the kernel
    /// has no such setting.
    pub fn sysctl(&self, name: &str) -> Result<Option<String>> {
        let path = sysctl_path(name);
        self.run(|| match fs::read_to_string(&path) {
            Ok(value) => Ok(Some(value.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(anyhow!(error).context(format!("{}: reading it", path.display()))),
        })
    }

    /// Writes a sysctl of this namespace. Only for namespaces made by the lab: the host's own
    /// settings are refused.
    pub fn set_sysctl(&self, name: &str, value: &str) -> Result<()> {
        self.refuse_host(name)?;
        let path = sysctl_path(name);
        self.run(|| {
            fs::write(&path, value)
                .with_context(|| format!("{}: writing {value:?} in {}", path.display(), self.label))
        })
    }

    /// Empties the cookie cache (`tcp_metrics`) of this namespace.
    pub fn flush_tcp_metrics(&self) -> Result<()> {
        self.command("ip", &["tcp_metrics", "flush"]).map(drop)
    }

    fn enter(&self) -> Result<()> {
        setns(&*self.handle, CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("namespace {}: entering it; this needs root", self.label))
    }

    /// Fails for the namespace of the host: a mistake in the lab must never change the machine that it runs on.
    fn refuse_host(&self, name: &str) -> Result<()> {
        // The first thread never enters a namespace of the lab: it is in that of the host.
        let host = fs::metadata("/proc/self/ns/net").context("/proc/self/ns/net: reading its inode")?;
        if host.ino() == self.inode()? {
            return Err(anyhow!(
                "sysctl {name}: refusing to write it in the host's own namespace"
            ));
        }
        Ok(())
    }
}

fn sysctl_path(name: &str) -> PathBuf {
    PathBuf::from("/proc/sys").join(name)
}

/// The result of a thread; a panic in it continues in the caller.
fn join<T>(result: thread::Result<T>) -> T {
    result.unwrap_or_else(|cause| panic::resume_unwind(cause))
}
