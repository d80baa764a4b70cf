//! A guard with very many destinations: its memory does not grow, destinations that fail later still open, and those in
//! use keep their state.

use std::{
    collections::BTreeMap,
    env, fs,
    net::IpAddr,
    os::fd::{AsFd as _, AsRawFd as _},
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, MapData};
use serde_json::Value;
use tfo_common::{
    guard::{GuardKey, GuardState},
    policy::{MAX_STATES, STATES, TRIALS, maps},
};
use tfo_lab::{client::Family, flood::Destinations};

use crate::{
    guards::on,
    policy::{self, PINS},
    support::sandbox::Sandbox,
};

/// Number of destinations: three times as many as the tables hold, unless the environment says otherwise.
const DESTINATIONS: u32 = 3 * MAX_STATES;
/// Environment variable with another number of destinations.
const TOLD: &str = "TFO_TEST_DESTINATIONS";
/// How many destinations fail between two uses of the one that is in use.
const BETWEEN: u32 = 4_096;
/// Failures that open the guard.
const FAILURES: u64 = 3;

/// Bytes of each map, as the kernel accounts for them.
fn memory() -> Result<BTreeMap<&'static str, u64>> {
    let one = |name| {
        let map = MapData::from_pin(Path::new(PINS).join(name)).context(name)?;
        let path = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
        let info = fs::read_to_string(&path).with_context(|| path.clone())?;
        let bytes = info.lines().find_map(|line| line.strip_prefix("memlock:"));
        Ok((name, bytes.with_context(|| path.clone())?.trim().parse()?))
    };
    maps().map(one).collect()
}

/// Entries of a table.
fn entries<const VALUE: usize>(name: &str) -> Result<usize> {
    let map: HashMap<MapData, [u8; size_of::<GuardKey>()], [u8; VALUE]> = policy::pinned(name)?;
    map.keys()
        .try_fold(0, |count, key| key.map(|_| count + 1))
        .with_context(|| name.to_owned())
}

/// The state of one destination, as `guard status` prints it.
fn state_of(address: IpAddr) -> Result<Value> {
    let status = policy::guards()?;
    let all = status["destinations"].as_array().context("destinations")?;
    let wanted = Value::from(address.to_string());
    let found = all.iter().find(|one| one["remote_addr"] == wanted);
    Ok(found.with_context(|| format!("{address} is forgotten"))?.clone())
}

/// Refuses one destination, which is not new to the guard.
fn use_it(all: &Destinations, family: Family, index: u32) -> Result<()> {
    ensure!(
        all.refuse(family, index..index + 1)? == 1,
        "{index} is not refused"
    );
    Ok(())
}

/// How many connections to it the guard remembers. A destination that refuses everything is down, and the guard sees to
/// that with a connection without data now and then.
fn remembered(state: &Value) -> u64 {
    let count = |name: &str| state[name].as_u64().unwrap_or(0);
    count("attempts") + count("denied")
}

fn known(all: &Destinations, family: Family, index: u32) -> Result<()> {
    for _ in 0..FAILURES {
        use_it(all, family, index)?;
    }
    let state = state_of(Destinations::address(family, index))?;
    ensure!(remembered(&state) == FAILURES, "{state}");
    Ok(())
}

pub fn bounded() -> Result<()> {
    let count = match env::var(TOLD) {
        Ok(text) => text.parse().with_context(|| format!("{TOLD}={text}"))?,
        Err(_) => DESTINATIONS,
    };
    for family in [Family::V4, Family::V6] {
        let sandbox = Sandbox::enter()?;
        let all = Destinations::create()?;
        let failures = FAILURES.to_string();
        on(
            &sandbox,
            &["--failures", &failures, "--of", "4", "--backoff", "1h"],
        )?;
        known(&all, family, 0)?;
        let memory_before = memory()?;

        let begun = Instant::now();
        let (mut done, mut used) = (1, 0u64);
        while done < count {
            let next = count.min(done + BETWEEN);
            let refused = all.refuse(family, done..next)?;
            ensure!(
                refused == u64::from(next - done),
                "{refused} of {done}..{next} refused"
            );
            done = next;
            use_it(&all, family, 0)?;
            used += 1;
        }
        let failing = begun.elapsed();
        let begun = Instant::now();
        let accepted = all.accept(family, 0..count)?;
        ensure!(accepted == u64::from(count), "{accepted} of {count} accepted");
        let succeeding = begun.elapsed();

        let found = [
            entries::<{ size_of::<GuardState>() }>(STATES)?,
            entries::<8>(TRIALS)?,
        ];
        println!(
            "  {family:?}: {count} destinations refused in {failing:.1?}, accepted in {succeeding:.1?}; entries: {found:?}"
        );
        let most = MAX_STATES as usize;
        ensure!(found.iter().all(|entries| *entries <= most), "{found:?}");
        // Full, or nothing was tried. The kernel keeps some free on every CPU.
        ensure!(found[..1].iter().all(|entries| *entries > most / 2), "{found:?}");
        // What was dropped is counted, and told.
        let counters = policy::guards()?["counters"].clone();
        let counter = |name: &str| {
            counters[name]
                .as_u64()
                .with_context(|| format!("{name}: {counters}"))
        };
        let (made, evicted) = (counter("states_made")?, counter("states_evicted")?);
        ensure!(
            made >= u64::from(count) && evicted > 0 && made == evicted + found[0] as u64,
            "{found:?}: {counters}"
        );
        let status = policy::ok(&["guard", "status"])?;
        ensure!(
            status.contains(&format!("forgotten: at most {evicted} destinations")),
            "{status}"
        );
        ensure!(
            memory()? == memory_before,
            "{:?}, not {memory_before:?}",
            memory()?
        );

        let kept = state_of(Destinations::address(family, 0))?;
        ensure!(
            remembered(&kept) == FAILURES + used && kept["opened"] == 0,
            "not refused {used} times more: {kept}"
        );
        known(&all, family, count)?;
        policy::clear()?;
    }
    Ok(())
}
