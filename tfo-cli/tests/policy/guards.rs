//! Guards: the first K connections have a timeout, the next ones do not, and TFO is used again when the path is mended.

use std::{
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::maps::{HashMap, MapData};
use serde_json::Value;
use tfo_common::{guard::GuardKey, policy::TRIALS};
use tfo_lab::{
    client::{Api, Connect, Family, Report},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{at_once, is_fast, is_late, late, primed, service},
    policy::{self, ok},
    support::{sandbox::Sandbox, wait_until},
};

/// Sets a guard on the cgroup of the sandbox.
pub fn on(sandbox: &Sandbox, more: &[&str]) -> Result<()> {
    let path = sandbox.path().to_string_lossy().into_owned();
    let mut args = vec!["guard", "on", "--cgroup", &path];
    args.extend(more);
    ok(&args).map(drop)
}

/// The state of the only destination of the guard, as `guard status` prints it.
pub fn state() -> Result<Value> {
    let status = policy::guards()?;
    let destinations = status["destinations"].as_array().context("destinations")?;
    ensure!(destinations.len() == 1, "{status}");
    Ok(destinations[0].clone())
}

/// Who has failed is found out when it has ended, where nothing had failed before: a socket outside the guard's cgroup is nobody's.
pub fn who_is_nobody_s() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        let (_server, connect) = primed(&lab, family, 0)?;
        let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(family, 0)))?;
        let guarded = sandbox.child("guarded").to_string_lossy().into_owned();
        sandbox.within("guarded", || ok(&["guard", "on", "--cgroup", &guarded]).map(drop))?;
        sandbox.within("other", || late(&lab, &connect).map(drop))?;
        let status = policy::guards()?;
        ensure!(status["destinations"] == Value::Array(Vec::new()), "{status}");
        sandbox.within("guarded", || late(&lab, &connect).map(drop))?;
        let found = state()?;
        ensure!(
            found["failures"] == 1 && found["cost_us"].as_u64() >= Some(900_000),
            "{found}"
        );
        policy::clear()?;
    }
    Ok(())
}

/// A handshake begins while nothing has ever failed, and its SYN is sent again when something else has: the one that was lost had
/// data, whatever the one that is sent again is like.
pub fn something_fails_meanwhile() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let (other, refused) = primed(&lab, Family::V4, 1)?;
    on(&sandbox, &[])?;
    drop(other);
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
    thread::scope(|scope| {
        let slow = scope.spawn(|| late(&lab, &connect).map(drop));
        wait_until("its handshake to be watched", || Ok(policy::flagged()? == 1))?;
        let report = refused.run_in(lab.client())?;
        ensure!(report.error.as_deref() == Some("ECONNREFUSED"), "{report:?}");
        slow.join().expect("it does not panic")
    })?;
    let status = policy::guards()?;
    let known = status["destinations"].as_array().context("destinations")?;
    let of = |connect: &Connect| {
        let target = connect.target.ip().to_string();
        known.iter().find(|one| one["remote_addr"] == target.as_str())
    };
    let slow = of(&connect).with_context(|| format!("{status}"))?;
    ensure!(
        slow["failures"] == 1 && slow["cost_us"].as_u64() >= Some(900_000),
        "{slow}"
    );
    ensure!(of(&refused).is_some(), "{status}");
    Ok(())
}

/// The first failures there ever were show together, a second after their SYNs. Where others have come through in that second
/// they are losses among successes, however many there are, and open nothing.
pub fn losses_that_successes_overtake() -> Result<()> {
    const LOSSES: usize = 6;
    // Longer than a tick, by which it is told what came later.
    const TICKS: Duration = Duration::from_millis(30);
    // The handshakes take a second; a machine that stands still for that long gets another try.
    for _ in 0..3 {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        let (_server, connect) = primed(&lab, Family::V4, 0)?;
        on(&sandbox, &[])?;
        let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
        let in_time = thread::scope(|scope| {
            let slow: Vec<_> = (0..LOSSES)
                .map(|_| scope.spawn(|| late(&lab, &connect).map(drop)))
                .collect();
            wait_until("their SYNs to be lost", || Ok(policy::flagged()? == LOSSES))?;
            drop(path);
            let since = Instant::now();
            while since.elapsed() < TICKS {
                ensure!(is_fast(&at_once(&lab, &connect)?), "it came through");
            }
            let in_time = policy::flagged()? == LOSSES;
            for one in slow {
                one.join().expect("it does not panic")?;
            }
            Ok(in_time)
        })?;
        let found = state()?;
        let is_fast = is_fast(&at_once(&lab, &connect)?);
        policy::clear()?;
        if in_time {
            // All of them end at once, and two CPUs may lose one piece of evidence between them; but none may be in the window.
            ensure!(found["failures"].as_u64() > Some(0), "{found}");
            ensure!(
                found["recent_failures"] == 0 && found["opened"] == 0 && is_fast,
                "{found}"
            );
            return Ok(());
        }
    }
    bail!("the handshakes were over each time before others could overtake them")
}

