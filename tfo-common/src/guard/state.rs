//! The state machine of one destination.

use super::{
    Ended, Evidence, GuardConfig, NETWORK_PLACES, TRIAL_NS, backoff,
    window::{push, push_beside},
};
use crate::codes::codes;

/// Plain handshakes a baseline remembers; then old ones count half.
pub(super) const BASELINE: u16 = 64;

codes! {
    /// Where a destination stands.
    Phase: u8 {
        /// TFO goes through.
        Closed = 0, "closed";
        /// TFO is off.
        Open = 1, "open";
        /// A trial is under way; all others are treated as in [`Phase::Open`].
        HalfOpen = 2, "half-open";
    }
}

/// What [`GuardState::on_evidence`] did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Change {
    /// Nothing but counting.
    None = 0,
    /// Closed to open.
    Opened = 1,
    /// Open, now at level strip.
    Escalated = 2,
    /// To closed.
    Closed = 3,
    /// The trial failed: open again, for longer.
    Relapsed = 4,
    /// Open until it is known whether TFO is to blame (see [`doubt`]).
    Doubted = 5,
}

/// What to do with a TFO SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Decision {
    /// Let it go.
    Pass = 0,
    /// Deny its data.
    Deny = 1,
    /// Deny its data and strip the option.
    Strip = 2,
    /// The back-off is over: one such SYN may go, the others are denied.
    Trial = 3,
}

/// Values of [`GuardState::level`].
pub mod level {
    /// Data is denied while open.
    pub const NO_DATA: u8 = 0;
    /// The option is stripped as well.
    pub const STRIP: u8 = 1;
}

/// Values of the field `doubt` of [`GuardState`]: failures that do not show whether TFO is to blame open a guard only until that is
/// known. One connection goes without SYN data; if that fails too the destination is down and TFO is on again, if not
/// the next one tries TFO once more.
pub mod doubt {
    /// None.
    pub const NONE: u8 = 0;
    /// A connection without SYN data is waited for.
    pub const CONTROL: u8 = 1;
    /// It came through, or was not needed: the trial decides.
    pub const TRIAL: u8 = 2;
}

/// What is known about one destination or network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GuardState {
    /// [`GuardKey::tag`](super::GuardKey::tag) of the key it belongs to.
    pub tag: u64,
    /// [`Phase`] code.
    pub phase: u8,
    /// One of [`level`].
    pub level: u8,
    /// Trials that failed since it opened.
    pub relapses: u8,
    /// One of [`doubt`].
    pub doubt: u8,
    /// TFO attempts, newest in bit 0, 1 for a failure.
    pub window: u32,
    /// Plain handshakes that were answered at once.
    pub plain_ok: u16,
    /// Plain handshakes that were not.
    pub plain_failed: u16,
    /// Those of the failures whose own bare SYN was answered. Not beside the former: what is set to zero together and in
    /// one piece becomes a call of `memset`.
    pub controlled: u32,
    /// Bare SYNs with the option, likewise.
    pub bare: u32,
    /// For everybody: who owns the cgroup that saw it fail.
    pub witness_owner: u32,
    /// Open: when the next trial is due. Half-open: until when the trial has time. `CLOCK_MONOTONIC` ns.
    pub until_ns: u64,
    /// When the phase or level last changed, `CLOCK_MONOTONIC` ns.
    pub changed_ns: u64,
    /// For everybody: the cgroup for which it opened; 0 for none yet.
    pub witness: u64,
    /// TFO attempts that ended.
    pub attempts: u64,
    /// Those that failed.
    pub failures: u64,
    /// Time lost by failures that were timed, us.
    pub lost_us: u64,
    /// How many were timed.
    pub timed: u64,
    /// SYNs denied: each of them saved about `lost_us / timed`.
    pub denied: u64,
    /// How often it opened.
    pub opened: u64,
    /// Network: its successes ([`Slot::tfo`](super::Slot::tfo)) when the latest failure came.
    pub seen: u32,
    /// Network: failures since the latest success.
    pub row: u8,
    /// Zero.
    pub pad: [u8; 3],
    /// Network, while there is a row: the addresses those were about, as hashes, 0 for none.
    pub places: [u32; NETWORK_PLACES],
    /// Zero.
    pub pad2: u32,
}

