//! `tfo-cli run`: a command in a cgroup of its own, and what Fast Open did for it.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::process::ExitStatusExt as _,
    process::{Child, ExitStatus},
    time::{Duration, Instant},
};

use nix::sys::signal::{Signal, kill};

use super::{
    cookies::failure,
    observe::Observer,
    top::reader::{Reader, Shared},
};
use crate::{
    args::{ListFormat, RunConfig},
    exit::{self, Failure},
    kernel::{
        command_cgroup::CommandCgroup,
        spawn::{self, Identity, SpawnError, Wanted},
    },
    model::Snapshot,
    options::AttachOptions,
    output::{
        self, run_json,
        run_report::{Ended, RunReport},
        run_text,
    },
    signals::pass_on::{self, PassedOn},
};

/// How often it is looked whether the command has ended, a signal came, or there are records.
const POLL: Duration = Duration::from_millis(20);
/// How often the counters are read.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command. Where a signal ended it, or came before it began, the same signal ends this process.
pub fn run(config: &RunConfig) -> Result<u8, Failure> {
    let end = observed(config).map_err(|failure| match failure.code {
        exit::CANNOT_EXECUTE | exit::NO_COMMAND => failure,
        _ => Failure {
            code: exit::RUN_FAILED,
            ..failure
        },
    })?;
    Ok(match end {
        Ended::Exit(code) => code,
        Ended::Signal(number) => {
            if let Ok(signal) = Signal::try_from(number) {
                pass_on::end_by(signal);
            }
            pass_on::exit_code(number)
        }
    })
}

/// Everything from the first preparation until nothing of ours is left.
fn observed(config: &RunConfig) -> Result<Ended, Failure> {
    // Before any thread begins.
    let signals = PassedOn::begin().map_err(|error| own_failure("run: hold signals back", &error))?;
    let user = identity(config.user.as_deref())?;
    let mut out = output_file(config)?;
    let cgroup = CommandCgroup::create().map_err(|error| failure(&error))?;
    let options = AttachOptions {
        cgroup: Some(cgroup.path().to_path_buf()),
        // One command's connections are few: each is timed.
        ttfb_sample: 1,
        ..AttachOptions::default()
    };
    let shared = Shared::new(&options);
    let mut reader = Reader::new(Observer::attach(&options, None)?);
    reader.settled_tick(&shared)?;
    // Nobody else got what came until now.
    if let Some(came) = signals.next() {
        return Ok(Ended::Signal(came.signal as i32));
    }
    let began = Instant::now();
    let child = start(config, &cgroup, user.as_ref(), &signals)?;
    let mut watched = Watched {
        cgroup: &cgroup,
        reader,
        shared: &shared,
        trouble: None,
    };
    let status = watched.until_the_end(child, &signals)?;
    let elapsed = began.elapsed();
    let (snapshot, trouble) = watched.finish();
    let (left_behind, trouble) = match (cgroup.remove(), trouble) {
        (Ok(moved), trouble) => (moved, trouble),
        (Err(error), trouble) => (0, trouble.or(Some(error.to_string()))),
    };
    let report = RunReport {
        command: &config.command,
        ended: ended(status),
        elapsed,
        left_behind,
        trouble,
        snapshot: &snapshot,
    };
    // The command has done its work: its exit code counts, whatever becomes of our words.
    if let Err(error) = write(config, &report, out.as_mut()) {
        let _ = output::complain(&format_args!("tfo-cli: run: write the report: {error}"));
    }
    Ok(report.ended)
}

fn own_failure(what: &str, error: &dyn std::fmt::Display) -> Failure {
    Failure::new(exit::RUN_FAILED, format!("{what}: {error}"))
}

fn identity(user: Option<&str>) -> Result<Option<Identity>, Failure> {
    let of = |name: &str| Identity::of(name).map_err(|error| Failure::usage("--user", name, error));
    user.map(of).transpose()
}