fn until_trial_is_due() -> Result<()> {
    wait_until("a trial to be due", || Ok(state()?["next_trial_us"] == 0))
}

pub fn opens_and_comes_back() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (_server, connect) = primed(&lab, family, 0)?;
        on(&sandbox, &["--failures", "3", "--of", "4", "--backoff", "2s"])?;
        ensure!(is_fast(&at_once(&lab, &connect)?), "closed: TFO goes through");
        ensure!(
            policy::guards()?["destinations"] == Value::Array(Vec::new()),
            "no failure, no state"
        );

        let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(family, 0)))?;
        for _ in 0..3 {
            late(&lab, &connect)?;
        }
        let opened = state()?;
        ensure!(
            opened["state"] == "open" && opened["action"] == "no-data",
            "{opened}"
        );
        ensure!(
            opened["failures"] == 3 && opened["cost_us"].as_u64() >= Some(900_000),
            "{opened}"
        );
        let report = at_once(&lab, &connect)?;
        ensure!(!is_fast(&report), "{report:?}");
        let plain = Connect {
            api: Api::Plain,
            ..connect.clone()
        };
        at_once(&lab, &plain)?;
        let counted = state()?;
        ensure!(
            counted["denied"] == 1 && counted["saved_us"].as_u64() >= Some(900_000),
            "{counted}"
        );

        // Half-open: of two at once one is the trial and pays, the other does not.
        until_trial_is_due()?;
        let before = path.hits()?;
        let two: Vec<Report> = thread::scope(|scope| {
            let two = [0, 1].map(|_| scope.spawn(|| connect.run_in(lab.client())));
            two.into_iter()
                .map(|one| one.join().expect("it does not panic"))
                .collect::<Result<_>>()
        })?;
        ensure!(two.iter().filter(|one| is_late(one)).count() == 1, "{two:?}");
        ensure!(path.hits()? == before + 1, "more than one trial");
        let relapsed = state()?;
        ensure!(
            relapsed["state"] == "open" && relapsed["relapses"] == 1,
            "{relapsed}"
        );
        let next = relapsed["next_trial_us"].as_u64().context("next trial")?;
        ensure!(
            (2_000_000..=4_000_000).contains(&next),
            "the back-off doubled: {relapsed}"
        );
        at_once(&lab, &connect)?;

        drop(path);
        ensure!(
            !is_fast(&at_once(&lab, &connect)?),
            "nobody knows yet that the path has healed"
        );
        until_trial_is_due()?;
        ensure!(is_fast(&at_once(&lab, &connect)?), "the trial goes through");
        let closed = state()?;
        ensure!(
            closed["state"] == "closed" && closed["action"].is_null(),
            "{closed}"
        );
        ensure!(is_fast(&at_once(&lab, &connect)?), "TFO is back");
        policy::clear()?;
    }
    Ok(())
}

/// Drops 5 % of all SYNs on arrival, with data or without.
fn lose_syns(lab: &Lab) -> Result<()> {
    let rules = "table inet loss {\nchain c {\ntype filter hook prerouting priority raw;\n\
                 tcp flags & (syn|ack) == syn numgen random mod 1000 < 50 counter drop\n}\n}\n";
    lab.in_server(|| tfo_lab::command::run_with_input("nft", &["-f", "-"], rules).map(drop))
}

pub fn random_loss() -> Result<()> {
    const CONNECTIONS: usize = 3_000;
    const CLIENTS: usize = 50;
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    on(&sandbox, &[])?;
    lose_syns(&lab)?;
    let slow: usize = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                scope.spawn(|| {
                    lab.in_client(|| {
                        let mut slow = 0;
                        for _ in 0..CONNECTIONS / CLIENTS {
                            let report = connect.run()?;
                            ensure!(report.reply_matched, "{report:?}");
                            slow += usize::from(report.first_byte_us >= Some(900_000));
                        }
                        Ok(slow)
                    })
                })
            })
            .collect();
        clients
            .into_iter()
            .map(|one| one.join().expect("it does not panic"))
            .sum::<Result<usize>>()
    })?;
    let state = state()?;
    println!("  {CONNECTIONS} connections, {slow} lost a SYN: {state}");
    ensure!(slow > CONNECTIONS / 50, "hardly any loss: {slow}");
    ensure!(state["state"] == "closed" && state["opened"] == 0, "{state}");

    // The same loss on a path that eats SYN data: that is told apart.
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
    let mut paid = 0;
    while crate::guards::state()?["state"] == "closed" {
        connect.run_in(lab.client())?;
        paid += 1;
        ensure!(paid <= 8, "{}", crate::guards::state()?);
    }
    println!("  then {paid} connections paid until it opened");
    Ok(())
}

