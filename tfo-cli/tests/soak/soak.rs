//! The rounds, and what must hold in the end.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tfo_common::limits;

use crate::{
    copies::Copies,
    policy::{self, PINS},
    rules::Changes,
    support::{kernel::Loaded, no_problems, sandbox::Sandbox},
    traffic::{self, Destinations, Made, burst},
    witness::{Holds, Testimony, Witness},
};

/// Connections of a burst.
const BURST: u64 = 1_000;
/// Two records a connection, more than the ring has room for (about 29,000).
const OVERFLOW: u64 = 20_000;
/// The first round of so many fills the ring.
const CYCLE: u64 = 8;
/// Destinations of a round.
const VISITED: u32 = 12;
/// Cycles after which every room of the witness has been full once: 65,536 flows wait for their first byte at most
/// (`PendingFlows`), and a cycle brings more than half as many. Before, its memory is touched for the first time.
const FILLED: usize = 2;
/// Destinations of a round of these cycles: in all they are more than the witness makes rows of by itself (`Counted`), for all
/// rounds of a cycle but the first visit some.
const VISITED_FIRST: u32 = 300;
const _: () = assert!(VISITED_FIRST as u64 * FILLED as u64 * (CYCLE - 1) > limits::ROWS_BY_READER as u64);
/// What the witness may grow by in the second half of the time. Its rooms are bounded, but how full the queue between its threads
/// (16 batches of 4,096 records) has been at most is a matter of luck, and memory that was touched stays.
const GROWTH_KIB: u64 = 4 * 1024;

/// Runs for that long, at least a cycle longer than it takes to fill every room; says what was done.
pub fn run(time: Duration) -> Result<String> {
    let (loaded, namespaces) = (Loaded::now(), traffic::named_namespaces());
    let begun = Instant::now();
    let sandbox = Sandbox::enter()?;
    let witness = Witness::start(sandbox.path())?;
    let mut destinations = sandbox.within("visited", Destinations::start)?;
    let (mut made, mut copies, mut changes) = (Made::default(), Copies::default(), Changes::default());
    // At the end of each cycle.
    let mut holds: Vec<Holds> = Vec::new();
    let mut round = 0;
    while begun.elapsed() < time || holds.len() <= FILLED || round % CYCLE != 0 {
        if round % CYCLE == 0 {
            // A stopped reader is the strongest overload there is: nobody empties the ring at all.
            witness.signal(Signal::SIGSTOP)?;
            let filled = burst(&sandbox, round, OVERFLOW);
            witness.signal(Signal::SIGCONT)?;
            made += filled?;
        } else {
            let visited = if holds.len() < FILLED {
                VISITED_FIRST
            } else {
                VISITED
            };
            changes.another(sandbox.path(), round)?;
            copies.another(&sandbox, round, || {
                made += burst(&sandbox, round, BURST)?;
                sandbox.within("visited", || destinations.visit(visited))
            })?;
        }
        round += 1;
        if round % CYCLE == 0 {
            let held = witness.holds()?;
            println!("  {} s, {round} rounds: {held:?}", begun.elapsed().as_secs());
            holds.push(held);
        }
    }
    made += destinations.made()?;
    policy::clear()?;
    let testimony = witness.stop()?;
    no_problems(&wrong(&testimony, made))?;
    let grown = |what: fn(&Holds) -> u64| {
        let half = (holds.len() / 2).max(FILLED);
        let (before, after) = holds.split_at(half.min(holds.len()));
        let most = |holds: &[Holds]| holds.iter().map(what).max().unwrap_or(0);
        most(after).saturating_sub(most(before))
    };
    ensure!(
        grown(|holds| holds.descriptors) == 0 && grown(|holds| holds.rss_kib) <= GROWTH_KIB,
        "the witness has grown, cycle by cycle: {holds:?}"
    );
    let visited = destinations.count();
    drop((destinations, sandbox));
    loaded.nothing_added("the soak")?;
    ensure!(!Path::new(PINS).exists(), "{PINS} is left behind");
    ensure!(
        traffic::named_namespaces() == namespaces,
        "named namespaces: {namespaces:?} before, {:?} after",
        traffic::named_namespaces()
    );
    Ok(format!(
        "{} s, {round} rounds, {} connections to {visited} destinations and back, {} records lost by the full ring and \
         counted, {} copies ended and {} killed, {} policy changes of which {} killed; KiB and descriptors \
         of the witness, cycle by cycle: {:?}",
        begun.elapsed().as_secs(),
        made.clients,
        testimony.summary.lost("ring-full"),
        copies.ended,
        copies.killed,
        changes.made,
        changes.killed,
        holds
            .iter()
            .map(|holds| (holds.rss_kib, holds.descriptors))
            .collect::<Vec<_>>(),
    ))
}

/// What of the witness's account is not as the kernel has it.
fn wrong(testimony: &Testimony, made: Made) -> Vec<String> {
    let Testimony {
        code,
        lines,
        summary,
        stderr,
    } = testimony;
    let mut problems = Vec::new();
    let mut same = |what: &str, left: u64, right: u64| {
        if left != right {
            problems.push(format!("{what}: {left} is not {right}"));
        }
    };
    let missing = summary.lost("ring-full");
    same(
        "events + lost = totals",
        summary.events + missing,
        summary.sum(true),
    );
    same("printed = events", summary.printed, summary.events);
    same("lines = printed", *lines, summary.printed);
    for (role, opens) in [("client", made.clients), ("server", made.servers)] {
        let counted = summary
            .totals
            .get(role)
            .map_or(0, |outcomes| outcomes.values().sum());
        same(&format!("{role} handshakes = the kernel's opens"), counted, opens);
    }
    for (reason, count) in summary.losses() {
        let expected = if reason == "ring-full" { missing } else { 0 };
        same(&format!("lost by {reason}"), count, expected);
    }
    same("the ring overflowed", u64::from(missing > 0), 1);
    if *code != Some(1) {
        problems.push(format!("exit {code:?} though something was lost: {stderr:?}"));
    }
    problems
}
