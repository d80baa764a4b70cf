//! `--max-overhead`: each step is taken, named everywhere, and what was given up stands in no total.

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::{
    lab::Lab,
    load::{Limit, Load},
};

use crate::{
    rights::with_three,
    support::{
        BINARY, NO_CONFIG,
        ground::temporary_directory,
        needs_kernel, no_problems,
        once::Copy,
        round::{Pair, round},
        sandbox::Sandbox,
        tool::{Ended, Tool},
    },
};

/// Less than anything that runs can keep within.
const NOTHING_IS_ENOUGH: &str = "0.0001%";

/// What `trace` makes of rounds of connections that go on until it ends by itself.
fn rounds_until_it_ends(sandbox: &Sandbox, args: &[&str]) -> Result<Ended> {
    let (lab, trace) = (Lab::up_unique()?, sandbox.trace(args)?);
    let pair = Pair::start(&lab, 0)?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let traffic = scope.spawn(|| -> Result<()> {
            while !over.load(Ordering::Relaxed) {
                sandbox.within("rounds", || round(&lab, &pair))?;
            }
            Ok(())
        });
        let ended = trace.ended();
        over.store(true, Ordering::Relaxed);
        traffic.join().expect("the traffic does not panic")?;
        ended
    })
}

fn replayed(recording: &Path, command: &[&str]) -> Result<Value> {
    let output = Command::new(BINARY)
        .args(command)
        .args(["--format", "json", "--replay"])
        .arg(recording)
        .envs(NO_CONFIG)
        .output()
        .context("replay")?;
    let text = String::from_utf8(output.stdout).context("not UTF-8")?;
    let last = text
        .lines()
        .last()
        .with_context(|| format!("nothing: {}", String::from_utf8_lossy(&output.stderr)))?;
    serde_json::from_str(last).with_context(|| format!("not JSON: {last}"))
}

#[test]
fn times_to_first_byte_go_first_then_plain_connections_then_everything() -> Result<()> {
    needs_kernel!();
    let (sandbox, directory) = (Sandbox::enter()?, temporary_directory()?);
    let recording = directory.join("shed.tfo");
    let path = recording.to_string_lossy().into_owned();
    let args = ["--all", "--max-overhead", NOTHING_IS_ENOUGH, "--record", &path];
    let ended = rounds_until_it_ends(&sandbox, &args)?;
    let (flows, summary) = ended.records()?;
    let said = ended.stderr.join("\n");
    let mut problems = Vec::new();
    let mut from = 0;
    for step in ["first-bytes", "plain", "detached"] {
        match said[from..].find(&format!("tfo-cli: given up: {step}: ")) {
            Some(at) => from += at,
            None => problems.push(format!("{step} is not said, or not in its turn: {said}")),
        }
    }
    if ended.code != Some(1) {
        problems.push(format!(
            "exit code {:?}: flows are missing that were asked for",
            ended.code
        ));
    }
    // What was given up is counted; what was not, is complete: each one that was counted has its record.
    let plain = |role: &str| {
        flows
            .iter()
            .filter(|flow| flow.outcome == "plain" && role == flow.role.name())
            .count() as u64
    };
    for role in ["client", "server"] {
        if plain(role) != summary.total(role, "plain") {
            problems.push(format!(
                "{role}: {} plain flows, {}",
                plain(role),
                summary.total(role, "plain")
            ));
        }
    }
    if summary.lost("shed") == 0 || summary.losses().iter().any(|(reason, _)| *reason != "shed") {
        problems.push(format!("lost {:?}", summary.losses()));
    }
    let accepted = flows.iter().filter(|flow| flow.outcome == "accepted");
    let (timed, untimed): (Vec<_>, Vec<_>) = accepted.partition(|flow| flow.ttfb_us.is_some());
    // Before the first step each is timed; after it none, and Fast Open goes on being recorded while plain ones do not.
    if timed.is_empty() || untimed.is_empty() {
        problems.push(format!(
            "{} have a time to first byte, {} have none",
            timed.len(),
            untimed.len()
        ));
    }
    let last: Value = serde_json::from_str(ended.stdout.last().context("no summary")?)?;
    if last["shed"] != "detached" {
        problems.push(format!("the summary says {}", last["shed"]));
    }
    // The recording says it as well, whoever plays it.
    let traced = replayed(&recording, &["trace"])?;
    let shown = replayed(&recording, &["top", "--once"])?;
    if traced["shed"] != "detached" || traced["lost"]["shed"] != last["lost"]["shed"] {
        problems.push(format!("replayed: {traced}, not {last}"));
    }
    if !shown["degradations"].to_string().contains("overhead-detached") {
        problems.push(format!("top of the recording: {}", shown["degradations"]));
    }
    fs::remove_dir_all(&directory).context("the recording")?;
    no_problems(&problems)
}

/// The limit is one on cost: what costs nothing gives up nothing, what a load costs does.
#[test]
fn only_a_load_is_above_a_limit_that_has_room() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let start = |limit: &str| {
        let args = [
            "--once",
            "--interval",
            "1h",
            "--format",
            "json",
            "--max-overhead",
            limit,
        ];
        sandbox.tool("top", &args)
    };
    let stop = |top: Tool| -> Result<Value> {
        top.signal(Signal::SIGINT)?;
        let ended = top.ended()?;
        ensure!(ended.code == Some(0), "{ended:?}");
        serde_json::from_str(&ended.stdout.join("\n")).context("not JSON")
    };
    let (tight, wide) = (start("0.5%")?, start("100%")?);
    let load = Load {
        fast_open: false,
        ..Load::new(Limit::Duration(std::time::Duration::from_secs(12)))
    };
    let report = load.run()?;
    let (tight, wide) = (stop(tight)?, stop(wide)?);
    let mut problems = Vec::new();
    if !tight["degradations"].to_string().contains("overhead-") {
        problems.push(format!("nothing was given up: {tight}"));
    }
    if tight["lost"]["shed"].as_u64() == Some(0) {
        problems.push(format!("no plain connection was left out: {tight}"));
    }
    if wide["degradations"].to_string().contains("overhead-") || wide["lost"]["shed"].as_u64() != Some(0) {
        problems.push(format!("given up below the limit: {wide}"));
    }
    if wide["totals"]["client"]["plain"].as_u64() != Some(report.active_opens) {
        problems.push(format!(
            "{}, the kernel has {}",
            wide["totals"]["client"]["plain"], report.active_opens
        ));
    }
    no_problems(&problems)
}

/// Without `CAP_SYS_ADMIN` the kernel measures no programs for us: the figure is said to be an estimate.
#[test]
fn who_may_not_measure_estimates_and_says_so() -> Result<()> {
    needs_kernel!();
    let (sandbox, copy) = (Sandbox::enter()?, Copy::make()?);
    let cgroup = sandbox.path().to_string_lossy().into_owned();
    let args = ["trace", "--cgroup", &cgroup, "--max-overhead", NOTHING_IS_ENOUGH];
    let ended = Tool::attached_by(&mut with_three(&copy, &args))?.ended()?;
    let said = ended.stderr.join("\n");
    ensure!(
        ended.code == Some(1) && said.contains("given up: detached: ") && said.contains(", estimated)"),
        "{ended:?}"
    );
    Ok(())
}
