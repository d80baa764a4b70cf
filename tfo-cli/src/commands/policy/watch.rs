//! `tfo-cli policy watch`: what a policy needs somebody there for. The rest goes on in the kernel by itself.
//!
//! - Interfaces that come up are stripped on at once, not only from the next command on.
//! - What guards have done is told, and what is over (rules whose time or cgroup is gone) is removed.
//! - With a file to keep: rules of services that were restarted are added again.

use std::{
    collections::HashMap,
    thread,
    time::{Duration, Instant},
};

use super::{keep::Keeper, log};
use crate::{
    args::WatchConfig,
    exit::{self, Failure},
    kernel::{link_events::LinkEvents, policy::followed},
    policy::{Access, ErrorKind, Policies, transition::Tracker},
    signals::{self, Stop},
};

/// How often signals are checked: how late one may be noticed.
const SIGNAL_POLL: Duration = Duration::from_millis(200);
/// Shortest time between two readings of the policy, however many interfaces come and go.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);

/// Runs until a signal.
pub fn run(policies: &dyn Policies, config: &WatchConfig) -> Result<u8, Failure> {
    let keep = config.keep.clone();
    let mut keeper = keep
        .map(|path| Keeper::new(path, config.interfaces.clone()))
        .transpose()?;
    let stop = signals::watch(|| {})?;
    let mut events = LinkEvents::default();
    let mut seen = Seen::default();
    let mut is_told = false;
    while !stop.raised() {
        // Listened first, looked then: what happens in between is an event of the next round.
        events
            .follow(&followed(policies.directory()))
            .map_err(|error| Failure::new(exit::FAILED, format!("listen for interfaces: {error}")))?;
        look(policies, &mut seen, keeper.as_mut())?;
        if !is_told {
            log::watching(policies.directory(), events.namespaces())?;
            is_told = true;
        }
        thread::sleep(SHORTEST_ROUND);
        wait(&events, config.interval, &stop)?;
    }
    Ok(exit::DONE)
}

/// What was reported already, so that nothing is reported twice.
#[derive(Default)]
pub struct Seen {
    guards: Tracker,
    /// Interfaces that could not be attached to.
    failed: Vec<String>,
}

/// Opens the policy, which repairs it, and tells what happened.
pub fn look(policies: &dyn Policies, seen: &mut Seen, keeper: Option<&mut Keeper>) -> Result<(), Failure> {
    let access = match keeper {
        Some(_) => Access::Change,
        None => Access::Repair,
    };
    let mut store = match policies.open(access) {
        Ok(store) => store,
        // A command that takes long: it does the same work.
        Err(error) if error.kind == ErrorKind::Busy => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut removed = store.removed().clone();
    let failed = removed.interfaces.failed.clone();
    removed.interfaces.failed.retain(|why| !seen.failed.contains(why));
    seen.failed = failed;
    log::removed(&removed)?;
    if let Some(keeper) = keeper {
        keeper.look(&mut *store)?;
    }
    let destinations = store.destinations()?;
    let transitions = seen.guards.update(&destinations);
    if transitions.is_empty() {
        return Ok(());
    }
    let guards = store.guards()?;
    let paths: HashMap<u64, String> = guards
        .into_iter()
        .map(|guard| (guard.spec.cgroup.id, guard.spec.cgroup.path))
        .collect();
    log::guards(&transitions, &paths)?;
    Ok(())
}

/// Until something happens, it is time to look again, or to end.
fn wait(events: &LinkEvents, interval: Duration, stop: &Stop) -> Result<(), Failure> {
    let end = Instant::now() + interval;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let happened = events
            .wait(left.min(SIGNAL_POLL))
            .map_err(|error| Failure::new(exit::FAILED, format!("wait for interfaces: {error}")))?;
        if happened || stop.raised() || Instant::now() >= end {
            return Ok(());
        }
    }
}
