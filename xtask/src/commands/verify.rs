//! `cargo xtask verify`: the tests that take long, and a report of them for the repository.

use std::fs;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::{duration, fuzz, page, soak, test, vm_test};
use crate::steps::Steps;
use crate::verification::{Place, Report};
use crate::vm::kernel;
use crate::{process, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Only these; the others keep what the report says of them
    #[arg(value_enum)]
    parts: Vec<Part>,
    /// How long every parser is fuzzed, for all together
    #[arg(long, default_value = "90m", value_parser = duration::parse)]
    fuzz: Duration,
    /// How long everything runs at once
    #[arg(long, default_value = "10m", value_parser = duration::parse)]
    soak: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Build, lints, unit and privileged tests, with thousands of namespaces
    Tests,
    /// Of those, the tests of policies and guards only
    Policy,
    /// Everything at once on this kernel
    Soak,
    /// Every kernel of the matrix
    Kernels,
    /// The example report in a browser
    Page,
    /// Every parser
    Fuzz,
}

/// The file of the report, below the root of the repository.
const REPORT: &str = "docs/verification.md";

/// Runs every step, also after one that fails, and writes the report.
pub fn run(args: &Args) -> Result<()> {
    let wants = |part| args.parts.is_empty() || args.parts.contains(&part);
    let mut steps = Steps::default();
    if wants(Part::Tests) {
        test::short_steps(&mut steps)?;
    }
    // With the others they have run already.
    if args.parts.contains(&Part::Policy) && !args.parts.contains(&Part::Tests) {
        steps.run("policy", |log| test::privileged("tfo-cli", "policy", &[], log))?;
    }
    if wants(Part::Soak) {
        steps.run(test::SOAK, |log| soak::soak(args.soak, log))?;
    }
    if wants(Part::Kernels) {
        steps.run("vm-test", |log| vm_test::kernels(&kernel::MATRIX, log))?;
    }
    if wants(Part::Page) {
        steps.run("page", page::check)?;
    }
    if wants(Part::Fuzz) {
        steps.run("fuzz", |log| fuzz::all(fuzz::Profile::Fuzz, args.fuzz, log))?;
    }
    let path = workspace::root().join(REPORT);
    let mut report = if args.parts.is_empty() {
        Report::default()
    } else {
        Report::parse(&fs::read_to_string(&path).unwrap_or_default())
    };
    report.put(steps.done(), &place()?);
    fs::write(&path, report.text()).with_context(|| format!("cannot write {}", path.display()))?;
    println!("==> {}", path.display());
    steps.finish()
}

/// This commit, this machine, now.
fn place() -> Result<Place> {
    let output = |program: &str, args: &[&str]| -> Result<String> {
        let text = process::output(Command::new(program).current_dir(workspace::root()).args(args))?;
        Ok(text.trim().to_owned())
    };
    let changed = output("git", &["status", "--porcelain", "--untracked-files=no"])?;
    // The report itself may have changed: it is no part of what is tested.
    let is_changed = changed.lines().any(|line| !line.ends_with(REPORT));
    Ok(Place {
        commit: format!(
            "{}{}",
            output("git", &["rev-parse", "--short", "HEAD"])?,
            if is_changed { " with changes" } else { "" }
        ),
        date: output("date", &["--utc", "+%Y-%m-%d %H:%M"])?,
        machine: format!(
            "Linux {}, {} CPUs",
            output("uname", &["-r"])?,
            std::thread::available_parallelism().map_or(1, usize::from)
        ),
    })
}
