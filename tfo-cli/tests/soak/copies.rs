//! Other copies of the tool beside the witness: they come, and go by a signal they can catch or by one they cannot.

use std::{
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::support::{BINARY, NO_CONFIG, sandbox::Sandbox, tool::Tool};

/// What became of them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Copies {
    pub ended: u32,
    pub killed: u32,
}

impl Copies {
    /// One more, while `traffic` goes on. The ways to end take turns.
    pub fn another(
        &mut self,
        sandbox: &Sandbox,
        round: u64,
        traffic: impl FnOnce() -> Result<()>,
    ) -> Result<()> {
        match round % 4 {
            // It attaches, counts, and is right about what it saw.
            0 => {
                let copy = sandbox.trace(&["--all"])?;
                traffic()?;
                let (flows, summary) = copy.stop()?.records()?;
                let told = summary.events + summary.lost("ring-full");
                ensure!(
                    flows.len() as u64 == summary.printed && told == summary.sum(true),
                    "a second copy: {} lines, {summary:?}",
                    flows.len()
                );
                self.ended += 1;
            }
            // It is killed while it watches: its callback flags stay on sockets, and the kernel detaches it.
            1 => {
                let copy = sandbox.trace(&[])?;
                traffic()?;
                copy.signal(Signal::SIGKILL)?;
                ensure!(
                    copy.ended()?.code.is_none(),
                    "a second copy survived being killed"
                );
                self.killed += 1;
            }
            // Its table of destinations is as small as it may be, and theirs are many.
            2 => {
                let path = sandbox.path().to_string_lossy().into_owned();
                let copy = Tool::attached(&[
                    "top",
                    "--interval",
                    "500ms",
                    "--format",
                    "json",
                    "--destinations",
                    "64",
                    "--cgroup",
                    &path,
                ])?;
                traffic()?;
                let ended = copy.stop()?;
                ensure!(
                    ended.code.is_some_and(|code| code < 2),
                    "top with a full table: exit {:?}: {:?}",
                    ended.code,
                    ended.stderr
                );
                self.ended += 1;
            }
            // It is killed somewhere between its start and its first record.
            _ => {
                let mut child = Command::new(BINARY)
                    .args(["trace", "--cgroup"])
                    .arg(sandbox.path())
                    .envs(NO_CONFIG)
                    .stdin(Stdio::null())
                    .stdout(Stdio::null())
                    .stderr(Stdio::null())
                    .spawn()
                    .context("a second copy")?;
                thread::sleep(Duration::from_millis(round * 7 % 150));
                // Fails when it has ended already.
                let _ = child.kill();
                child.wait().context("a second copy")?;
                traffic()?;
                self.killed += 1;
            }
        }
        Ok(())
    }
}
