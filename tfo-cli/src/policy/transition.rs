//! What guards did between two readings. Guards act within the kernel and report nothing, so their states are compared
//! with those of the reading before.

use std::{collections::HashMap, fmt, net::SocketAddr};

use tfo_common::guard::{Phase, level};

use super::guard::Destination;

/// What a guard did about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Switched Fast Open off.
    Opened,
    /// Began to strip the option, too, because bare SYNs with it failed.
    Escalated,
    /// Ended stripping the option, because a bare SYN with it came through. Data stays out of SYNs.
    Eased,
    /// A trial failed, so that Fast Open stays off for longer.
    Relapsed,
    /// Switched Fast Open on again.
    Closed,
}

/// A change of what a guard does about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// What the guard did.
    pub kind: Kind,
    /// The destination with its present state.
    pub dest: Destination,
}

/// What identifies a destination, or a network, of a guard. The fields are those of [`Destination`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    cgroup_id: u64,
    own_id: Option<u64>,
    net: u64,
    is_network: bool,
    addr: SocketAddr,
}

/// Finds the transitions from one reading of the destinations to the next.
#[derive(Debug, Default)]
pub struct Tracker {
    /// The states of the last reading.
    last: HashMap<Key, Condition>,
}

/// The part of a destination's state that transitions follow from.
#[derive(Clone, Copy, Debug)]
struct Condition {
    /// Whether Fast Open is off or on trial.
    is_open: bool,
    /// Whether the option is stripped.
    strips: bool,
    /// Trials that have failed since it was opened.
    relapses: u8,
    /// How often it was opened.
    opened: u64,
}

/// The state of a destination that the reading before did not have.
const NEVER_FAILED: Condition = Condition {
    is_open: false,
    strips: false,
    relapses: 0,
    opened: 0,
};

impl Tracker {
    /// Takes a new reading and returns what happened since the one before. Destinations that are open in the first
    /// reading count as opened.
    pub fn update(&mut self, destinations: &[Destination]) -> Vec<Transition> {
        let mut transitions = Vec::new();
        let mut last = HashMap::with_capacity(destinations.len());
        for dest in destinations {
            let key = Key {
                cgroup_id: dest.cgroup_id,
                own_id: dest.own_id,
                net: dest.net,
                is_network: dest.is_network,
                addr: SocketAddr::new(dest.addr, dest.port),
            };
            let now = Condition {
                is_open: dest.phase() != Phase::Closed,
                strips: dest.state.level == level::STRIP,
                relapses: dest.state.relapses,
                opened: dest.state.opened,
            };
            let before = self.last.get(&key).copied().unwrap_or(NEVER_FAILED);
            transitions.extend(between(before, now).map(|kind| Transition { kind, dest: *dest }));
            last.insert(key, now);
        }
        self.last = last;
        transitions
    }
}

/// The transitions from one condition to another, in the order in which they happened.
fn between(before: Condition, now: Condition) -> impl Iterator<Item = Kind> {
    let opened = now.opened > before.opened;
    // When it has been opened since, the other changes are compared with the state right after that.
    let before = if opened {
        Condition {
            is_open: true,
            ..NEVER_FAILED
        }
    } else {
        before
    };
    let stayed = before.is_open && now.is_open;
    [
        opened.then_some(Kind::Opened),
        (stayed && now.strips && !before.strips).then_some(Kind::Escalated),
        (stayed && before.strips && !now.strips).then_some(Kind::Eased),
        (stayed && now.relapses > before.relapses).then_some(Kind::Relapsed),
        (before.is_open && !now.is_open).then_some(Kind::Closed),
    ]
    .into_iter()
    .flatten()
}

impl fmt::Display for Transition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = &self.dest.state;
        let to = self.dest;
        let (failures, attempts) = (state.failures, state.attempts);
        match self.kind {
            Kind::Opened => write!(
                f,
                "TFO to {to} is off: {failures} of {attempts} attempts failed, {} of {} without it",
                state.plain_failed,
                u32::from(state.plain_failed) + u32::from(state.plain_ok),
            ),
            Kind::Escalated => write!(
                f,
                "the TFO option to {to} is stripped: bare SYNs with it fail, too"
            ),
            Kind::Eased => write!(f, "the TFO option to {to} comes through again"),
            Kind::Relapsed => write!(
                f,
                "TFO to {to} stays off: {} trials have failed since it was switched off",
                state.relapses
            ),
            Kind::Closed => write!(f, "TFO to {to} is on again"),
        }
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::guard::GuardState;

    use super::*;

    fn dest(phase: Phase, level: u8, relapses: u8, opened: u64) -> Destination {
        Destination {
            cgroup_id: 7,
            own_id: Some(7),
            net: 1,
            is_network: false,
            addr: [192, 0, 2, 1].into(),
            port: 443,
            state: GuardState {
                phase: phase as u8,
                level,
                relapses,
                opened,
                failures: 5,
                attempts: 6,
                plain_ok: 9,
                ..GuardState::NEW
            },
        }
    }

    #[test]
    fn every_transition_is_reported_once() {
        use Kind::{Closed, Eased, Escalated, Opened, Relapsed};
        let mut tracker = Tracker::default();
        for (now, want) in [
            (dest(Phase::Closed, level::NO_DATA, 0, 0), vec![]),
            (dest(Phase::Open, level::NO_DATA, 0, 1), vec![Opened]),
            (dest(Phase::Open, level::NO_DATA, 0, 1), vec![]),
            (dest(Phase::HalfOpen, level::NO_DATA, 0, 1), vec![]),
            (dest(Phase::Open, level::NO_DATA, 1, 1), vec![Relapsed]),
            (dest(Phase::Open, level::STRIP, 1, 1), vec![Escalated]),
            (dest(Phase::Open, level::NO_DATA, 1, 1), vec![Eased]),
            (dest(Phase::Closed, level::NO_DATA, 0, 1), vec![Closed]),
            // Several changes between two readings.
            (dest(Phase::Closed, level::NO_DATA, 0, 2), vec![Opened, Closed]),
            (
                dest(Phase::Open, level::STRIP, 2, 3),
                vec![Opened, Escalated, Relapsed],
            ),
        ] {
            let transitions: Vec<Kind> = tracker.update(&[now]).iter().map(|one| one.kind).collect();
            assert_eq!(transitions, want, "{now:?}");
        }
    }

    #[test]
    fn destinations_that_are_open_in_the_first_reading_are_reported() {
        let mut tracker = Tracker::default();
        let transitions = tracker.update(&[dest(Phase::Open, level::NO_DATA, 0, 1)]);
        assert_eq!(
            transitions[0].to_string(),
            "TFO to 192.0.2.1:443 is off: 5 of 6 attempts failed, 0 of 9 without it"
        );
        // A destination that the kernel has dropped is dropped here, too.
        assert_eq!(tracker.update(&[]), []);
        assert!(tracker.last.is_empty());
    }
}
