//! A shell that outlives this process for a moment and cleans up after it.
//!
//! A signal handler does not run on SIGKILL, and a library should not install any. The end of a pipe tells of every kind
//! of death: panic, signal, abort.

use std::{
    io::Write,
    os::unix::process::CommandExt,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result};

/// Script that waits for a word on stdin, or for the end of it.
const WATCH: &str = r#"
trap '' INT TERM HUP
read -r word
[ "$word" = "dismissed" ] && exit 0
"#;

/// Script that removes namespaces. It kills only the processes that the kernel lists as being inside.
const REMOVE_NAMESPACES: &str = r#"
for name in "$@"; do
    for pid in $(ip netns pids "$name" 2>/dev/null); do kill -9 "$pid" 2>/dev/null; done
    ip netns del "$name" 2>/dev/null
done
"#;

/// Script that removes a cgroup and its children, which are busy until the last thread is reaped.
const REMOVE_CGROUP: &str = r#"
for attempt in $(seq 100); do
    rmdir "$1"/* "$1" 2>/dev/null
    [ -d "$1" ] || exit 0
    sleep 0.1
done
"#;

/// The running shell. It cleans up when this is dropped without [`Guardian::dismiss`].
#[derive(Debug)]
pub struct Guardian {
    shell: Child,
}

impl Guardian {
    /// Watches over network namespaces.
    pub fn over_namespaces(names: &[String]) -> Result<Self> {
        Self::watch(REMOVE_NAMESPACES, names)
    }

    /// Watches over a cgroup directory.
    pub fn over_cgroup(directory: &str) -> Result<Self> {
        Self::watch(REMOVE_CGROUP, &[directory.to_owned()])
    }

    fn watch(cleanup: &str, args: &[String]) -> Result<Self> {
        let shell = Command::new("sh")
            .args(["-c", &format!("{WATCH}{cleanup}"), "tfo-lab-guardian"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Ctrl-C goes to the whole foreground process group; this one must survive it.
            .process_group(0)
            .spawn()
            .context("clean-up guardian: starting `sh`")?;
        Ok(Self { shell })
    }

    /// Ends the watch without cleaning up.
    pub fn dismiss(mut self) {
        if let Some(stdin) = self.shell.stdin.as_mut() {
            let _ = stdin.write_all(b"dismissed\n");
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
