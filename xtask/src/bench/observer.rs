//! The tools whose cost is compared: started, attached, and stopped again.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::stats::RunTime;
use super::terminal;
use crate::commands::program_path;
use crate::process::{self, Running};
use crate::{interrupt, workspace};

const ATTACH_LIMIT: Duration = Duration::from_secs(20);

/// A tool that watches connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `tfo-cli trace --format json`
    Trace,
    /// `tfo-cli top` on a terminal of 120x40
    Top,
    /// `tcplife` of libbpf-tools
    Tcplife,
    /// `tcpstates` of libbpf-tools
    Tcpstates,
    /// `bpftrace` counting on the tracepoint `inet_sock_set_state`
    Bpftrace,
}

/// The counter of [`Tool::Bpftrace`]: the least that hook can be asked for.
const COUNTER: &str = "tracepoint:sock:inet_sock_set_state { @[args->newstate] = count(); }";

impl Tool {
    pub fn name(self) -> &'static str {
        match self {
            Self::Trace => "tfo-cli trace",
            Self::Top => "tfo-cli top",
            Self::Tcplife => "tcplife",
            Self::Tcpstates => "tcpstates",
            Self::Bpftrace => "bpftrace counter",
        }
    }

    /// It, with what it reads from; it writes to `output` unless it has a terminal.
    fn command(self, output: Stdio) -> Result<Command> {
        let mut command = match self {
            Self::Trace => Command::new(program_path("tfo-cli")),
            Self::Top => return terminal::tfo_cli("top"),
            Self::Tcplife => with_tracefs(&["tcplife"]),
            Self::Tcpstates => with_tracefs(&["tcpstates"]),
            Self::Bpftrace => with_tracefs(&["bpftrace", "-e", COUNTER]),
        };
        if self == Self::Trace {
            command.args(["trace", "--format", "json"]);
        }
        command.stdin(Stdio::null()).stdout(output);
        Ok(command)
    }
}

/// These tools need tracefs, which is mounted for them alone where the host has none.
fn with_tracefs(tool: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    let inside = "[ -e /sys/kernel/tracing/events ] || mount -t tracefs tracefs /sys/kernel/tracing; \
                  [ -e /sys/kernel/debug/tracing ] || mount -t debugfs debugfs /sys/kernel/debug; exec \"$@\"";
    command.args(["--mount", "sh", "-c", inside, "sh"]).args(tool);
    command
}

/// A tool that is attached.
pub struct Observer {
    running: Running,
    /// From the start of the process to its first count.
    pub attach_time: Duration,
    stderr: Receiver<String>,
    tool: Tool,
}

impl Observer {
    /// Starts a tool and waits until it is attached.
    pub fn start(tool: Tool) -> Result<Self> {
        Self::start_with_output(tool, Stdio::null())
    }

    /// `tfo-cli trace` with its records kept.
    pub fn trace_to(file: &PathBuf) -> Result<Self> {
        let output = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        Self::start_with_output(Tool::Trace, output.into())
    }

    fn start_with_output(tool: Tool, output: Stdio) -> Result<Self> {
        let start = Instant::now();
        let mut command = tool.command(output)?;
        command.stderr(Stdio::piped());
        let mut running = Running::start(&mut command)?;
        let stderr = process::lines_of(running.child.stderr.take());
        let mut observer = Self {
            running,
            attach_time: Duration::ZERO,
            stderr,
            tool,
        };
        observer.wait_until_attached(start)?;
        Ok(observer)
    }

    /// The process that holds the programs.
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    fn wait_until_attached(&mut self, start: Instant) -> Result<()> {
        let mut said = Vec::new();
        loop {
            match self.stderr.recv_timeout(Duration::from_millis(1)) {
                Ok(line) if self.tool == Tool::Trace && line.starts_with("tfo-cli: attached") => {
                    self.attach_time = start.elapsed();
                    return Ok(());
                }
                Ok(line) => said.push(line),
                Err(RecvTimeoutError::Timeout) => {}
                // The last words come before the end of the pipe, so all of them are in.
                Err(RecvTimeoutError::Disconnected) => std::thread::sleep(Duration::from_millis(20)),
            }
            if let Some(status) = self.running.poll()? {
                said.extend(self.stderr.try_iter());
                bail!(
                    "{} ended ({status}) instead of attaching: {}",
                    self.tool.name(),
                    said.join("; ")
                );
            }
            if self.tool != Tool::Trace && self.holds_programs() {
                // The programs are loaded one after the other; none of these tools takes longer than this. `top` measures its own
                // programs in the first second, as it does in one of eight: each run takes twice as long then.
                let settles = if self.tool == Tool::Top { 1_500 } else { 700 };
                interrupt::sleep(Duration::from_millis(settles))?;
                return Ok(());
            }
            if start.elapsed() > ATTACH_LIMIT {
                bail!(
                    "{} did not attach within {} s: {}",
                    self.tool.name(),
                    ATTACH_LIMIT.as_secs(),
                    said.join("; ")
                );
            }
            interrupt::check()?;
        }
    }

    fn holds_programs(&mut self) -> bool {
        RunTime::of_process(self.pid()).is_ok_and(|time| time.programs > 0)
    }

    /// Stops the tool as a user would, and returns how long that took and what it said on stderr.
    pub fn stop(mut self) -> Result<(Duration, Vec<String>)> {
        let start = Instant::now();
        // `top` reads Ctrl-C as a key, so it gets SIGTERM; tcplife handles only SIGINT.
        let signal = if self.tool == Tool::Top {
            Signal::SIGTERM
        } else {
            Signal::SIGINT
        };
        send(self.pid(), signal)?;
        self.running.wait_for(Duration::from_secs(10))?;
        let took = start.elapsed();
        Ok((took, self.stderr.try_iter().collect()))
    }
}

/// Ends a program that reads keys.
pub fn terminate(pid: u32) -> Result<()> {
    send(pid, Signal::SIGTERM)
}

fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).context("a process id does not fit")?;
    // It may have ended by itself.
    let _ = kill(Pid::from_raw(pid), signal);
    Ok(())
}

/// Where a benchmark keeps its files.
pub fn scratch(name: &str) -> Result<PathBuf> {
    let directory = workspace::target("bench");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    Ok(directory.join(name))
}
