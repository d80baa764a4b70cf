//! What guards did since their destinations were read last. Guards act in the kernel, where nobody sees it happen, so
//! two readings are compared.

use std::{collections::HashMap, fmt, net::SocketAddr};

use tfo_common::guard::{Phase, level};

use super::guard::Destination;

/// What a guard did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Switched TFO off.
    Opened,
    /// Takes the option out as well.
    Escalated,
    /// A bare SYN with the option came through: only data is held back from now on.
    Eased,
    /// The trial failed: off for longer.
    Relapsed,
    /// Switched TFO on again.
    Closed,
}

/// A guard changed what it does about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// Which way it went.
    pub kind: Kind,
    /// The destination as it is now.
    pub dest: Destination,
}

/// What tells one destination or network of a guard from the others.
type Key = (u64, Option<u64>, u64, bool, SocketAddr);

/// The destinations as they were read last.
#[derive(Debug, Default)]
pub struct Tracker {
    known: HashMap<Key, Condition>,
}

/// The part of a destination's state from which transitions are worked out.
#[derive(Clone, Copy, Debug)]
struct Condition {
    is_open: bool,
    strips: bool,
    relapses: u8,
    opened: u64,
}

/// A destination that was not there in the reading before.
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
        let mut known = HashMap::with_capacity(destinations.len());
        for dest in destinations {
            let to = SocketAddr::new(dest.addr, dest.port);
            let key = (dest.cgroup_id, dest.own_id, dest.net, dest.is_network, to);
            let now = Condition {
                is_open: dest.phase() != Phase::Closed,
                strips: dest.state.level == level::STRIP,
                relapses: dest.state.relapses,
                opened: dest.state.opened,
            };
            let before = self.known.get(&key).copied().unwrap_or(NEVER_FAILED);
            transitions.extend(between(before, now).map(|kind| Transition { kind, dest: *dest }));
            known.insert(key, now);
        }
        self.known = known;
        transitions
    }
}

fn between(before: Condition, now: Condition) -> impl Iterator<Item = Kind> {
    let opened = now.opened > before.opened;
    // Where it has opened since, the rest is compared with that.
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
    fn every_step_is_told_once() {
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
            // All of it between two looks.
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
    fn those_that_are_open_at_first_are_told() {
        let mut tracker = Tracker::default();
        let transitions = tracker.update(&[dest(Phase::Open, level::NO_DATA, 0, 1)]);
        assert_eq!(
            transitions[0].to_string(),
            "TFO to 192.0.2.1:443 is off: 5 of 6 attempts failed, 0 of 9 without it"
        );
        // Forgotten by the kernel, forgotten here.
        assert_eq!(tracker.update(&[]), []);
        assert!(tracker.known.is_empty());
    }
}