impl GuardState {
    /// Nothing known: closed.
    pub const NEW: Self = Self {
        tag: 0,
        phase: Phase::Closed as u8,
        level: level::NO_DATA,
        relapses: 0,
        doubt: doubt::NONE,
        window: 0,
        controlled: 0,
        bare: 0,
        plain_ok: 0,
        plain_failed: 0,
        witness_owner: 0,
        witness: 0,
        until_ns: 0,
        changed_ns: 0,
        attempts: 0,
        failures: 0,
        lost_us: 0,
        timed: 0,
        denied: 0,
        opened: 0,
        seen: 0,
        row: 0,
        pad: [0; 3],
        places: [0; NETWORK_PLACES],
        pad2: 0,
    };

    /// Where the destination stands. A code this version does not know is closed, which harms nobody.
    #[inline(always)]
    pub const fn phase(&self) -> Phase {
        match Phase::from_code(self.phase) {
            Some(phase) => phase,
            None => Phase::Closed,
        }
    }

    /// What to do with a TFO SYN now.
    #[inline(always)]
    pub fn decide(&self, now_ns: u64) -> Decision {
        match self.phase() {
            Phase::Closed => Decision::Pass,
            _ if now_ns >= self.until_ns => Decision::Trial,
            _ => self.closed_door(),
        }
    }

    /// What to do with a TFO SYN that is not the trial.
    #[inline(always)]
    pub fn closed_door(&self) -> Decision {
        if self.level == level::STRIP {
            Decision::Strip
        } else {
            Decision::Deny
        }
    }

    /// A trial leaves.
    #[inline(always)]
    pub fn begin_trial(&mut self, now_ns: u64) {
        self.phase = Phase::HalfOpen as u8;
        self.until_ns = now_ns.saturating_add(TRIAL_NS);
    }

    /// The trial ended without telling anything: the next one is due after the same back-off.
    #[inline(always)]
    pub fn end_trial(&mut self, config: &GuardConfig, now_ns: u64) {
        if self.phase == Phase::HalfOpen as u8 {
            self.phase = Phase::Open as u8;
            self.until_ns = now_ns.saturating_add(backoff(config, self.relapses));
        }
    }

    /// Takes in what one handshake showed.
    #[inline(always)]
    pub fn on_evidence(&mut self, config: &GuardConfig, ended: &Ended, now_ns: u64) -> Change {
        let failed = matches!(
            ended.evidence,
            Evidence::TfoFailed | Evidence::TfoDead | Evidence::BareFailed
        );
        self.add_cost(failed, ended.lost_us);
        match ended.evidence {
            Evidence::PlainOk | Evidence::PlainFailed => {
                let passed = matches!(ended.evidence, Evidence::PlainOk);
                self.baseline(passed);
                self.on_control(passed, now_ns)
            }
            Evidence::TfoOk | Evidence::TfoFailed | Evidence::TfoDead => {
                self.attempts += 1;
                self.failures += u64::from(failed);
                self.on_tfo(config, failed, ended, now_ns)
            }
            Evidence::BareOk | Evidence::BareFailed => {
                if self.doubt == doubt::CONTROL {
                    self.on_control(!failed, now_ns)
                } else {
                    self.on_bare(config, failed, ended, now_ns)
                }
            }
        }
    }

    #[inline(always)]
    pub(super) fn add_cost(&mut self, failed: bool, lost_us: u32) {
        if failed && lost_us > 0 {
            self.lost_us += u64::from(lost_us);
            self.timed += 1;
        }
    }

    #[inline(always)]
    fn on_tfo(&mut self, config: &GuardConfig, failed: bool, ended: &Ended, now_ns: u64) -> Change {
        if !matches!(self.phase(), Phase::Closed) {
            return self.on_trial(config, failed, ended.trial, now_ns);
        }
        let controlled = matches!(ended.evidence, Evidence::TfoFailed);
        self.window = push(self.window, config.of, failed, ended.later);
        self.controlled = push_beside(self.controlled, config.of, failed, controlled, ended.later);
        let needed = u32::from(config.failures);
        if !failed || self.window.count_ones() < needed || !self.plain_does_better(config) {
            return Change::None;
        }
        // A destination that is restarted resets whatever SYN it gets. Where hardly a failure had its own bare SYN
        // answered, what plain SYNs did before says nothing about now.
        if 2 * self.controlled.count_ones() >= needed {
            self.open(config, level::NO_DATA, now_ns);
            return Change::Opened;
        }
        self.doubt(doubt::CONTROL, now_ns.saturating_add(backoff(config, 0)), now_ns)
    }

    /// A TFO handshake ended while it is open.
    #[inline(always)]
    pub(super) fn on_trial(
        &mut self,
        config: &GuardConfig,
        failed: bool,
        trial: bool,
        now_ns: u64,
    ) -> Change {
        if !trial {
            // Begun before it opened: old news.
            return Change::None;
        }
        if !failed {
            return self.close(now_ns);
        }
        if self.doubt != doubt::NONE {
            self.open(config, self.level, now_ns);
            return Change::Opened;
        }
        self.relapse(config, now_ns)
    }

