//! A tcpdump on the client's device of a lab.

use std::{
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context, Result, ensure};
use tfo_lab::lab::{DEVICE, Lab};

/// Starts it with these arguments, and returns when it captures. Its stdout is a pipe.
pub fn start(lab: &Lab, args: &[&OsStr]) -> Result<Child> {
    let mut child = lab.in_client(|| {
        Command::new("tcpdump")
            .args(["-i", DEVICE, "-n", "--immediate-mode", "-B", "8192"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("tcpdump: starting it")
    })?;
    let mut stderr = BufReader::new(child.stderr.take().context("no stderr")?);
    let mut line = String::new();
    while !line.contains("listening on") {
        line.clear();
        ensure!(stderr.read_line(&mut line)? > 0, "tcpdump ended");
    }
    // Read on, or it stops writing.
    thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
    Ok(child)
}
