//! What every privileged test needs: the path of the program, whether it can run here, and waiting with a deadline.
//! `tests/policy` uses it, too.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use tfo_lab::{command, lab};

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_tfo-cli");
/// Environment in which the configuration of whoever runs the tests is not found.
pub const NO_CONFIG: [(&str, &str); 2] = [("HOME", "/nonexistent"), ("XDG_CONFIG_HOME", "/nonexistent")];
/// How long anything may take before a test gives up. Generous: a loaded machine is no error.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// What the tool reads the kernel's structures from.
const BTF: &str = "/sys/kernel/btf/vmlinux";

/// A new directory, for this user alone.
pub fn temporary_directory() -> Result<PathBuf> {
    let made = command::run("mktemp", &["--directory", "--tmpdir", "tfo-test.XXXXXX"])?;
    Ok(made.trim().into())
}

/// Why nothing can be observed here, or `None` when it can.
pub fn why_not() -> Option<&'static str> {
    static REASON: OnceLock<Option<String>> = OnceLock::new();
    REASON
        .get_or_init(|| lab::why_not().or_else(missing_feature))
        .as_deref()
}

fn missing_feature() -> Option<String> {
    if !Path::new(BTF).exists() {
        return Some(format!("needs {BTF} (CONFIG_DEBUG_INFO_BTF)"));
    }
    if command::run("findmnt", &["-t", "cgroup2"]).is_err() {
        return Some("needs a cgroup2 mount".to_owned());
    }
    // The object is looked for before the cgroup is: a cgroup that does not exist attaches nothing.
    let output = Command::new(BINARY)
        .args(["trace", "--cgroup", "/no/such/cgroup"])
        .envs(NO_CONFIG)
        .stdin(Stdio::null())
        .output();
    match output {
        Ok(output) if String::from_utf8_lossy(&output.stderr).contains("no eBPF programs") => {
            Some("the binary was built without the BPF object (cargo xtask build)".to_owned())
        }
        Ok(_) => None,
        Err(error) => Some(format!("{BINARY}: {error}")),
    }
}

/// Waits until `condition` holds.
pub fn wait_until(what: &str, mut condition: impl FnMut() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while !condition()? {
        ensure!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ends the test with every problem on a line of its own.
pub fn no_problems(problems: &[String]) -> Result<()> {
    ensure!(
        problems.is_empty(),
        "{} problems:\n{}",
        problems.len(),
        problems.join("\n")
    );
    Ok(())
}
