//! `cargo xtask verify`: the tests that take long, and a report of them for the repository.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{duration, fuzz, page, soak, test, vm_test};
use crate::steps::Steps;
use crate::vm::kernel;
use crate::{process, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// How long every parser is fuzzed, for all together
    #[arg(long, default_value = "90m", value_parser = duration::parse)]
    fuzz: Duration,
    /// How long everything runs at once
    #[arg(long, default_value = "10m", value_parser = duration::parse)]
    soak: Duration,
}

/// The file of the report, below the root of the repository.
const REPORT: &str = "docs/verification.md";

/// Runs every step, also after one that fails, and writes the report.
pub fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::default();
    test::short_steps(&mut steps)?;
    steps.run(test::SOAK, |log| soak::soak(args.soak, log))?;
    steps.run("vm-test", |log| vm_test::kernels(&kernel::MATRIX, log))?;
    steps.run("page", page::check)?;
    steps.run("fuzz", |log| fuzz::all(args.fuzz, log))?;
    let path = workspace::root().join(REPORT);
    let text = format!("{HEAD}{}\n{}", environment()?, steps.table());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("==> {}", path.display());
    steps.finish()
}

const HEAD: &str = "\
# Verification

Written by `cargo xtask verify`, the long tier of the tests; not by hand. What the short tier runs is in \
CONTRIBUTING.md.

";

/// A line with the commit, the time, the kernel and the number of CPUs.
fn environment() -> Result<String> {
    let output = |program: &str, args: &[&str]| -> Result<String> {
        let text = process::output(Command::new(program).current_dir(workspace::root()).args(args))?;
        Ok(text.trim().to_owned())
    };
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Ok(format!(
        "Commit {}{}, {}, Linux {}, {} CPUs.\n",
        output("git", &["rev-parse", "--short", "HEAD"])?,
        if changed.is_empty() { "" } else { " with changes" },
        output("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?,
        output("uname", &["-r"])?,
        std::thread::available_parallelism().map_or(1, usize::from),
    ))
}
