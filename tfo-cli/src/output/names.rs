//! Counter tables as JSON objects: the names come from `tfo-common`, in the order of its codes.

use serde::{Serialize, Serializer};
use tfo_common::{Loss, Outcome, Role, counters::Stat};

use crate::model::source::Totals;

/// `{"client": {"accepted": 1, ...}, "server": {...}}`; every outcome a role can have, also those at zero.
#[derive(Clone, Copy, Debug)]
pub struct ByRole<'a>(pub &'a Totals);

impl Serialize for ByRole<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Role::ALL.map(|role| {
            (
                role.name(),
                ByOutcome {
                    role,
                    counts: &self.0[role as usize],
                },
            )
        }))
    }
}

/// `{"accepted": 1, ...}`; every outcome the role can have.
#[derive(Clone, Copy, Debug)]
pub struct ByOutcome<'a> {
    /// Whose outcomes.
    pub role: Role,
    /// Counts by outcome code.
    pub counts: &'a [u64; Outcome::COUNT],
}

impl Serialize for ByOutcome<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let possible = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.occurs_in(self.role));
        serializer.collect_map(possible.map(|outcome| (outcome.name(), self.counts[outcome as usize])))
    }
}

/// `{"events": 0, ...}`; every statistic of the BPF programs.
#[derive(Clone, Copy, Debug)]
pub struct ByStat<'a>(pub &'a [u64; Stat::COUNT]);

impl Serialize for ByStat<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Stat::ALL.map(|stat| (stat.name(), self.0[stat as usize])))
    }
}

/// `{"ring-full": 0, ...}`; every reason.
#[derive(Clone, Copy, Debug)]
pub struct ByReason<'a>(pub &'a [u64; Loss::COUNT]);

impl Serialize for ByReason<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Loss::ALL.map(|loss| (loss.name(), self.0[loss as usize])))
    }
}
