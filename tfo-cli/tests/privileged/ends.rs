//! Every way in which the tool can end: it has the right exit code, prints a summary where it can be read, and leaves
//! nothing attached.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use nix::sys::signal::Signal;
use tfo_cli::output::TraceFormat;
use tfo_lab::lab::Lab;

use crate::support::{
    kernel::Loaded,
    needs_kernel,
    round::{PER_ROUND, Pair, round},
    sandbox::Sandbox,
    tool::Tool,
};

/// Runs `end` on an attached tool; what it attached must be visible before and gone after.
fn leaves_nothing(
    command: &str,
    args: &[&str],
    what: &str,
    end: impl FnOnce(Tool) -> Result<()>,
) -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let before = Loaded::now();
    let tool = sandbox.tool(command, args)?;
    // Otherwise finding nothing afterwards would prove nothing.
    let attached = before.added();
    for part in ["program", "link", "tfo_sock_ops"] {
        ensure!(
            attached.iter().any(|one| one.contains(part)),
            "no {part} in {attached:?}"
        );
    }
    end(tool)?;
    before.nothing_added(what)
}

#[test]
fn signals_end_it_cleanly() -> Result<()> {
    needs_kernel!();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        leaves_nothing("trace", &["--format", "json"], signal.as_str(), |trace| {
            trace.signal(signal)?;
            let ended = trace.ended()?;
            let (flows, summary) = ended.complete_records()?;
            ensure!(flows.is_empty() && summary.events == 0, "{summary:?}");
            Ok(())
        })?;
        leaves_nothing("top", &["--once", "--interval", "1h"], signal.as_str(), |top| {
            top.signal(signal)?;
            let ended = top.ended()?;
            ensure!(ended.code == Some(0) && !ended.stdout.is_empty(), "{ended:?}");
            Ok(())
        })?;
    }
    Ok(())
}

/// No handler runs: only what the kernel does for a dead process.
#[test]
fn sigkill_leaves_nothing_attached() -> Result<()> {
    needs_kernel!();
    for command in ["trace", "top"] {
        let args: &[&str] = if command == "top" {
            &["--once", "--interval", "1h"]
        } else {
            &[]
        };
        leaves_nothing(command, args, "SIGKILL", |tool| {
            tool.signal(Signal::SIGKILL)?;
            let ended = tool.ended()?;
            ensure!(ended.code.is_none(), "{ended:?}");
            Ok(())
        })?;
    }
    Ok(())
}

#[test]
fn a_duration_ends_it() -> Result<()> {
    needs_kernel!();
    let begun = Instant::now();
    leaves_nothing(
        "trace",
        &["--format", "json", "--duration", "2s"],
        "--duration",
        |trace| {
            let ended = trace.ended()?;
            ended.complete_records()?;
            ensure!(begun.elapsed() >= Duration::from_secs(2), "it ended too soon");
            Ok(())
        },
    )?;
    leaves_nothing("top", &["--once", "--interval", "2s"], "--once", |top| {
        let ended = top.ended()?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(())
    })
}

/// `trace | head -1`: the reader goes after the first line, the tool with the next one it writes.
#[test]
fn a_closed_pipe_ends_it_cleanly() -> Result<()> {
    needs_kernel!();
    for format in TraceFormat::value_variants() {
        let value = format.to_possible_value().context("a format has a name")?;
        let format = value.get_name();
        let sandbox = Sandbox::enter()?;
        let lab = Lab::up_unique()?;
        let pair = Pair::start(&lab, 0)?;
        let before = Loaded::now();
        let path = sandbox.path().to_string_lossy().into_owned();
        let mut trace = Tool::attached_unread(&["trace", "--all", "--format", format, "--cgroup", &path])?;
        trace.close_stdout();
        round(&lab, &pair)?;
        let ended = trace.ended()?;
        ensure!(ended.code == Some(0), "{format}: {ended:?}");
        ensure!(
            !ended
                .stderr
                .iter()
                .any(|line| line.to_lowercase().contains("pipe")),
            "{format}: {ended:?}"
        );
        before.nothing_added("a closed pipe")?;
    }
    Ok(())
}

#[test]
fn a_count_ends_it_exactly_there() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let counts = [1, 3, 2 * PER_ROUND];
    let traces = counts.map(|count| sandbox.trace(&["--all", "--count", &count.to_string()]));
    round(&lab, &pair)?;
    round(&lab, &pair)?;
    for (count, trace) in counts.into_iter().zip(traces) {
        // Nobody stops it.
        let (flows, summary) = trace?.ended()?.complete_records()?;
        ensure!(flows.len() == count, "{} records, expected {count}", flows.len());
        ensure!(summary.printed == count as u64, "{summary:?}");
    }
    Ok(())
}