    /// A handshake without SYN data ended: where it is in doubt who is to blame this is what was waited for.
    #[inline(always)]
    fn on_control(&mut self, passed: bool, now_ns: u64) -> Change {
        if self.doubt != doubt::CONTROL {
            return Change::None;
        }
        if passed {
            self.doubt = doubt::TRIAL;
            self.until_ns = now_ns;
            return Change::None;
        }
        self.close(now_ns)
    }

    #[inline(always)]
    fn on_bare(&mut self, config: &GuardConfig, failed: bool, ended: &Ended, now_ns: u64) -> Change {
        let down = self.bare.count_ones() >= u32::from(config.failures);
        self.bare = push(self.bare, config.of, failed, ended.later);
        let failing = self.bare.count_ones() >= u32::from(config.failures) && self.plain_does_better(config);
        if matches!(self.phase(), Phase::Closed) {
            if failed && failing && config.escalate == 1 {
                self.open(config, level::STRIP, now_ns);
                return Change::Opened;
            }
            return Change::None;
        }
        if ended.trial {
            // The option passes: from here on data may be tried.
            return if failed {
                self.relapse(config, now_ns)
            } else {
                self.phase = Phase::Open as u8;
                self.level = level::NO_DATA;
                self.bare = 0;
                self.until_ns = now_ns;
                self.changed_ns = now_ns;
                Change::None
            };
        }
        if failed && failing && config.escalate == 1 && self.level == level::NO_DATA {
            self.level = level::STRIP;
            self.changed_ns = now_ns;
            return Change::Escalated;
        }
        if !failed && down && self.level == level::NO_DATA {
            // Nothing was answered, with data or without, and now it is: the destination was down, and TFO
            // had no part in it.
            return self.close(now_ns);
        }
        Change::None
    }

    #[inline(always)]
    pub(super) fn doubt(&mut self, doubt: u8, until_ns: u64, now_ns: u64) -> Change {
        self.phase = Phase::Open as u8;
        self.level = level::NO_DATA;
        self.doubt = doubt;
        self.window = 0;
        self.controlled = 0;
        self.bare = 0;
        self.until_ns = until_ns;
        self.changed_ns = now_ns;
        Change::Doubted
    }

    #[inline(always)]
    pub(super) fn open(&mut self, config: &GuardConfig, level: u8, now_ns: u64) {
        self.doubt = doubt::NONE;
        self.controlled = 0;
        self.phase = Phase::Open as u8;
        self.level = level;
        self.relapses = 0;
        self.window = 0;
        self.bare = 0;
        self.until_ns = now_ns.saturating_add(backoff(config, 0));
        self.changed_ns = now_ns;
        self.opened += 1;
    }

    #[inline(always)]
    fn close(&mut self, now_ns: u64) -> Change {
        self.phase = Phase::Closed as u8;
        self.doubt = doubt::NONE;
        self.controlled = 0;
        self.row = 0;
        self.witness = 0;
        self.level = level::NO_DATA;
        self.relapses = 0;
        self.window = 0;
        self.bare = 0;
        self.until_ns = 0;
        self.changed_ns = now_ns;
        Change::Closed
    }

    #[inline(always)]
    fn relapse(&mut self, config: &GuardConfig, now_ns: u64) -> Change {
        // While bare SYNs fail as well the trial shows nothing about TFO: same back-off again.
        if self.bare.count_ones() < u32::from(config.failures) {
            self.relapses = self.relapses.saturating_add(1);
        }
        self.phase = Phase::Open as u8;
        self.until_ns = now_ns.saturating_add(backoff(config, self.relapses));
        self.changed_ns = now_ns;
        Change::Relapsed
    }

    #[inline(always)]
    fn baseline(&mut self, ok: bool) {
        if ok {
            self.plain_ok += 1;
        } else {
            self.plain_failed += 1;
        }
        if self.plain_ok + self.plain_failed > BASELINE {
            self.plain_ok /= 2;
            self.plain_failed /= 2;
        }
    }

    /// Whether plain SYNs fail at most half as often as K of N. Without any seen, TFO gets the blame.
    #[inline(always)]
    fn plain_does_better(&self, config: &GuardConfig) -> bool {
        let plain = u32::from(self.plain_ok) + u32::from(self.plain_failed);
        2 * u32::from(self.plain_failed) * u32::from(config.of) <= u32::from(config.failures) * plain
    }
}

const _: () = assert!(size_of::<GuardState>() == 128);
