//! A shell that outlives us for a moment: it removes the lab when this process is gone.
//!
//! Signal handlers cannot run on SIGKILL and a library should not install them at all. A pipe that
//! closes does not miss any kind of death: panic, signal, abort.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Waits for the word on stdin or for its end. Process ids come from the kernel's own list of who
/// is inside the namespace, so nothing outside can be hit.
const SCRIPT: &str = r#"
trap '' INT TERM HUP
read -r word
[ "$word" = "dismissed" ] && exit 0
for name in "$@"; do
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    ip netns del "$name" 2>/dev/null
done
"#;

/// The running watcher.
#[derive(Debug)]
pub struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Starts watching this process on behalf of the namespaces called `names`.
    pub fn watch(names: &[String]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "tfo-lab-guardian"])
            .args(names)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the whole foreground process group; this one must survive it.
            .process_group(0)
            .spawn()
            .context("lab: starting the clean-up guardian (`sh`)")?;
        Ok(Self { shell })
    }

    /// Ends the watch without removing anything.
    pub fn dismiss(mut self) {
        if let Some(mut stdin) = self.shell.stdin.take() {
            let _ = stdin.write_all(b"dismissed\n");
        }
        let _ = self.shell.wait();
    }
}
