//! Root where it is needed: a person builds as themselves and is asked for sudo only for the rest.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process::{self, Running};

/// Tells the second run that the first one has built everything.
const BUILT: &str = "XTASK_BUILT";

/// Whether this is the run through sudo, which must not build: its files would be root's.
pub fn is_second_run() -> bool {
    std::env::var_os(BUILT).is_some()
}

/// Unless we are root, runs this same command through sudo and returns true when that is done.
///
/// The whole command, not only its children: we could not stop root's processes.
pub fn run_again_as_root() -> Result<bool> {
    if process::is_root() {
        return Ok(false);
    }
    println!("==> sudo: network namespaces and BPF programs need root");
    let program = std::env::current_exe().context("cannot find the xtask program itself")?;
    let mut command = Command::new("sudo");
    command
        .arg("env")
        .arg(format!("{BUILT}=1"))
        .arg(program)
        .args(std::env::args_os().skip(1));
    let mut running = Running::start_on_terminal(&mut command)?;
    let ended = running.wait();
    if ended.is_err() {
        // The terminal's Ctrl-C has reached root's side by itself; a SIGTERM to us alone has not.
        let pid = running.pid().to_string();
        let _ = process::output(Command::new("sudo").args(["--non-interactive", "kill", "-TERM", &pid]));
    }
    anyhow::ensure!(ended?.success(), "`{}` failed", process::show(&command));
    Ok(true)
}
