//! `tfo-cli policy watch`: the tasks of a policy that need a running process. Everything else the kernel does.
//!
//! - Attaches the classifier at once to interfaces that come up, which otherwise the next command does.
//! - Logs what guards did, and removes rules that have expired or whose cgroup is gone.
//! - With a file to keep, adds the rules of services that were restarted.

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

/// Time between two checks for a signal.
const SIGNAL_POLL: Duration = Duration::from_millis(200);
/// Shortest time between two rounds, however many interfaces come and go.
const MIN_ROUND: Duration = Duration::from_millis(50);

/// Runs until a signal ends it.
pub fn run(policies: &dyn Policies, config: &WatchConfig) -> Result<u8, Failure> {
    let keep = config.keep.clone();
    let mut keeper = keep
        .map(|path| Keeper::new(path, config.interfaces.clone()))
        .transpose()?;
    let stop = signals::watch(|| {})?;
    let mut events = LinkEvents::default();
    let mut reported = Reported::default();
    let mut is_announced = false;
    while !stop.raised() {
        // Subscribes before the policy is read, so that a change in between is an event of the next round.
        events
            .follow(&followed(policies.directory()))
            .map_err(|error| Failure::new(exit::FAILED, format!("listen for interfaces: {error}")))?;
        round(policies, &mut reported, keeper.as_mut())?;
        if !is_announced {
            log::watching(policies.directory(), events.namespaces())?;
            is_announced = true;
        }
        thread::sleep(MIN_ROUND);
        wait(&events, config.interval, &stop)?;
    }
    Ok(exit::DONE)
}

/// What has been logged already, so that nothing is logged twice.
#[derive(Default)]
pub struct Reported {
    guards: Tracker,
    /// Errors of interfaces that the classifier could not be attached to.
    failed: Vec<String>,
}

/// One round: opens the policy, which repairs it, and logs what has happened since the last round.
pub fn round(
    policies: &dyn Policies,
    reported: &mut Reported,
    keeper: Option<&mut Keeper>,
) -> Result<(), Failure> {
    let access = match keeper {
        Some(_) => Access::Change,
        None => Access::Repair,
    };
    let mut store = match policies.open(access) {
        Ok(store) => store,
        // Another command holds the lock for long. It has repaired the policy itself.
        Err(error) if error.kind == ErrorKind::Busy => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let mut removed = store.removed().clone();
    let failed = removed.interfaces.failed.clone();
    removed
        .interfaces
        .failed
        .retain(|why| !reported.failed.contains(why));
    reported.failed = failed;
    log::removed(&removed)?;
    if let Some(keeper) = keeper {
        keeper.add_new(&mut *store)?;
    }
    let destinations = store.destinations()?;
    let transitions = reported.guards.update(&destinations);
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

/// Waits until an interface changes, the interval is over, or the command is to end.
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
