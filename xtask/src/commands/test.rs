//! `cargo xtask test`: everything that must hold, from a fresh clone, in one command.

use std::ffi::OsString;
use std::process::{Command, Stdio};

use anyhow::{Result, bail, ensure};
use clap::ValueEnum;

use super::{build, vm_test};
use crate::bpf_object::{self, Warnings};
use crate::process::Running;
use crate::steps::Steps;
use crate::test_log::TestLog;
use crate::{install, packages, process, workspace};

#[derive(clap::Args, Default)]
pub struct Args {
    /// Leave out the kernels that are booted under emulation
    #[arg(long)]
    no_vm: bool,
    /// Run one group only
    #[arg(long, value_enum)]
    only: Option<Group>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Group {
    /// Formatting, lints, unit and snapshot tests, documentation: no root, no eBPF toolchain
    Unit,
    /// Tests on the live kernel, as root
    Privileged,
    /// Debian's older kernels under emulation
    Vm,
}

/// Test programs that attach to the live kernel. One thread: they share the host's cgroup root, and
/// timings are part of what they check.
const PRIVILEGED: [(&str, &str); 2] = [("tfo-lab", "scenarios"), ("tfo-cli", "privileged")];

pub fn run(args: &Args) -> Result<()> {
    let wants = |group| args.only.is_none_or(|only| only == group);
    let wants_vm = wants(Group::Vm) && !args.no_vm;
    let mut steps = Steps::default();
    let mut built = true;
    if wants(Group::Privileged) || wants_vm {
        built = steps.run("setup", |_| packages::ensure(&packages::TEST_TOOLS))?
            && steps.run("build", |_| build_strictly())?;
    }
    if wants(Group::Unit) {
        steps.run("fmt", |_| {
            process::run(workspace::cargo("fmt").args(["--all", "--check"]))
        })?;
        steps.run("clippy", |_| clippy())?;
        steps.run("unit", |log| cargo_test(&[], &[], log))?;
        steps.run("docs", |_| docs())?;
    }
    if wants(Group::Privileged) && built {
        for (package, test) in PRIVILEGED {
            steps.run(test, |log| privileged(package, test, log))?;
        }
    }
    if wants_vm && built {
        steps.run("vm-test", vm_test::kernels)?;
    }
    steps.finish()
}

/// As `cargo xtask build`, except that a warning of the eBPF crate is an error: clippy cannot be run on it.
fn build_strictly() -> Result<()> {
    bpf_object::build(&install::ensure_toolchain()?, Warnings::Deny)?;
    build::programs()
}

/// The default members: the eBPF crate is an empty program on the host.
fn clippy() -> Result<()> {
    process::run(workspace::cargo("clippy").args(["--all-targets", "--", "--deny", "warnings"]))
}

fn docs() -> Result<()> {
    process::run(
        workspace::cargo("doc")
            .arg("--no-deps")
            .env("RUSTDOCFLAGS", "--deny warnings"),
    )
}

fn privileged(package: &str, test: &str, log: &mut TestLog) -> Result<()> {
    let mut args = vec!["--package".into(), package.into(), "--test".into(), test.into()];
    if !process::is_root() {
        // Only the test program gets the rights; cargo's files stay the user's. Asking for the
        // password comes first, while the terminal is still ours.
        process::run_on_terminal(Command::new("sudo").arg("--validate"))?;
        let host = workspace::host_rustc()?.host;
        args.extend([
            "--config".into(),
            format!(r#"target.{host}.runner = ["sudo", "-E"]"#),
        ]);
    }
    // Also the output of tests that pass: it says what was skipped.
    cargo_test(&args, &["--test-threads=1", "--show-output"], log)?;
    ensure!(log.passed > 0, "{package} has no test in --test {test}");
    Ok(())
}

/// One `cargo test` with its output passed on and counted.
fn cargo_test(args: &[String], test_args: &[&str], log: &mut TestLog) -> Result<()> {
    let mut command = workspace::cargo("test");
    command.args(args).args(["--no-fail-fast", "--"]).args(test_args);
    command
        .env("PATH", path_with_sbin())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // Through sudo, Ctrl-C has to reach the tests from the terminal: we may not signal root's processes.
    let start = if process::is_root() {
        Running::start
    } else {
        Running::start_on_terminal
    };
    let status = process::wait_with_lines(start(&mut command)?, |line| {
        println!("{line}");
        log.line(line);
    })?;
    ensure!(
        status.success(),
        "`{}` failed ({status})",
        process::show(&command)
    );
    if !log.skipped.is_empty() && in_ci() {
        bail!("{} tests were skipped, and in CI none may be", log.skipped.len());
    }
    Ok(())
}

fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Tests call ip, nft and nginx, which a user's PATH may lack.
fn path_with_sbin() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    std::env::join_paths(directories).unwrap_or(path)
}
