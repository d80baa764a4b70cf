//! A command that runs in the load's network namespace while the load does: a server nobody here wrote, or a tool
//! that watches packets.

use std::{
    os::unix::process::CommandExt as _,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, killpg},
    unistd::Pid,
};

/// What it gets to open its sockets. Its output is its own, so that nothing tells when it has.
const HEAD_START: Duration = Duration::from_millis(800);
/// What it gets to end by itself.
const GRACE: Duration = Duration::from_secs(5);

/// The running command and all it has started; dropping it ends them.
pub struct Beside(Child);

impl Beside {
    /// Starts it in the namespace of the calling thread, in a process group of its own.
    pub fn start(command: &str) -> Result<Self> {
        let child = Command::new("sh")
            .args(["-c", &format!("exec {command}")])
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("load: starting `{command}`"))?;
        let mut beside = Self(child);
        thread::sleep(HEAD_START);
        let ended = beside
            .0
            .try_wait()
            .context("load: waiting for what runs beside")?;
        ensure!(ended.is_none(), "load: `{command}` has ended ({ended:?})");
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let Ok(group) = i32::try_from(self.0.id()) else {
            return;
        };
        let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        let end = Instant::now() + GRACE;
        while Instant::now() < end && matches!(self.0.try_wait(), Ok(None)) {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        let _ = self.0.wait();
    }
}
