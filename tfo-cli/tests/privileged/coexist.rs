//! Several observers on one cgroup: two copies of the tool, of which one ends first, and a foreign `sock_ops` program.
//! None disturbs another.

use anyhow::{Result, ensure};
use aya::programs::loaded_programs;
use tfo_lab::{command, lab::Lab};

use crate::support::{
    foreign::{self, Calls, Foreign},
    kernel::needs_quiet_host,
    needs_kernel, needs_programs, no_problems, once,
    round::{PER_ROUND, Pair, differences, round},
    sandbox::Sandbox,
    wait_until,
};

#[test]
fn the_newer_copy_survives_the_older_one() -> Result<()> {
    needs_kernel!();
    survivor_is_complete(true)
}

#[test]
fn the_older_copy_survives_the_newer_one() -> Result<()> {
    needs_kernel!();
    survivor_is_complete(false)
}

/// Listeners from before both copies, from between them, from while both run, and from after the end of one:
/// the copy that stays sees both ends of every connection to each of them, before and after.
fn survivor_is_complete(older_ends: bool) -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let before = Pair::start(&lab, 0)?;
    let older = sandbox.trace(&["--all"])?;
    let between = Pair::start(&lab, 1)?;
    let newer = sandbox.trace(&["--all"])?;
    let during = Pair::start(&lab, 2)?;

    let mut both = Vec::new();
    for pair in [&before, &between, &during] {
        both.extend(round(&lab, pair)?);
    }
    let (first, survivor) = if older_ends {
        (older, newer)
    } else {
        (newer, older)
    };
    let (flows, _) = first.stop()?.complete_records()?;
    let mut problems = differences(&lab, &both, &flows)?;

    let after = Pair::start(&lab, 3)?;
    for pair in [&before, &between, &during, &after] {
        both.extend(round(&lab, pair)?);
    }
    let (flows, _) = survivor.stop()?.complete_records()?;
    problems.extend(differences(&lab, &both, &flows)?);
    ensure!(flows.len() == 2 * both.len(), "{} records", flows.len());
    no_problems(&problems)
}

/// The other program gets what it asked for and nothing else is taken from it, whether the tool runs or not;
/// once the tool has ended, not one callback more than before.
#[test]
fn a_foreign_program_is_not_disturbed_and_does_not_disturb() -> Result<()> {
    needs_kernel!();
    needs_quiet_host!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let foreign = Foreign::attach(sandbox.path())?;
    let id = foreign.id()?;

    let alone = calls_of_a_round(&foreign, &lab, &pair)?;
    ensure!(
        alone.of(foreign::HDR_OPT_LEN) == 0,
        "it asked for no headers: {alone:?}"
    );

    let trace = sandbox.trace(&["--all"])?;
    let mut made = round(&lab, &pair)?;
    let together = calls_of_a_round(&foreign, &lab, &pair);
    let newcomer = Foreign::attach(sandbox.path())?;
    made.extend(round(&lab, &pair)?);
    drop(newcomer);
    made.extend(round(&lab, &pair)?);
    let (flows, _) = trace.stop()?.complete_records()?;
    no_problems(&differences(&lab, &made, &flows)?)?;

    let together = together?;
    ensure!(
        together.without_header_options() == alone,
        "with the tool: {together:?}, alone: {alone:?}"
    );
    ensure!(
        together.of(foreign::HDR_OPT_LEN) > 0,
        "the tool's flags show: {together:?}"
    );
    ensure!(is_loaded(id), "the foreign program {id} is gone");
    let afterwards = calls_of_a_round(&foreign, &lab, &pair)?;
    ensure!(
        afterwards == alone,
        "after the tool: {afterwards:?}, before: {alone:?}"
    );
    Ok(())
}

/// Calls of the foreign program for one round of connections, once all of them are over at both ends.
fn calls_of_a_round(foreign: &Foreign, lab: &Lab, pair: &Pair) -> Result<Calls> {
    // At each end the change to ESTABLISHED and the one to CLOSE.
    const STATES: u64 = 2 * 2 * PER_ROUND as u64;
    let before = foreign.calls()?;
    round(lab, pair)?;
    let calls = || -> Result<Calls> { Ok(foreign.calls()?.since(&before)) };
    wait_until("the states of all connections", || {
        Ok(calls()?.of(foreign::STATE) >= STATES)
    })?;
    let calls = calls()?;
    ensure!(calls.of(foreign::STATE) == STATES, "{calls:?}");
    Ok(calls)
}

fn is_loaded(id: u32) -> bool {
    loaded_programs().flatten().any(|program| program.id() == id)
}

/// The kernel says EPERM; the message says who is in the way, how and where, and theirs goes on as before.
#[test]
fn who_lets_nobody_else_in_is_named() -> Result<()> {
    needs_kernel!();
    needs_programs!("bpftool");
    let sandbox = Sandbox::enter()?;
    // Attached elsewhere as well, so that it stays loaded.
    sandbox.within("theirs", || Ok(()))?;
    let foreign = Foreign::attach(&sandbox.child("theirs"))?;
    let id = foreign.id()?.to_string();
    let path = sandbox.path().to_string_lossy().into_owned();
    for (flags, how) in [(&[][..], "exclusively"), (&["override"][..], "with override")] {
        let theirs = ["cgroup", "attach", &path, "sock_ops", "id", &id];
        command::run("bpftool", &[&theirs[..], flags].concat())?;
        let before = command::run("bpftool", &["cgroup", "show", &path])?;
        let refused = once::run(&["trace", "--cgroup", &path]);
        let after = command::run("bpftool", &["cgroup", "show", &path])?;
        command::run("bpftool", &["cgroup", "detach", &path, "sock_ops", "id", &id])?;
        let refused = refused?.ended(3)?;
        for word in [&*format!("(program {id})"), how, &path, "BPF_F_ALLOW_MULTI"] {
            ensure!(refused.stderr.contains(word), "{word} is not named: {refused:?}");
        }
        ensure!(before == after, "theirs was {before}, and is {after}");
    }
    // With nobody in the way it works again.
    sandbox.trace(&[])?.stop()?.complete_records()?;
    Ok(())
}