/// Opened before the command begins: whoever cannot have the report is told before hours have passed.
fn output_file(config: &RunConfig) -> Result<Option<File>, Failure> {
    let open = |path: &std::path::PathBuf| {
        File::create(path).map_err(|error| Failure::usage("--output", path.display(), error))
    };
    config.output.as_ref().map(open).transpose()
}

fn start(
    config: &RunConfig,
    cgroup: &CommandCgroup,
    user: Option<&Identity>,
    signals: &PassedOn,
) -> Result<Child, Failure> {
    let name = config.command.first().map(|word| word.to_string_lossy());
    let name = name.unwrap_or_default();
    let door = cgroup
        .door()
        .map_err(|error| own_failure(&format!("run {name}: open its cgroup"), &error))?;
    let wanted = Wanted {
        command: &config.command,
        door,
        user,
        mask: signals.mask_before(),
    };
    spawn::spawn(wanted).map_err(|error| {
        let code = match &error {
            SpawnError::Before { .. } => exit::RUN_FAILED,
            SpawnError::Exec(why) if why.kind() == io::ErrorKind::NotFound => exit::NO_COMMAND,
            SpawnError::Exec(_) => exit::CANNOT_EXECUTE,
        };
        Failure::new(code, format!("run {name}: {error}"))
    })
}

fn ended(status: ExitStatus) -> Ended {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ended::Exit(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
        (None, Some(signal)) => Ended::Signal(signal),
        (None, None) => Ended::Exit(exit::RUN_FAILED),
    }
}

/// What is read while the command runs. It goes on also where reading fails: then the report says so.
struct Watched<'a> {
    cgroup: &'a CommandCgroup,
    reader: Reader,
    shared: &'a Shared,
    trouble: Option<String>,
}

impl Watched<'_> {
    fn until_the_end(&mut self, mut child: Child, signals: &PassedOn) -> Result<ExitStatus, Failure> {
        let mut next = Instant::now() + INTERVAL;
        loop {
            let ended = child.try_wait();
            if let Some(status) = ended.map_err(|error| own_failure("run: wait for the command", &error))? {
                return Ok(status);
            }
            while let Some(came) = signals.next() {
                if !came.from_terminal && !self.cgroup.holds(came.sender) {
                    pass(&child, came.signal);
                }
            }
            self.read(Instant::now() >= next);
            if Instant::now() >= next {
                next = Instant::now() + INTERVAL;
            }
        }
    }

    fn read(&mut self, all: bool) {
        if self.trouble.is_some() {
            std::thread::sleep(POLL);
            return;
        }
        let read = self.reader.observer.wait(POLL).and_then(|()| {
            if all {
                self.reader.tick(self.shared)
            } else {
                self.reader.drain(self.shared);
                Ok(())
            }
        });
        self.trouble = read.err().map(|error| format!("{error:#}"));
    }

    /// Reads what is left, detaches and judges.
    fn finish(mut self) -> (Snapshot, Option<String>) {
        if self.trouble.is_none() {
            let read = self.reader.settled_tick(self.shared);
            self.trouble = read.err().map(|error| format!("{error:#}"));
        }
        let mut model = self.shared.lock();
        model.diagnose();
        (model.snapshot(), self.trouble)
    }
}

/// It has not been waited for: its id is still its own.
fn pass(child: &Child, signal: Signal) {
    if let Ok(id) = i32::try_from(child.id()) {
        // It has ended this instant.
        let _ = kill(nix::unistd::Pid::from_raw(id), signal);
    }
}

fn write(config: &RunConfig, report: &RunReport<'_>, file: Option<&mut File>) -> anyhow::Result<()> {
    let mut text = Vec::new();
    match config.format {
        ListFormat::Text => run_text::write(report, config.details, &mut text)?,
        ListFormat::Json => run_json::write(report, &mut text)?,
    }
    match file {
        Some(file) => file.write_all(&text)?,
        None => io::stderr().lock().write_all(&text)?,
    }
    Ok(())
}
