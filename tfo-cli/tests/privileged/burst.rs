//! Bursts at the machine's highest connection rate: records that the ring has no room for are counted, so that records
//! plus losses are exactly the totals, which are those of the load generator and of the kernel.

use std::thread;

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use tfo_lab::load::{Limit, Load, LoadReport};

use crate::support::{
    flow::Summary,
    needs_kernel, no_problems,
    sandbox::Sandbox,
    tool::{Ended, Tool},
};

/// Far more records (two per connection) than the ring has room for (about 29,000).
const OVERFLOW: u64 = 40_000;

fn load(fast_open: bool, v6: bool, connections: u64) -> Result<LoadReport> {
    let load = Load {
        fast_open,
        v6,
        ..Load::new(Limit::Connections(connections))
    };
    let report = load.run()?;
    ensure!(
        report.errors == 0 && report.connections == connections,
        "{report:?}"
    );
    Ok(report)
}

/// Loads side by side, each in a namespace of its own: TFO over IPv4 and IPv6 and plain connections.
fn mixed_load(connections: u64) -> Result<Vec<LoadReport>> {
    thread::scope(|scope| {
        let kinds = [(true, false), (true, true), (false, false)];
        let loads = kinds.map(|(fast_open, v6)| scope.spawn(move || load(fast_open, v6, connections)));
        let join = |load: thread::ScopedJoinHandle<'_, _>| load.join().expect("a load does not panic");
        loads.into_iter().map(join).collect()
    })
}

#[test]
fn a_burst_of_tfo_connections_is_counted_exactly() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let trace = sandbox.trace(&[])?;
    let report = load(true, false, 50_000)?;
    check(&trace.stop()?, &[report], false).map(drop)
}

#[test]
fn a_mixed_burst_is_counted_exactly() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let trace = sandbox.trace(&["--all"])?;
    let reports = mixed_load(15_000)?;
    check(&trace.stop()?, &reports, true).map(drop)
}

/// A stopped tool is the strongest overload there is: nobody empties the ring at all.
#[test]
fn what_a_stopped_tool_misses_is_counted() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let trace = sandbox.trace(&["--all"])?;
    trace.signal(Signal::SIGSTOP)?;
    let reports = mixed_load(OVERFLOW / 2)?;
    trace.signal(Signal::SIGCONT)?;
    overflowed(trace, &reports, true)
}

/// The pipe, the queue behind it and then the ring fill up.
#[test]
fn what_nobody_reads_is_counted() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let path = sandbox.path().to_string_lossy().into_owned();
    let mut trace = Tool::attached_unread(&["trace", "--format", "json", "--cgroup", &path])?;
    let report = load(true, false, 4 * OVERFLOW)?;
    trace.read_stdout();
    overflowed(trace, &[report], false)
}

/// Ends the tool and checks that it says how much is missing.
fn overflowed(trace: Tool, reports: &[LoadReport], all: bool) -> Result<()> {
    let ended = trace.stop()?;
    let summary = check(&ended, reports, all)?;
    ensure!(
        summary.lost("ring-full") > 0,
        "the ring did not overflow: {summary:?}"
    );
    Ok(())
}

/// The identities; also that exit code and warning say whether something is missing.
fn check(ended: &Ended, reports: &[LoadReport], all: bool) -> Result<Summary> {
    let (flows, summary) = ended.records()?;
    let mut problems = Vec::new();
    let mut same = |what: &str, left: u64, right: u64| {
        if left != right {
            problems.push(format!("{what}: {left} is not {right}"));
        }
    };
    let sum = |number: fn(&LoadReport) -> u64| reports.iter().map(number).sum::<u64>();
    let missing = summary.lost("ring-full");
    same(
        "events + lost = totals",
        summary.events + missing,
        summary.sum(all),
    );
    same("printed = events", summary.printed, summary.events);
    same("lines = printed", flows.len() as u64, summary.printed);

    let primes = sum(|report| report.primes);
    for (role, opens) in [
        ("client", sum(|report| report.active_opens)),
        ("server", sum(|report| report.passive_opens)),
    ] {
        let outcomes = summary.totals.get(role).context("a role is missing")?;
        let counted = outcomes.values().sum();
        same(
            &format!("{role} handshakes = the kernel's opens"),
            counted,
            opens + primes,
        );
        let granted = summary.total(role, "cookie-granted");
        same(&format!("{role} cookies granted = primes"), granted, primes);
        let accepted = summary.total(role, "accepted");
        same(
            &format!("{role} accepted = TCPFastOpenActive"),
            accepted,
            sum(|report| report.accepted),
        );
    }
    for (reason, count) in summary.losses() {
        same(
            &format!("lost by {reason}"),
            count,
            if reason == "ring-full" { missing } else { 0 },
        );
    }
    let warned = ended
        .stderr
        .iter()
        .any(|line| line.contains("incomplete") && line.contains("ring-full"));
    same("warned", u64::from(warned), u64::from(missing > 0));
    same(
        "exit code",
        u64::try_from(ended.code.unwrap_or(-1))?,
        u64::from(missing > 0),
    );
    no_problems(&problems)?;
    Ok(summary)
}
