//! `cargo xtask verify`: everything that takes long, and a report of it for the repository.

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

/// Where the report is, below the repository.
const REPORT: &str = "docs/verification.md";

/// Runs it all, goes on after a failure, and writes the report either way.
pub fn run(args: &Args) -> Result<()> {
    let mut steps = Steps::default();
    test::short_steps(&mut steps)?;
    steps.run(test::SOAK, |log| soak::soak(args.soak, log))?;
    steps.run("vm-test", |log| vm_test::kernels(&kernel::MATRIX, log))?;
    steps.run("page", page::check)?;
    steps.run("fuzz", |log| fuzz::all(args.fuzz, log))?;
    let path = workspace::root().join(REPORT);
    let text = format!("{HEAD}{}\n{}", where_and_what()?, steps.table());
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    println!("==> {}", path.display());
    steps.finish()
}

const HEAD: &str = "\
# Verification

Written by `cargo xtask verify`, the long tier of the tests; not by hand. What the short tier runs is in \
CONTRIBUTING.md.

";

/// The commit, the kernel and the machine.
fn where_and_what() -> Result<String> {
    let said = |program: &str, args: &[&str]| -> Result<String> {
        let text = process::output(Command::new(program).current_dir(workspace::root()).args(args))?;
        Ok(text.trim().to_owned())
    };
    let changed = said("git", &["status", "--porcelain", "--untracked-files=no"])?;
    Ok(format!(
        "Commit {}{}, {}, Linux {}, {} CPUs.\n",
        said("git", &["rev-parse", "--short", "HEAD"])?,
        if changed.is_empty() { "" } else { " with changes" },
        said("date", &["--utc", "+%Y-%m-%d %H:%M UTC"])?,
        said("uname", &["-r"])?,
        std::thread::available_parallelism().map_or(1, usize::from),
    ))
}
