//! Child processes that never outlive us: every wait ends on a signal, every child is stopped and reaped.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

use crate::interrupt;

const POLL: Duration = Duration::from_millis(20);
/// What a child gets to tidy up (the lab removes namespaces) before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// A started child. Dropping it sends SIGTERM, waits, and after a grace period kills.
pub struct Running {
    pub child: Child,
    name: String,
    own_group: bool,
}

impl Running {
    /// Starts a child in a process group of its own: stopping it then also reaches what it started,
    /// such as the test binary below `cargo test`.
    pub fn start(command: &mut Command) -> Result<Self> {
        command.process_group(0);
        Self::spawn(command, true)
    }

    /// Starts a child in our own group, so that it may use the terminal (`tfo-cli top`, `sudo`).
    pub fn start_on_terminal(command: &mut Command) -> Result<Self> {
        Self::spawn(command, false)
    }

    fn spawn(command: &mut Command, own_group: bool) -> Result<Self> {
        interrupt::check()?;
        let name = show(command);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start `{name}`"))?;
        Ok(Self {
            child,
            name,
            own_group,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the child, or for a signal to us.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            interrupt::sleep(POLL)?;
        }
    }

    /// Like [`Self::wait`], with a limit.
    pub fn wait_for(&mut self, limit: Duration) -> Result<ExitStatus> {
        let end = Instant::now() + limit;
        loop {
            if let Some(status) = self.poll()? {
                return Ok(status);
            }
            if Instant::now() >= end {
                bail!("`{}` did not end within {} s", self.name, limit.as_secs());
            }
            interrupt::sleep(POLL)?;
        }
    }

    /// The exit status, if the child has ended.
    pub fn poll(&mut self) -> Result<Option<ExitStatus>> {
        self.child
            .try_wait()
            .with_context(|| format!("cannot wait for `{}`", self.name))
    }

    /// Sends a signal to the child only, not to its group.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.raw_pid() {
            let _ = kill(pid, signal);
        }
    }

    fn signal_all(&self, signal: Signal) {
        let Some(pid) = self.raw_pid() else { return };
        let _ = if self.own_group {
            killpg(pid, signal)
        } else {
            kill(pid, signal)
        };
    }

    fn raw_pid(&self) -> Option<Pid> {
        i32::try_from(self.child.id()).ok().map(Pid::from_raw)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            return;
        }
        // The second wait has a limit too: root's processes are not ours to kill.
        for (signal, limit) in [(Signal::SIGTERM, GRACE), (Signal::SIGKILL, GRACE / 5)] {
            self.signal_all(signal);
            let end = Instant::now() + limit;
            while Instant::now() < end {
                if !matches!(self.child.try_wait(), Ok(None)) {
                    return;
                }
                thread::sleep(POLL);
            }
        }
    }
}

/// Runs a command with our own stdout and stderr; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    let status = Running::start(command.stdin(Stdio::null()))?.wait()?;
    expect_success(command, status)
}

/// Runs a command that may use the terminal.
pub fn run_on_terminal(command: &mut Command) -> Result<()> {
    let status = Running::start_on_terminal(command)?.wait()?;
    expect_success(command, status)
}

/// Runs a command and returns its stdout; its stderr goes into the error.
pub fn output(command: &mut Command) -> Result<String> {
    interrupt::check()?;
    let name = show(command);
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start `{name}`"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`{name}` failed ({}): {}", output.status, stderr.trim());
    }
    String::from_utf8(output.stdout).with_context(|| format!("`{name}` printed text that is not UTF-8"))
}

/// A child that prints nothing for that long hangs: tests are silent for half a minute at most, building them for a few.
const LONGEST_SILENCE: Duration = Duration::from_mins(20);

/// Waits for a child with its stdout, a pipe, handed over line by line as it comes. One that hangs is ended.
pub fn wait_with_lines(mut running: Running, mut on_line: impl FnMut(&str)) -> Result<ExitStatus> {
    let lines = lines_of(running.child.stdout.take());
    let mut heard = (Instant::now(), String::new());
    loop {
        interrupt::check()?;
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                on_line(&line);
                heard = (Instant::now(), line);
            }
            Err(RecvTimeoutError::Timeout) if heard.0.elapsed() > LONGEST_SILENCE => {
                bail!("it has said nothing for {LONGEST_SILENCE:?} after: {}", heard.1)
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return running.wait(),
        }
    }
}

/// Reads a pipe in a thread of its own, so that the reader can also watch for signals and deadlines.
pub fn lines_of(pipe: Option<impl std::io::Read + Send + 'static>) -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    if let Some(pipe) = pipe {
        thread::spawn(move || {
            let mut reader = BufReader::new(pipe);
            let mut buffer = Vec::new();
            while matches!(reader.read_until(b'\n', &mut buffer), Ok(n) if n > 0) {
                let line = String::from_utf8_lossy(&buffer).trim_end().to_owned();
                buffer.clear();
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
    }
    receiver
}

fn expect_success(command: &Command, status: ExitStatus) -> Result<()> {
    if status.success() {
        return Ok(());
    }
    interrupt::check()?;
    bail!("`{}` failed ({status})", show(command))
}

/// The command as one would type it, without its environment and the program's directory.
pub fn show(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut text = program
        .file_name()
        .unwrap_or(program.as_os_str())
        .to_string_lossy()
        .into_owned();
    for arg in command.get_args() {
        text.push(' ');
        text.push_str(&arg.to_string_lossy());
    }
    text
}

/// Looks a program up on PATH and in the sbin directories, which a user's PATH may lack.
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|directory| directory.join(program))
        .find(|file| is_executable(file))
}

/// A command by absolute path where PATH lacks the sbin directories.
pub fn command(program: &str) -> Command {
    Command::new(
        find(program)
            .as_deref()
            .map_or(OsStr::new(program), Path::as_os_str),
    )
}

fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    file.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether we run as root.
pub fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}
