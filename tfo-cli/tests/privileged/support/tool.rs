//! The program under test as a child process: started, watched line by line, stopped by signals.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{
    BINARY, DEADLINE, NO_CONFIG,
    flow::{self, Flow, Summary},
};

/// A running `tfo-cli`. Dropping it kills it.
pub struct Tool {
    child: Child,
    stdout: Option<Arc<Lines>>,
    stderr: Arc<Lines>,
}

impl Tool {
    /// Starts it and waits until it says that it has attached.
    pub fn attached(args: &[&str]) -> Result<Self> {
        let mut tool = Self::spawn(args)?;
        tool.read_stdout();
        tool.await_attached()?;
        Ok(tool)
    }

    /// The same for a command that ends up in the program.
    pub fn attached_by(command: &mut Command) -> Result<Self> {
        let mut tool = Self::spawn_by(command)?;
        tool.read_stdout();
        tool.await_attached()?;
        Ok(tool)
    }

    /// The same with an environment variable set.
    pub fn attached_with(variable: (&str, &str), args: &[&str]) -> Result<Self> {
        Self::attached_by(Command::new(BINARY).args(args).env(variable.0, variable.1))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The same, with a stdout that nobody reads before [`Tool::read_stdout`].
    pub fn attached_unread(args: &[&str]) -> Result<Self> {
        let tool = Self::spawn(args)?;
        tool.await_attached()?;
        Ok(tool)
    }

    fn spawn(args: &[&str]) -> Result<Self> {
        Self::spawn_by(Command::new(BINARY).args(args))
    }

    fn spawn_by(command: &mut Command) -> Result<Self> {
        let mut child = command
            .envs(NO_CONFIG)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("{BINARY}: starting it"))?;
        let stderr = Lines::collect(child.stderr.take().context("no stderr")?);
        Ok(Self {
            child,
            stdout: None,
            stderr,
        })
    }

    fn await_attached(&self) -> Result<()> {
        self.stderr
            .wait(DEADLINE, |lines| {
                lines.iter().any(|line| line.starts_with("tfo-cli: attached"))
            })
            .context("waiting for it to attach")
    }

    /// Begins to read its stdout.
    pub fn read_stdout(&mut self) {
        if let Some(stdout) = self.child.stdout.take() {
            self.stdout = Some(Lines::collect(stdout));
        }
    }

    /// Closes the reading end of its stdout.
    pub fn close_stdout(&mut self) {
        drop(self.child.stdout.take());
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let id = i32::try_from(self.child.id()).context("process id")?;
        kill(Pid::from_raw(id), signal).with_context(|| format!("{signal} to {id}"))
    }

    /// Waits until it has printed so many lines.
    pub fn wait_for_lines(&self, count: usize) -> Result<()> {
        let stdout = self.stdout.as_ref().context("nobody reads its stdout")?;
        stdout
            .wait(DEADLINE, |lines| lines.len() >= count)
            .with_context(|| format!("waiting for {count} lines"))
    }

    /// What it has printed so far.
    pub fn lines(&self) -> Vec<String> {
        self.stdout.as_ref().map(|lines| lines.all()).unwrap_or_default()
    }

    /// Ends it as Ctrl-C does.
    pub fn stop(self) -> Result<Ended> {
        self.signal(Signal::SIGINT)?;
        self.ended()
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Result<Ended> {
        self.read_stdout();
        let deadline = Instant::now() + DEADLINE;
        let status = loop {
            match self.child.try_wait().context("asking for its state")? {
                Some(status) => break status,
                None if Instant::now() > deadline => bail!("it did not end: {:?}", self.stderr.all()),
                None => thread::sleep(Duration::from_millis(5)),
            }
        };
        Ok(Ended {
            code: status.code(),
            stdout: match &self.stdout {
                Some(lines) => lines.until_closed()?,
                None => Vec::new(),
            },
            stderr: self.stderr.until_closed()?,
        })
    }
}

impl Drop for Tool {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything it said.
#[derive(Debug)]
pub struct Ended {
    /// `None` when a signal killed it.
    pub code: Option<i32>,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Ended {
    /// Reads stdout as `--format json`: flows, then exactly one summary, nothing else.
    pub fn records(&self) -> Result<(Vec<Flow>, Summary)> {
        let (last, flows) = self
            .stdout
            .split_last()
            .with_context(|| format!("nothing on stdout: {:?}", self.stderr))?;
        let flows = flows.iter().map(|line| flow::flow(line)).collect::<Result<_>>()?;
        Ok((flows, flow::summary(last)?))
    }

    /// The same for a run in which nothing may be lost.
    pub fn complete_records(&self) -> Result<(Vec<Flow>, Summary)> {
        let (flows, summary) = self.records()?;
        ensure!(
            self.code == Some(0) && summary.losses().is_empty(),
            "exit {:?}, lost {:?}: {:?}",
            self.code,
            summary.losses(),
            self.stderr
        );
        Ok((flows, summary))
    }
}

/// Lines of a pipe, collected by a thread.
#[derive(Default)]
struct Lines {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn collect(pipe: impl Read + Send + 'static) -> Arc<Self> {
        let lines = Arc::new(Self::default());
        let theirs = Arc::clone(&lines);
        // Ends with the pipe, which the child's end closes.
        thread::spawn(move || {
            for line in BufReader::new(pipe).lines() {
                let Ok(line) = line else { break };
                theirs.change(|state| state.lines.push(line));
            }
            theirs.change(|state| state.closed = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }

    fn wait(&self, patience: Duration, condition: impl Fn(&[String]) -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !condition(&state.lines) {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(
                !state.closed && !left.is_zero(),
                "{}: {:?}",
                if state.closed { "it ended" } else { "time is up" },
                state.lines.iter().rev().take(5).collect::<Vec<_>>()
            );
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    fn all(&self) -> Vec<String> {
        self.state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .lines
            .clone()
    }

    fn until_closed(&self) -> Result<Vec<String>> {
        let deadline = Instant::now() + DEADLINE;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        while !state.closed {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "its pipe stays open");
            (state, _) = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Ok(std::mem::take(&mut state.lines))
    }
}
