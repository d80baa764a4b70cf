//! Bad input and missing rights: one message that says what is wrong, why, and what to do, the right exit code, and
//! nothing attached.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::support::{BINARY, NO_CONFIG, kernel::Loaded, needs_kernel, once::Copy, sandbox::Sandbox};

const USAGE: i32 = 2;
const MISSING: i32 = 3;

fn run(command: &mut Command) -> Result<Output> {
    command
        .envs(NO_CONFIG)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}: starting it"))
}

/// The message must name these words, end with this code, and leave nothing on stdout or in the kernel.
fn refused(command: &mut Command, code: i32, words: &[&str]) -> Result<()> {
    let before = Loaded::now();
    let output = run(command)?;
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    let explain = || format!("{command:?}: exit {:?}, {message}", output.status.code());
    ensure!(
        output.status.code() == Some(code),
        "expected {code}: {}",
        explain()
    );
    ensure!(output.stdout.is_empty(), "something on stdout: {}", explain());
    let mut lines = message.lines();
    let first = lines.next().unwrap_or_default();
    ensure!(first.starts_with("tfo-cli: "), "no message: {}", explain());
    let hints: Vec<_> = lines.collect();
    ensure!(
        hints.iter().all(|hint| hint.starts_with("  ")),
        "no hint: {}",
        explain()
    );
    // What is wrong with a value says what would be right.
    ensure!(!hints.is_empty() || code == USAGE, "no hint: {}", explain());
    for word in words {
        ensure!(message.contains(word), "{word:?} is not named: {}", explain());
    }
    before.nothing_added("a refusal")
}

#[test]
fn without_root_nothing_starts() -> Result<()> {
    needs_kernel!();
    let copy = Copy::make()?;
    for arguments in [&["trace"][..], &["top", "--once"], &["top"]] {
        let mut nobody = Command::new("setpriv");
        nobody
            .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
            .arg(copy.path())
            .args(arguments);
        refused(
            &mut nobody,
            MISSING,
            &["missing CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN\n", "sudo"],
        )?;
    }
    Ok(())
}

#[test]
fn a_single_missing_capability_is_named() -> Result<()> {
    needs_kernel!();
    let mut weak = Command::new("setpriv");
    weak.args(["--bounding-set=-net_admin", BINARY, "trace"]);
    refused(&mut weak, MISSING, &["missing CAP_NET_ADMIN\n"])
}

/// Runs the program in a mount namespace of its own, after `change` was made there.
fn with_mounts_changed(change: &str) -> Command {
    let mut command = Command::new("unshare");
    let script = format!("{change} && exec \"$0\" \"$@\"");
    command.args(["--mount", "sh", "-c", &script, BINARY, "trace"]);
    command
}

#[test]
fn without_btf_the_message_says_so() -> Result<()> {
    needs_kernel!();
    let mut command = with_mounts_changed("mount -t tmpfs none /sys/kernel/btf");
    refused(
        &mut command,
        MISSING,
        &["/sys/kernel/btf/vmlinux", "CONFIG_DEBUG_INFO_BTF"],
    )
}

#[test]
fn without_cgroup2_the_message_says_so() -> Result<()> {
    needs_kernel!();
    let mut command = with_mounts_changed("findmnt -nro TARGET -t cgroup2 | xargs -r umount --lazy");
    refused(&mut command, MISSING, &["cgroup v2", "mount -t cgroup2"])
}

#[test]
fn a_wrong_cgroup_is_wrong_usage() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let file = sandbox.path().join("cgroup.procs");
    for (path, why) in [
        (Path::new("/no/such/cgroup"), "No such file"),
        (&sandbox.path().join("nobody"), "No such file"),
        (&file, "not a cgroup v2 directory"),
        (Path::new("/tmp"), ""),
    ] {
        let mut trace = Command::new(BINARY);
        trace.arg("trace").arg("--cgroup").arg(path);
        let hint = "give a directory below the cgroup v2 mount";
        refused(&mut trace, USAGE, &[&path.to_string_lossy(), why, hint])?;
    }
    Ok(())
}

#[test]
fn wrong_values_attach_nothing() -> Result<()> {
    needs_kernel!();
    for (arguments, words) in [
        ("trace --duration soon", ["--duration", "soon"]),
        ("trace --count 0", ["--count", "0"]),
        ("trace --port 70000", ["--port", "70000"]),
        ("trace --remote 10.0.0.0/40", ["--remote", "10.0.0.0/40"]),
        ("trace --outcome lost", ["--outcome", "lost"]),
        ("trace --role both", ["--role", "both"]),
        ("trace --format xml", ["--format", "xml"]),
        ("trace --filter lost>", ["--filter", "lost>"]),
        ("trace --destinations 1", ["--destinations", "1"]),
        ("trace --server-v4-prefix 33", ["--server-v4-prefix", "33"]),
        ("top --interval 1us", ["--interval", "1us"]),
        ("top --sort beauty", ["--sort", "beauty"]),
    ] {
        let mut command = Command::new(BINARY);
        command.args(arguments.split(' '));
        refused(&mut command, USAGE, &words)?;
    }
    Ok(())
}
