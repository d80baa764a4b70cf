//! The guard: per destination, a circuit breaker that switches TFO off where it only costs time.
//!
//! The state machine is pure and the same in the kernel and in tests. Only destinations with a failure have a
//! state; no state means closed.
//!
//! ```text
//!            K of the last N TFO attempts failed,           back-off over
//!            and plain SYNs do better                  one trial goes through
//!   closed ------------------------------------> open ------------------------> half-open
//!     ^                                           ^ |  \ K of N bare SYNs with    |    |
//!     |                                           | |   \ the option failed too   |    |
//!     |        destination was down altogether    | |    v (--escalate)           |    |
//!     |<------------------------------------------+-+   open, strip               |    |
//!     |                                           |            trial failed:      |    |
//!     |                                           +---- back-off doubles <--------+    |
//!     +------------------------------ trial succeeded <--------------------------------+
//! ```
//!
//! Why K = 5 of N = 6 by default: random loss makes single attempts fail as well. With 5 % of all SYNs lost a
//! window of six shows five failures once in 670,000 connections (5 p^5 (1 - p)); three of three would show up
//! once in 8,000.

use crate::codes::codes;

/// Attempts a window can hold.
pub const MAX_WINDOW: u8 = 32;
/// K by default.
pub const FAILURES: u8 = 5;
/// N by default.
pub const OF: u8 = 6;
/// First back-off by default, ns.
pub const BACKOFF_NS: u64 = 600 * 1_000_000_000;
/// Longest back-off by default, ns.
pub const MAX_BACKOFF_NS: u64 = 86_400 * 1_000_000_000;
/// How long a trial may take: the default six SYN retransmissions last 127 s.
pub const TRIAL_NS: u64 = 130 * 1_000_000_000;
/// An attempt the application gave up earlier than this says nothing.
pub const GIVE_UP_NS: u64 = 200 * 1_000_000;
/// Plain handshakes a baseline remembers; then old ones count half.
const BASELINE: u16 = 64;

/// A guard on a cgroup and everything below it, up to the next guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GuardConfig {
    /// First back-off, ns.
    pub backoff_ns: u64,
    /// Longest back-off, ns.
    pub max_backoff_ns: u64,
    /// `CLOCK_REALTIME` ns of its making.
    pub created_ns: u64,
    /// K: failures that open it.
    pub failures: u8,
    /// N: attempts looked at, at most [`MAX_WINDOW`].
    pub of: u8,
    /// 1: strip the option where bare SYNs with it fail too.
    pub escalate: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// Who made it.
    pub by: [u8; crate::policy::BY_LEN],
    /// Path of the cgroup when it was made.
    pub cgroup: [u8; crate::policy::PATH_LEN],
}

/// A destination as a guard tells them apart. The port counts: middleboxes treat ports differently, and a
/// closed port says nothing about its neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct GuardKey {
    /// cgroup id of the guard.
    pub cgroup: u64,
    /// Remote address, network order; IPv4 in the first four bytes.
    pub addr: [u8; 16],
    /// Remote port, host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// Successes of a destination, also of one without a failure.
///
/// A failure shows a second after its SYN, a success at once. In the order in which they show, random loss comes
/// in bursts: of fifty busy clients all sooner or later wait for a lost SYN, and their failures arrive together.
/// So a failure takes the place its SYN had: it goes behind the successes that were counted since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Seen {
    /// SYNs with data that were answered at once.
    pub tfo: u32,
    /// Bare SYNs with the option that were.
    pub bare: u32,
}

/// How many successes were counted between two readings. An entry that was dropped in between began again.
#[inline(always)]
pub const fn later(before: u32, now: u32) -> u32 {
    if now >= before { now - before } else { now }
}

/// What is known of one ended handshake.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// What it shows.
    pub evidence: Evidence,
    /// It was the trial.
    pub trial: bool,
    /// Successes of its kind counted since its SYN left.
    pub later: u32,
    /// What a failure cost, us; 0 where it is not known.
    pub lost_us: u32,
}

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

/// What one handshake shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// SYN data was answered at once, taken or not: it passes.
    TfoOk = 0,
    /// SYN data was lost (`syn-timeout`), reset, or never answered (`failed`).
    TfoFailed = 1,
    /// A bare SYN with the TFO option was answered at once.
    BareOk = 2,
    /// A bare SYN with the TFO option was not.
    BareFailed = 3,
    /// A SYN without TFO was answered at once.
    PlainOk = 4,
    /// A SYN without TFO had to be sent again, was reset or never answered.
    PlainFailed = 5,
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

