//! `cargo xtask test`: every check and every test, also in a fresh clone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::ValueEnum;
use serde_json::Value;

use super::{build, fuzz, soak, vm_test};
use crate::bpf_object::{self, Warnings};
use crate::packages::{self, User};
use crate::process::Running;
use crate::steps::Steps;
use crate::test_log::TestLog;
use crate::vm::kernel;
use crate::{install, process, workspace};

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
    /// A minute of fuzzing: no root, no eBPF toolchain, but a C++ compiler
    Fuzz,
    /// Tests on the live kernel, as root, and two minutes of everything at once
    Privileged,
    /// Debian's older kernels under emulation
    Vm,
}

/// Test programs that make namespaces or attach to the live kernel, by package. They run with one thread, because they
/// share the host's cgroup root and some check times.
const PRIVILEGED: [(&str, &str); 4] = [
    ("tfo-lab", "lab"),
    ("tfo-lab", "scenarios"),
    ("tfo-cli", "privileged"),
    ("tfo-cli", "policy"),
];

/// Name of the test program of the soak, which has a subcommand of its own.
pub const SOAK: &str = "soak";

/// Namespaces and cgroups that `cargo xtask verify` makes and removes (`tests/privileged/namespaces.rs`).
const CHURN: u64 = 5_000;

/// Time for fuzzing here; `cargo xtask verify` takes longer.
const FUZZING: Duration = Duration::from_mins(1);
/// Time for the soak here; `cargo xtask verify` takes longer.
const SOAKING: Duration = Duration::from_mins(2);

pub fn run(args: &Args) -> Result<()> {
    let wants = |group| args.only.is_none_or(|only| only == group);
    let wants_vm = wants(Group::Vm) && !args.no_vm;
    let mut steps = Steps::default();
    let mut built = true;
    if wants(Group::Privileged) || wants_vm {
        let users: &[User] = if wants_vm {
            &[User::Lab, User::Tests, User::Vm]
        } else {
            &[User::Lab, User::Tests]
        };
        built =
            steps.run("setup", |_| packages::ensure(users))? && steps.run("build", |_| build_strictly())?;
    }
    if wants(Group::Unit) {
        steps.run("fmt", |_| {
            process::run(workspace::cargo_plain("fmt").args(["--all", "--check"]))
        })?;
        steps.run("clippy", |_| clippy())?;
        steps.run("unit", unit)?;
        steps.run("docs", |_| docs())?;
    }
    if wants(Group::Fuzz) {
        steps.run("fuzz", |log| fuzz::all(fuzz::Profile::Dev, FUZZING, log))?;
    }
    if wants(Group::Privileged) && built {
        all_privileged(&mut steps, &[])?;
        steps.run(SOAK, |log| soak::soak(SOAKING, log))?;
    }
    if wants_vm && built {
        steps.run("vm-test", |log| vm_test::kernels(&kernel::IN_CI, log))?;
    }
    steps.finish()
}

/// The steps that `cargo xtask verify` takes over as they are: build, lints, unit and privileged tests.
pub fn short_steps(steps: &mut Steps) -> Result<()> {
    let built = steps.run("setup", |_| packages::ensure(&[User::Lab, User::Tests, User::Vm]))?
        && steps.run("build", |_| build_strictly())?;
    steps.run("clippy", |_| clippy())?;
    steps.run("unit", unit)?;
    ensure!(built, "without a build there is nothing to verify");
    all_privileged(steps, &[("TFO_CHURN", CHURN)])
}

fn all_privileged(steps: &mut Steps, env: &[(&str, u64)]) -> Result<()> {
    for (package, test) in PRIVILEGED {
        steps.run(test, |log| privileged(package, test, env, log))?;
    }
    Ok(())
}

/// As `cargo xtask build`, except that a warning of the eBPF crate is an error: clippy cannot be run on it.
fn build_strictly() -> Result<()> {
    bpf_object::build(&install::ensure_toolchain()?, Warnings::Deny, bpf_object::Log::No)?;
    build::programs()
}

/// Lints the default members of the workspace; on the host the eBPF crate is empty.
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

/// Runs every test of the default members but the privileged ones, which would skip themselves or, as root, run at the
/// same time.
fn unit(log: &mut TestLog) -> Result<()> {
    let metadata =
        process::output(workspace::cargo_plain("metadata").args(["--no-deps", "--format-version=1"]))?;
    let mut args = vec!["--lib".to_owned(), "--bins".to_owned()];
    for test in integration_tests(&metadata)? {
        if test != SOAK && !PRIVILEGED.iter().any(|(_, name)| *name == test) {
            args.extend(["--test".to_owned(), test]);
        }
    }
    cargo_test(&args, &[], &[], log)?;
    cargo_test(&["--doc".to_owned()], &[], &[], log)
}

/// The names of all integration test programs, from `cargo metadata`.
fn integration_tests(metadata: &str) -> Result<BTreeSet<String>> {
    let metadata: Value = serde_json::from_str(metadata).context("cargo metadata printed no JSON")?;
    let packages = metadata["packages"]
        .as_array()
        .context("cargo metadata named no packages")?;
    let targets = packages
        .iter()
        .filter_map(|package| package["targets"].as_array())
        .flatten();
    let tests = targets.filter(|target| target["kind"][0] == "test");
    Ok(tests
        .filter_map(|target| target["name"].as_str())
        .map(str::to_owned)
        .collect())
}

/// Runs a test program as root, with these numbers in its environment.
pub fn privileged(package: &str, test: &str, env: &[(&str, u64)], log: &mut TestLog) -> Result<()> {
    let mut args = vec!["--package".into(), package.into(), "--test".into(), test.into()];
    if !process::is_root() {
        // Only the test program runs as root, so that cargo's files stay the user's. sudo asks for the password now,
        // while it can use the terminal.
        process::run_on_terminal(Command::new("sudo").arg("--validate"))?;
        let host = workspace::host_rustc()?.host;
        args.extend([
            "--config".into(),
            format!(r#"target.{host}.runner = ["sudo", "-E"]"#),
        ]);
    }
    // The output of tests that pass says what was skipped.
    cargo_test(&args, &["--test-threads=1", "--show-output"], env, log)?;
    ensure!(log.passed > 0, "{package} has no test in --test {test}");
    Ok(())
}

/// Runs `cargo test`, prints its output and counts its results.
fn cargo_test(args: &[String], test_args: &[&str], env: &[(&str, u64)], log: &mut TestLog) -> Result<()> {
    let mut command = workspace::cargo("test");
    command.args(args).args(["--no-fail-fast", "--"]).args(test_args);
    command
        .env("PATH", path_with_sbin())
        .envs(env.iter().map(|(name, value)| (name, value.to_string())))
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    // Without root, Ctrl-C has to reach the tests from the terminal, because a user may not signal root's processes.
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

/// PATH with the directories of ip, nft and nginx, which a user's PATH may lack.
fn path_with_sbin() -> OsString {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut directories: Vec<_> = std::env::split_paths(&path).collect();
    directories.extend(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(Into::into));
    std::env::join_paths(directories).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integration_tests_are_told_from_other_targets() {
        let metadata = r#"{"packages":[{"name":"a","targets":[
            {"kind":["lib"],"name":"a"},{"kind":["test"],"name":"help"},{"kind":["test"],"name":"privileged"}]},
            {"name":"b","targets":[{"kind":["bin"],"name":"b"},{"kind":["custom-build"],"name":"build-script-build"}]}]}"#;
        let names = integration_tests(metadata).unwrap();
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ["help", "privileged"]);
        assert!(integration_tests("{}").is_err());
    }
}
