//! A terminal for `top`, of 120x40, on which nobody looks.
//!
//! The tool stays in our session. `script` would make one of its own, and on a busy machine the scheduler shares time between
//! sessions (`CONFIG_SCHED_AUTOGROUP`): seconds went by until a program there got any.

use std::fs::File;
use std::io::Read as _;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context as _, Result};
use nix::pty::{Winsize, openpty};

use crate::commands::program_path;

/// What it shows to those who ask.
const SIZE: Winsize = Winsize {
    ws_row: 40,
    ws_col: 120,
    ws_xpixel: 0,
    ws_ypixel: 0,
};

/// `tfo-cli` with these arguments on such a terminal: without one it would print a table and end.
pub fn tfo_cli(arguments: &str) -> Result<Command> {
    let pty = openpty(&SIZE, None).context("cannot open a terminal")?;
    let mut other_end = File::from(pty.master);
    // Until nobody has the terminal any more.
    thread::spawn(move || {
        let mut read = [0; 4096];
        while other_end.read(&mut read).is_ok_and(|length| length > 0) {}
    });
    let input = pty.slave.try_clone().context("cannot share a terminal")?;
    let mut command = Command::new(program_path("tfo-cli"));
    command
        .args(arguments.split(' '))
        .env("TERM", "xterm-256color")
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(pty.slave));
    Ok(command)
}
