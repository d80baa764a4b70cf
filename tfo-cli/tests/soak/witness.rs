//! The copy of the tool that watches from beginning to end: `trace --all`, whose lines are counted and thrown away.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStderr, ChildStdout, Command, Stdio},
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{
    BINARY, NO_CONFIG,
    flow::{self, Summary},
    wait_until,
};

/// A running `trace`. Dropping it kills it.
pub struct Witness {
    child: Killed,
    stdout: JoinHandle<Result<(u64, String)>>,
    stderr: JoinHandle<Result<Vec<String>>>,
}

/// A child that does not outlive the test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    pub rss_kib: u64,
    pub descriptors: u64,
}

/// What it said in the end.
pub struct Testimony {
    pub code: Option<i32>,
    /// Records it printed.
    pub lines: u64,
    pub summary: Summary,
    pub stderr: Vec<String>,
}

impl Witness {
    /// Starts it on a cgroup and waits until it has attached.
    pub fn start(cgroup: &Path) -> Result<Self> {
        let mut child = Command::new(BINARY)
            .args(["trace", "--all", "--format", "json", "--cgroup"])
            .arg(cgroup)
            .envs(NO_CONFIG)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{BINARY}: starting it"))
            .map(Killed)?;
        let stdout = child.0.stdout.take().context("no stdout")?;
        let mut stderr = BufReader::new(child.0.stderr.take().context("no stderr")?);
        let mut said = String::new();
        while !said.contains("attached") {
            let read = stderr.read_line(&mut said).context("its stderr")?;
            ensure!(read > 0, "the witness did not attach: {said}");
        }
        Ok(Self {
            child,
            stdout: thread::spawn(|| count(stdout)),
            stderr: thread::spawn(|| all(stderr)),
        })
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.0.id()).context("process id")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("{signal} to {id}"))
    }

    /// What it holds now.
    pub fn holds(&self) -> Result<Holds> {
        let process = Path::new("/proc").join(self.child.0.id().to_string());
        let status = fs::read_to_string(process.join("status")).context("its status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let rss = rss.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        Ok(Holds {
            rss_kib: rss.context("its status has no VmRSS")?,
            descriptors: fs::read_dir(process.join("fd"))
                .context("its descriptors")?
                .count() as u64,
        })
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(mut self) -> Result<Testimony> {
        self.signal(Signal::SIGINT)?;
        let mut status = None;
        wait_until("the witness to end", || {
            status = self.child.0.try_wait()?;
            Ok(status.is_some())
        })?;
        let panicked = |_| anyhow::anyhow!("a reader panicked");
        let (lines, last) = self.stdout.join().map_err(panicked)??;
        Ok(Testimony {
            code: status.and_then(|status| status.code()),
            // The summary is the last line.
            lines: lines.saturating_sub(1),
            summary: flow::summary(&last)?,
            stderr: self.stderr.join().map_err(panicked)??,
        })
    }
}

/// How many lines there are, and the last.
fn count(pipe: ChildStdout) -> Result<(u64, String)> {
    let mut reader = BufReader::with_capacity(1 << 20, pipe);
    let (mut lines, mut line, mut last) = (0, String::new(), String::new());
    while reader.read_line(&mut line).context("its stdout")? > 0 {
        lines += 1;
        std::mem::swap(&mut line, &mut last);
        line.clear();
    }
    Ok((lines, last))
}

fn all(pipe: BufReader<ChildStderr>) -> Result<Vec<String>> {
    let lines = pipe.lines().collect::<Result<Vec<_>, _>>();
    lines.context("its stderr")
}
