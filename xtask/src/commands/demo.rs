//! `cargo xtask demo`: builds everything and shows the dashboard on mixed real traffic in the lab, which it removes
//! afterwards.

use std::io::IsTerminal as _;
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::Signal;

use super::build;
use crate::packages::{self, User};
use crate::process::Running;
use crate::{elevate, interrupt, process, workspace};

/// How long the lab may take to start: two namespaces and five servers take seconds on a busy machine.
const LAB_READY: Duration = Duration::from_mins(1);
/// The beginning of the line by which `tfo-lab traffic` says that it is ready.
const READY: &str = "traffic is on";
/// How often the table is printed where there is no terminal to draw on.
const TABLES: u32 = 3;

#[derive(clap::Args)]
pub struct Args {
    /// End by itself after so many seconds (on a terminal; q ends it too)
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Show the recording of the lab that ships with the project: no root, no eBPF toolchain, no lab
    #[arg(long, conflicts_with = "seconds")]
    replay: bool,
}

/// The recording of the lab that ships with the project.
const RECORDING: &str = "tfo-cli/recordings/lab.tfo";

pub fn run(args: &Args) -> Result<()> {
    if args.replay {
        // A recording needs neither the BPF objects nor a static binary.
        let mut top = workspace::cargo("run");
        top.args([
            "--release",
            "--package",
            "tfo-cli",
            "--",
            "top",
            "--replay",
            RECORDING,
        ]);
        return process::run_on_terminal(&mut top);
    }
    packages::ensure(&[User::Lab])?;
    build::everything()?;
    if elevate::run_again_as_root()? {
        return Ok(());
    }
    // Dropped on every way out; the lab then stops its traffic and removes its namespaces.
    let _traffic = start_traffic()?;
    if std::io::stdout().is_terminal() {
        dashboard(args.seconds)
    } else {
        tables()
    }
}

fn start_traffic() -> Result<Running> {
    println!("==> lab: healthy service, path that drops SYN data, key mismatch, listener without TFO, IPv6");
    let mut traffic = Running::start(
        Command::new(build::program_path("tfo-lab"))
            // A tag of its own, so that a lab that is already up stays as it is.
            .args(["traffic", "--tag=-demo"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped()),
    )?;
    let lines = process::lines_of(traffic.child.stdout.take());
    let deadline = Instant::now() + LAB_READY;
    loop {
        interrupt::check()?;
        match lines.recv_timeout(Duration::from_millis(100)) {
            Ok(line) => {
                println!("    {line}");
                if line.starts_with(READY) {
                    break;
                }
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("tfo-lab traffic ended ({}) before it was ready", traffic.wait()?)
            }
            Err(RecvTimeoutError::Timeout) if Instant::now() > deadline => {
                bail!("tfo-lab traffic was not ready within {} s", LAB_READY.as_secs())
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
    // The pipe is read on, so that the lab does not block on a full one.
    std::thread::spawn(move || lines.into_iter().for_each(drop));
    Ok(traffic)
}

/// Runs the dashboard until the user or the time ends it.
fn dashboard(seconds: Option<u64>) -> Result<()> {
    let mut top = Running::start_on_terminal(Command::new(build::program_path("tfo-cli")).arg("top"))?;
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    loop {
        if let Some(status) = top.poll()? {
            ensure!(status.success(), "tfo-cli top ended with {status}");
            return Ok(());
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            top.signal(Signal::SIGTERM);
            top.wait_for(Duration::from_secs(5))?;
            return Ok(());
        }
        interrupt::sleep(Duration::from_millis(50))?;
    }
}

/// Prints the table a few times.
fn tables() -> Result<()> {
    for n in 1..=TABLES {
        println!("==> tfo-cli top --once ({n} of {TABLES})");
        process::run(Command::new(build::program_path("tfo-cli")).args([
            "top",
            "--once",
            "--interval",
            "2s",
        ]))
        .context("cannot show the table")?;
    }
    Ok(())
}
