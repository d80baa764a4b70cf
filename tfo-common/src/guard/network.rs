//! Evidence of a network (a box near the client hurts every destination), and of a second witness.

use super::{Change, Ended, GuardConfig, GuardState, Phase, doubt, level};

/// Failures one after the other that open a guard for a network, where it never had a success.
pub const NETWORK_FAILURES: u8 = 5;
/// Failures in a row that open it where it had a success before.
pub const NETWORK_OF: u8 = 6;
/// Addresses those failures have to be about.
pub const NETWORK_PLACES: usize = 3;

/// Whether two cgroups that saw the same belong to different people. `owner`: uid of who may write to the cgroup, or of
/// the socket where that is root. What root runs in two cgroups is two witnesses: root has no need to trick a guard.
#[inline(always)]
pub const fn are_two_witnesses(one: (u64, u32), other: (u64, u32)) -> bool {
    one.0 != other.0 && (one.1 != other.1 || one.1 == 0)
}

impl GuardState {
    /// Takes in what one TFO handshake showed about a network. `failed`: SYN data was lost and the bare SYN was
    /// answered. `place`: a hash of the remote address. `successes`: of this network so far.
    #[inline(always)]
    pub fn on_network(
        &mut self,
        config: &GuardConfig,
        failed: bool,
        ended: &Ended,
        place: u32,
        successes: u32,
        now_ns: u64,
    ) -> Change {
        self.attempts += 1;
        self.failures += u64::from(failed);
        self.add_cost(failed, ended.lost_us);
        if successes != self.seen || !failed {
            self.row = 0;
        }
        self.seen = successes;
        if !matches!(self.phase(), Phase::Closed) {
            return self.on_trial(config, failed, ended.trial, now_ns);
        }
        if !failed {
            return Change::None;
        }
        self.add_place(place | 1);
        self.row = self.row.saturating_add(1);
        let needed = if successes == 0 {
            NETWORK_FAILURES
        } else {
            NETWORK_OF
        };
        if self.row < needed || self.places[NETWORK_PLACES - 1] == 0 {
            return Change::None;
        }
        // In an outage of a second every SYN was lost, and all of them show now: one trial tells.
        self.doubt(doubt::TRIAL, now_ns, now_ns)
    }

    #[inline(always)]
    fn add_place(&mut self, place: u32) {
        let [one, two, three] = self.places;
        if self.row == 0 {
            self.places[0] = place;
            self.places[1] = 0;
            self.places[2] = 0;
        } else if one != place && two == 0 {
            self.places[1] = place;
        } else if one != place && two != place && three == 0 {
            self.places[2] = place;
        }
    }

    /// For everybody: it opened for the cgroup of a witness. With two of different owners it opens for all.
    #[inline(always)]
    pub fn on_witness(&mut self, config: &GuardConfig, witness: u64, owner: u32, now_ns: u64) -> Change {
        let before = (self.witness, self.witness_owner);
        let fresh = self.witness != 0 && now_ns < self.changed_ns.saturating_add(config.max_backoff_ns);
        if !matches!(self.phase(), Phase::Closed) {
            return Change::None;
        }
        if fresh && are_two_witnesses(before, (witness, owner)) {
            self.open(config, level::NO_DATA, now_ns);
            return Change::Opened;
        }
        self.witness = witness;
        self.witness_owner = owner;
        self.changed_ns = now_ns;
        Change::None
    }
}