/// What is known about one destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GuardState {
    /// [`Phase`] code.
    pub phase: u8,
    /// One of [`level`].
    pub level: u8,
    /// Trials that failed since it opened.
    pub relapses: u8,
    /// Zero.
    pub pad: u8,
    /// TFO attempts, newest in bit 0, 1 for a failure.
    pub window: u32,
    /// Bare SYNs with the option, likewise.
    pub bare: u32,
    /// Plain handshakes that were answered at once.
    pub plain_ok: u16,
    /// Plain handshakes that were not.
    pub plain_failed: u16,
    /// Open: when the next trial is due. Half-open: until when the trial has time. `CLOCK_MONOTONIC` ns.
    pub until_ns: u64,
    /// When the phase or level last changed, `CLOCK_MONOTONIC` ns.
    pub changed_ns: u64,
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
}

impl GuardState {
    /// Nothing known: closed.
    pub const NEW: Self = Self {
        phase: Phase::Closed as u8,
        level: level::NO_DATA,
        relapses: 0,
        pad: 0,
        window: 0,
        bare: 0,
        plain_ok: 0,
        plain_failed: 0,
        until_ns: 0,
        changed_ns: 0,
        attempts: 0,
        failures: 0,
        lost_us: 0,
        timed: 0,
        denied: 0,
        opened: 0,
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
        let failed = matches!(ended.evidence, Evidence::TfoFailed | Evidence::BareFailed);
        if failed && ended.lost_us > 0 {
            self.lost_us += u64::from(ended.lost_us);
            self.timed += 1;
        }
        match ended.evidence {
            Evidence::PlainOk => self.baseline(true),
            Evidence::PlainFailed => self.baseline(false),
            Evidence::TfoOk | Evidence::TfoFailed => {
                self.attempts += 1;
                self.failures += u64::from(failed);
                return self.on_tfo(config, failed, ended, now_ns);
            }
            Evidence::BareOk | Evidence::BareFailed => return self.on_bare(config, failed, ended, now_ns),
        }
        Change::None
    }

    #[inline(always)]
    fn on_tfo(&mut self, config: &GuardConfig, failed: bool, ended: &Ended, now_ns: u64) -> Change {
        match self.phase() {
            Phase::Closed => {
                self.window = push(self.window, config.of, failed, ended.later);
                if failed
                    && self.window.count_ones() >= u32::from(config.failures)
                    && self.plain_does_better(config)
                {
                    self.open(config, level::NO_DATA, now_ns);
                    return Change::Opened;
                }
                Change::None
            }
            // Begun before it opened: old news.
            _ if !ended.trial => Change::None,
            _ if failed => self.relapse(config, now_ns),
            _ => self.close(now_ns),
        }
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
    fn open(&mut self, config: &GuardConfig, level: u8, now_ns: u64) {
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

/// A success comes in at bit 0; a failure behind the `later` successes that overtook it. What is older than the
/// last `of` falls out.
#[inline(always)]
const fn push(window: u32, of: u8, failed: bool, later: u32) -> u32 {
    let mask = if of >= MAX_WINDOW { u32::MAX } else { (1 << of) - 1 };
    if !failed {
        return window << 1 & mask;
    }
    if later >= of as u32 {
        return window;
    }
    let at = later & 31;
    let newer = (1u32 << at) - 1;
    let older = window & !newer;
    (window & newer | 1 << at | older << 1) & mask
}

/// The back-off after so many relapses: doubled each time, bounded.
#[inline(always)]
pub const fn backoff(config: &GuardConfig, relapses: u8) -> u64 {
    let shift = if relapses > 31 { 31 } else { relapses as u32 };
    // In ms, so that 31 doublings do not overflow.
    let most = config.max_backoff_ns / 1_000_000;
    let wanted = (config.backoff_ns / 1_000_000) << shift;
    (if wanted > most { most } else { wanted }) * 1_000_000
}

const _: () = assert!(size_of::<GuardConfig>() == 288);
const _: () = assert!(size_of::<GuardKey>() == 32);
const _: () = assert!(size_of::<GuardState>() == 80);
const _: () = assert!(size_of::<Seen>() == 8);

#[cfg(test)]
mod tests;