/// Behind a DNAT rule, as services of Kubernetes are: the destination is the one the application connects to.
pub fn behind_dnat() -> Result<()> {
    const SERVICE: &str = "10.99.0.9";
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, real) = primed(&lab, Family::V4, 0)?;
    let rules = format!(
        "table ip service {{\nchain output {{\ntype nat hook output priority -100;\n\
         ip daddr {SERVICE} dnat to {}\n}}\n}}\n",
        real.target.ip()
    );
    lab.in_client(|| tfo_lab::command::run_with_input("nft", &["-f", "-"], &rules).map(drop))?;
    let via = real.target.ip().to_string();
    lab.client()
        .command("ip", &["route", "add", SERVICE, "via", &via])?;
    let connect = Connect {
        target: (SERVICE.parse::<std::net::IpAddr>()?, real.target.port()).into(),
        ..real.clone()
    };
    at_once(&lab, &connect)?;
    ensure!(is_fast(&at_once(&lab, &connect)?), "TFO through the rule");

    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, real.target.ip()))?;
    on(&sandbox, &["--failures", "2", "--of", "2"])?;
    for _ in 0..2 {
        late(&lab, &connect)?;
    }
    at_once(&lab, &connect)?;
    let opened = state()?;
    ensure!(
        opened["remote_addr"] == SERVICE && opened["state"] == "open" && opened["denied"] == 1,
        "{opened}"
    );
    policy::clear()?;

    late(&lab, &connect)?;
    policy::add(sandbox.path(), SERVICE, &[])?;
    at_once(&lab, &connect)?;
    late(&lab, &real)?;
    drop(path);
    Ok(())
}

/// The kernel does not fall back from a RST: the connection is lost, not late.
pub fn resets() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (_server, connect) = primed(&lab, family, 0)?;
        on(&sandbox, &["--failures", "2", "--of", "3"])?;
        let _path = Middlebox::on_path(&lab, &Rule::new(Effect::ResetSynData, service(family, 0)))?;
        for _ in 0..2 {
            let report = connect.run_in(lab.client())?;
            ensure!(report.error.as_deref() == Some("ECONNREFUSED"), "{report:?}");
        }
        at_once(&lab, &connect)?;
        let state = state()?;
        ensure!(state["state"] == "open" && state["cost_us"].is_null(), "{state}");
        policy::clear()?;
    }
    Ok(())
}

/// Inserting a claim is how one of several connections at once gets to be the trial. From then on the state says that one is
/// under way, and its socket that it is the one: a claim that the table has dropped is missed by nobody.
pub fn without_a_claim() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    on(&sandbox, &["--failures", "1", "--of", "1", "--backoff", "1s"])?;
    {
        let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
        late(&lab, &connect)?;
    }
    ensure!(state()?["state"] == "open", "{}", state()?);
    until_trial_is_due()?;
    let count = |name: &str| policy::counter(name);
    let denied = count("guard_denied")?;
    // Nothing arrives, so the trial lasts until the path is whole again.
    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSyn, service(Family::V4, 0)))?;
    thread::scope(|scope| -> Result<()> {
        let run = || connect.run_in(lab.client());
        let trial = scope.spawn(run);
        wait_until("the trial to leave", || Ok(count("guard_trials")? == 1))?;
        let mut claims: HashMap<MapData, [u8; size_of::<GuardKey>()], u64> = policy::pinned(TRIALS)?;
        let held: Vec<_> = claims.keys().collect::<Result<_, _>>()?;
        ensure!(!held.is_empty(), "nobody has claimed it");
        for key in &held {
            claims.remove(key)?;
        }
        let others = [scope.spawn(run), scope.spawn(run)];
        wait_until("the others to be denied", || {
            Ok(count("guard_denied")? >= denied + 2)
        })?;
        ensure!(count("guard_trials")? == 1, "{}", state()?);
        drop(path);
        let panicked = |_| anyhow!("a connection panicked");
        let report = trial.join().map_err(panicked)??;
        ensure!(report.reply_matched, "{report:?}");
        for other in others {
            let report = other.join().map_err(panicked)??;
            ensure!(report.reply_matched && !is_fast(&report), "{report:?}");
        }
        Ok(())
    })?;
    // The trial has ended: for the guard that is a relapse, or, where this machine stood still for the second in which bare SYNs
    // died as well, an outage. In either case it waits for another one.
    ensure!(
        count("guard_trials")? == 1 && state()?["state"] == "open",
        "{}",
        state()?
    );
    policy::clear()
}
