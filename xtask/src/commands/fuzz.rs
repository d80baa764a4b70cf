//! `cargo xtask fuzz`: coverage-guided fuzzing of every parser of foreign input (crate `tfo-fuzz`).
//!
//! LLVM's libFuzzer measures coverage by instrumentation that stable compilers have as well (`tfo-fuzz/instrument`), so
//! neither a nightly compiler nor cargo-fuzz is needed. The parsers are safe code and need no address sanitiser.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::duration;
use crate::packages::{self, User};
use crate::test_log::TestLog;
use crate::{interrupt, process, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// One parser only, by the name of its directory in tfo-fuzz/corpus
    target: Option<String>,
    /// How long, for all together: 90s, 10m
    #[arg(long, default_value = "1m", value_parser = duration::parse)]
    time: Duration,
    /// Put the inputs that reached something new into tfo-fuzz/corpus
    #[arg(long)]
    keep: bool,
}

/// Time between two checks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(100);

/// What the fuzzer is built as.
#[derive(Clone, Copy)]
pub enum Profile {
    /// As tests are: their dependencies serve here, too, so that a minute of fuzzing does not take five to build.
    Dev,
    /// Several times as many inputs per second, for whoever has time: the minutes to build it come back.
    Fuzz,
}

pub fn run(args: &Args) -> Result<()> {
    let mut log = TestLog::default();
    fuzz(
        Profile::Fuzz,
        args.target.as_deref(),
        args.time,
        args.keep,
        &mut log,
    )?;
    println!("{} passed, {} failed", log.passed, log.failed);
    ensure!(log.failed == 0, "an input was not survived");
    Ok(())
}

/// Fuzzes all parsers as a step of `cargo xtask test` or `cargo xtask verify`; each parser counts as a test.
pub fn all(profile: Profile, time: Duration, log: &mut TestLog) -> Result<()> {
    fuzz(profile, None, time, false, log)?;
    ensure!(log.failed == 0, "an input was not survived");
    Ok(())
}

fn fuzz(profile: Profile, target: Option<&str>, time: Duration, keep: bool, log: &mut TestLog) -> Result<()> {
    let corpus = workspace::root().join("tfo-fuzz/corpus");
    let names = targets(&corpus)?;
    let chosen: Vec<&str> = match target {
        None => names.iter().map(String::as_str).collect(),
        Some(name) if names.contains(name) => vec![name],
        Some(name) => bail!("no parser `{name}`: one of {}", Vec::from_iter(names).join(", ")),
    };
    packages::ensure(&[User::Fuzz])?;
    let program = build(profile)?;
    let each = time / u32::try_from(chosen.len()).unwrap_or(1);
    for name in chosen {
        let work = workspace::target("fuzz/work").join(name);
        let finds = workspace::target("fuzz/finds").join(name);
        for directory in [&work, &finds] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let kept = corpus.join(name);
        match fuzz_target(&program, name, each, &[&work, &kept], &finds) {
            Ok(summary) => {
                println!("    {name}: {summary}");
                log.notes.push(format!("{name}: {summary}"));
                log.passed += 1;
            }
            Err(error) => {
                interrupt::check()?;
                println!("    {name}: FAILED: {error:#}");
                log.notes.push(format!("{name} FAILED: {error:#}"));
                println!(
                    "      the input is in {}; once mended, keep it in {}",
                    finds.display(),
                    kept.display()
                );
                log.failed += 1;
            }
        }
        if keep {
            merge(&program, name, &[&kept, &work])?;
        }
    }
    Ok(())
}

/// Names of the targets. Each has a directory in the corpus, which a test of tfo-fuzz checks.
fn targets(corpus: &Path) -> Result<BTreeSet<String>> {
    let entries = fs::read_dir(corpus).with_context(|| format!("cannot list {}", corpus.display()))?;
    let names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.map(|name| name.to_string_lossy().into_owned()).collect())
}

/// Builds the fuzzer. `--bin` without `--package` keeps the features of other crates as all tests have them, so that what
/// was compiled for those is not compiled again.
fn build(profile: Profile) -> Result<PathBuf> {
    let (name, directory) = match profile {
        Profile::Dev => ("dev", "debug"),
        Profile::Fuzz => ("fuzz", "fuzz"),
    };
    let mut command = workspace::cargo("build");
    command
        .args(["--quiet", "--bin", "tfo-fuzz", "--features", "tfo-fuzz/fuzzer"])
        .args(["--profile", name])
        .env(
            "RUSTC_WORKSPACE_WRAPPER",
            workspace::root().join("tfo-fuzz/instrument"),
        );
    process::run(&mut command).context("cannot build the fuzzer")?;
    Ok(workspace::target(directory).join("tfo-fuzz"))
}

/// Fuzzes one target; returns how many inputs ran and how many places they reached.
fn fuzz_target(program: &Path, name: &str, time: Duration, corpus: &[&Path], finds: &Path) -> Result<String> {
    let mut command = fuzzer(program, name);
    command
        .args(corpus)
        .arg(format!("-max_total_time={}", time.as_secs().max(1)))
        .arg(format!("-artifact_prefix={}/", finds.display()))
        // An input that takes 10 s or 1 GiB is a finding, too.
        .args([
            "-timeout=10",
            "-rss_limit_mb=1024",
            "-max_len=65536",
            "-print_final_stats=1",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    let mut running = process::Running::start(&mut command)?;
    let lines = process::lines_of(running.child.stderr.take());
    let (mut runs, mut coverage, mut last) = (String::new(), String::new(), Vec::new());
    loop {
        interrupt::check()?;
        let line = match lines.recv_timeout(SIGNAL_POLL) {
            Ok(line) => line,
            Err(RecvTimeoutError::Timeout) => continue,
            Err(RecvTimeoutError::Disconnected) => break,
        };
        if let Some(count) = line.strip_prefix("stat::number_of_executed_units:") {
            count.trim().clone_into(&mut runs);
        } else if let Some(found) = line.split(" cov: ").nth(1) {
            found
                .split(' ')
                .next()
                .unwrap_or_default()
                .clone_into(&mut coverage);
        } else {
            last.push(line);
        }
    }
    let status = running.wait()?;
    if !status.success() {
        let what = last
            .iter()
            .filter(|line| line.contains("panicked") || line.contains("ERROR"));
        let what: Vec<_> = what.map(String::as_str).collect();
        bail!("{status}: {}", what.join("; "));
    }
    ensure!(!runs.is_empty(), "it ran nothing: {}", last.join("; "));
    Ok(format!("{runs} inputs, {coverage} places reached"))
}

/// Copies the inputs that reach something new into the first directory, the smallest of several.
fn merge(program: &Path, name: &str, directories: &[&Path]) -> Result<()> {
    let mut command = fuzzer(program, name);
    command.arg("-merge=1").args(directories);
    process::output(&mut command).map(drop)
}

fn fuzzer(program: &Path, name: &str) -> Command {
    let mut command = Command::new(program);
    command.env("TFO_FUZZ_TARGET", name);
    command
}
