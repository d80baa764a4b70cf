//! A change to the machine that is undone when we end, however we end: a shell waits for the end of its stdin.

use std::io::{BufRead as _, BufReader};
use std::process::{ChildStdin, Stdio};

use anyhow::{Result, ensure};

use crate::process::{self, Running};

/// A change that lasts as long as this value. Dropping it undoes the change.
pub struct TemporaryChange {
    shell: Running,
    stdin: Option<ChildStdin>,
}

impl TemporaryChange {
    /// Makes a change, by one shell command, and has another one undo it. `args` are `$1` and so on in both.
    pub fn make(make: &str, undo: &str, args: &[&str]) -> Result<Self> {
        let script = format!("trap '' INT TERM HUP\n{make} || exit 1\necho made\nread -r word\n{undo}");
        let mut command = process::command("sh");
        command
            .args(["-c", &script, "xtask-undone"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut shell = Running::start(&mut command)?;
        let stdin = shell.child.stdin.take();
        let mut said = String::new();
        if let Some(stdout) = shell.child.stdout.take() {
            BufReader::new(stdout).read_line(&mut said)?;
        }
        ensure!(said == "made\n", "`{make}` failed for {}", args.join(" "));
        Ok(Self { shell, stdin })
    }
}

impl Drop for TemporaryChange {
    fn drop(&mut self) {
        drop(self.stdin.take());
        // Not `Running::wait`: it gives up after a signal, and the shell would be killed before it is done.
        let _ = self.shell.child.wait();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_lasts_until_it_is_dropped() {
        let file = std::env::temp_dir().join(format!("xtask-undone-{}", std::process::id()));
        let path = file.to_string_lossy();
        let change = TemporaryChange::make("touch \"$1\"", "rm \"$1\"", &[&path]).unwrap();
        assert!(file.exists());
        drop(change);
        assert!(!file.exists());
        assert!(TemporaryChange::make("false", "touch \"$1\"", &[&path]).is_err());
        assert!(!file.exists());
    }
}
