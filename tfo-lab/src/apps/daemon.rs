//! A server program as a child process with a directory and a configuration file of its own. Dropping it ends the program
//! and removes the directory.

use std::{
    env, fs,
    io::ErrorKind,
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::netns::Namespace;

/// How long a program may take until it listens.
const START_DEADLINE: Duration = Duration::from_secs(10);
/// `TCP_LISTEN` as the column `st` of `/proc/net/tcp` writes it.
const PROC_TCP_LISTEN: &str = "0A";
/// Name of the error log in the directory of a program.
pub const LOG: &str = "error.log";

/// A running server.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    child: Child,
    directory: PathBuf,
    address: SocketAddr,
}

impl Daemon {
    /// Starts a program inside `namespace` and waits until it listens on `address`. `prepare` gets its directory
    /// and returns its configuration and its command, to which `-c <file>` is added.
    pub fn start(
        name: &'static str,
        namespace: &Namespace,
        address: SocketAddr,
        prepare: impl FnOnce(&Path) -> (String, Command),
    ) -> Result<Self> {
        let directory = temporary_directory(name, namespace, address.port())?;
        let (text, mut command) = prepare(&directory);
        let config = directory.join("config");
        fs::write(&config, text)
            .with_context(|| format!("{}: writing {name}'s configuration", config.display()))?;
        command
            .arg("-c")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = namespace.run(|| {
            command
                .spawn()
                .with_context(|| format!("{name}: starting it; is the package `{name}` installed?"))
        })?;
        let mut daemon = Self {
            name,
            child,
            directory,
            address,
        };
        daemon.await_listener(namespace)?;
        Ok(daemon)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the socket table of the namespace has the listener. A trial connection would show up in what is being
    /// tested.
    fn await_listener(&mut self, namespace: &Namespace) -> Result<()> {
        let deadline = Instant::now() + START_DEADLINE;
        while !namespace.run(|| has_listener(self.address))? {
            let ended = self.child.try_wait();
            let ended = ended.with_context(|| format!("{}: asking for its state", self.name))?;
            if ended.is_some() || Instant::now() > deadline {
                let log = fs::read_to_string(self.directory.join(LOG)).unwrap_or_default();
                bail!(
                    "{} on {}: does not listen ({ended:?}): {}",
                    self.name,
                    self.address,
                    log.trim()
                );
            }
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(pid) = i32::try_from(self.child.id()) {
            // On SIGTERM the program ends its workers; SIGKILL would leave them behind.
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn temporary_directory(name: &str, namespace: &Namespace, port: u16) -> Result<PathBuf> {
    let directory = env::temp_dir().join(format!(
        "tfo-lab-{name}-{}-{}-{port}",
        std::process::id(),
        namespace.label()
    ));
    let make = || fs::DirBuilder::new().mode(0o700).create(&directory);
    let result = match make() {
        // Left over by a run that had the same process id.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::remove_dir_all(&directory).and_then(|()| make())
        }
        other => other,
    };
    result.with_context(|| format!("{}: creating {name}'s directory", directory.display()))?;
    Ok(directory)
}

/// Whether the calling thread's namespace has a listener on that port.
fn has_listener(address: SocketAddr) -> Result<bool> {
    let path = if address.is_ipv4() {
        "/proc/thread-self/net/tcp"
    } else {
        "/proc/thread-self/net/tcp6"
    };
    let table = fs::read_to_string(path).with_context(|| format!("{path}: reading it"))?;
    let port = format!(":{:04X}", address.port());
    Ok(table.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        let local = fields.next().is_some_and(|local| local.ends_with(&port));
        local && fields.nth(1) == Some(PROC_TCP_LISTEN)
    }))
}
