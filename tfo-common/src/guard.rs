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
//! Failures that a destination which is down would show as well (a RST, no answer at all) open it in doubt first: one
//! connection without SYN data, then one trial. A network opens the same way, after failures at several addresses.
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
/// Longest time a trial may take, ns: the default six SYN retransmissions (`net.ipv4.tcp_syn_retries`) last 127 s.
pub const TRIAL_NS: u64 = 130 * 1_000_000_000;
/// An attempt the application gave up without a second SYN says something after so many round trips, where one is known.
pub const GIVE_UP_RTTS: u64 = 4;
/// And never earlier than after this.
pub const GIVE_UP_NS: u64 = 50 * 1_000_000;
/// Failures one after the other that open a guard for a network, where it never had a success.
pub const NETWORK_FAILURES: u8 = 5;
/// The same where it had one: none among so many.
pub const NETWORK_OF: u8 = 6;
/// Addresses those failures have to be about.
pub const NETWORK_PLACES: usize = 3;
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
    /// N: attempts in the window, at most [`MAX_WINDOW`].
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

/// Whose evidence it is, and about what.
///
/// One socket's evidence goes to four entries: its destination's and its network's, each for its own cgroup and for
/// everybody the guard watches. Who may make SYNs die (a hop limit of one is enough) so harms himself, until somebody
/// else sees the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct GuardKey {
    /// cgroup id of the guard.
    pub cgroup: u64,
    /// cgroup id of the socket; 0 for every cgroup the guard watches.
    pub own: u64,
    /// Network namespace: its cookie, before Linux 5.12 its inode. The same address in two of them is two paths.
    pub net: u64,
    /// [`kind::DESTINATION`]: remote address. [`kind::NETWORK`]: local address. Network order; IPv4 in the first four
    /// bytes.
    pub addr: [u8; 16],
    /// Remote port, host order; 0 for a network. Middleboxes treat ports differently, and a closed port says nothing
    /// about its neighbours.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
    /// One of [`kind`].
    pub kind: u8,
    /// Zero.
    pub pad: [u8; 4],
}

/// Values of [`GuardKey::kind`].
pub mod kind {
    /// A destination.
    pub const DESTINATION: u8 = 0;
    /// A network: everything that is reached from one local address.
    pub const NETWORK: u8 = 1;
}

impl GuardKey {
    /// A number for the whole key, never 0: states carry it, because an element of an LRU map may be given to
    /// another key while somebody still looks at it.
    #[inline(always)]
    pub fn tag(&self) -> u64 {
        let [a, b] = halves(self.addr);
        let rest = u64::from(self.port) | u64::from(self.family) << 16 | u64::from(self.kind) << 24;
        let mut hash = self.cgroup;
        hash = mix(hash, self.own);
        hash = mix(hash, self.net);
        hash = mix(hash, a);
        hash = mix(hash, b);
        mix(hash, rest) | 1
    }
}

#[inline(always)]
const fn mix(hash: u64, word: u64) -> u64 {
    (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29)
}

/// An address as two words.
#[inline(always)]
fn halves(addr: [u8; 16]) -> [u64; 2] {
    let [a0, a1, a2, a3, a4, a5, a6, a7, b0, b1, b2, b3, b4, b5, b6, b7] = addr;
    [
        u64::from_ne_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        u64::from_ne_bytes([b0, b1, b2, b3, b4, b5, b6, b7]),
    ]
}

/// What is counted of every destination and every network, also of those without a failure: in an array, at the place
/// the addresses hash to ([`slot_of`]). Two that share a place share its numbers until one of them has it to itself.
///
/// A failure shows a second after its SYN, a success at once. In the order in which they show, random loss comes
/// in bursts: of fifty busy clients all sooner or later wait for a lost SYN, and their failures arrive together.
/// So a failure takes the place its SYN had: it goes behind the successes that were counted since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    /// The part of the hash that does not choose the place: whose numbers these are.
    pub tag: u32,
    /// SYNs with data that were answered at once.
    pub tfo: u32,
    /// Bare SYNs with the option that were.
    pub bare: u32,
    /// Round trip of the latest of them, us; 0 for unknown.
    pub rtt_us: u32,
    /// 1: a state exists for something that hashes here. Without it nothing is looked up.
    pub troubled: u32,
    /// Zero.
    pub pad: u32,
}

/// Places of [`Slot`]s, a power of two.
pub const SLOTS: u32 = 32_768;

/// The hash of a destination. Its low bits choose the place, its high half is [`Slot::tag`]. Addresses as four words
/// in network order, port 0 and no remote address for the network.
#[inline(always)]
pub const fn slot_hash(local: [u32; 4], remote: [u32; 4], port: u16) -> u64 {
    let mut hash = port as u64 | 1 << 32;
    let mut word = 0;
    while word < 4 {
        hash = mix(hash, (local[word] as u64) << 32 | remote[word] as u64);
        word += 1;
    }
    hash ^ hash >> 31
}

/// The place of a hash.
#[inline(always)]
pub const fn slot_of(hash: u64) -> u32 {
    hash as u32 & (SLOTS - 1)
}

/// A handshake a guard wants to know the end of: in an array at the place its socket hashes to. Socket storage costs
/// more than everything else that is done for a connection; where the place is taken the handshake is not watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Watch {
    /// Address of the socket; 0 for none.
    pub sk: u64,
    /// `CLOCK_MONOTONIC` ns of the first SYN.
    pub syn_ns: u64,
    /// cgroup id of the guard; 0 where none watches it.
    pub guard: u64,
    /// cgroup id of the socket.
    pub own: u64,
    /// Successes of its kind counted for this destination when the SYN left.
    pub seen: u32,
    /// Bits of [`watch`].
    pub flags: u8,
    /// `sock_ops` callback flags we added and have to take back.
    pub added: u8,
    /// Which of its four entries it is the trial of, from 1; 0 for none.
    pub trial: u8,
    /// When it has ended: [`Evidence`] code, or [`watch::NOTHING`].
    pub evidence: u8,
    /// When it has ended: what a failure cost, us.
    pub lost_us: u32,
    /// When it has ended: which of its four entries is judged next.
    pub entry: u8,
    /// When it has ended: 1 if the entry before has opened.
    pub opened: u8,
    /// Zero.
    pub pad: [u8; 2],
}

/// Bits of [`Watch::flags`].
pub mod watch {
    /// The SYN that left carries data.
    pub const DATA: u8 = 1;
    /// The first SYN that left carries the TFO option.
    pub const OPTION: u8 = 2;
    /// The SYN with data was denied.
    pub const DENIED: u8 = 4;
    /// The option is taken out on the way.
    pub const STRIPPED: u8 = 8;
    /// As evidence: none.
    pub const NOTHING: u8 = 255;
}

/// Places of [`Watch`]es, a power of two.
pub const WATCHES: u32 = 8_192;

/// The place of a socket's [`Watch`]. Sockets are at least 64 bytes apart.
#[inline(always)]
pub const fn watch_of(sk: u64) -> u32 {
    ((sk >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as u32 & (WATCHES - 1)
}

/// Whether a handshake the application gave up after its only SYN shows anything: after [`GIVE_UP_RTTS`] round trips,
/// where the round trip is known (`rtt_us`, 0 for not).
#[inline(always)]
pub const fn waited_long_enough(waited_ns: u64, rtt_us: u32) -> bool {
    rtt_us != 0 && waited_ns >= GIVE_UP_NS && waited_ns >= rtt_us as u64 * 1_000 * GIVE_UP_RTTS
}

/// Whether two cgroups that saw the same belong to different people. `owner`: uid of who may write to the cgroup, or of
/// the socket where that is root. What root runs in two cgroups is two witnesses: root has no need to trick a guard.
#[inline(always)]
pub const fn are_two_witnesses(one: (u64, u32), other: (u64, u32)) -> bool {
    one.0 != other.0 && (one.1 != other.1 || one.1 == 0)
}

/// How many successes were counted between two readings. An entry that was dropped in between began again.
#[inline(always)]
pub const fn later(before: u32, now: u32) -> u32 {
    if now >= before { now - before } else { now }
}

/// The result of one handshake.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The evidence it gives.
    pub evidence: Evidence,
    /// Whether it was the trial.
    pub trial: bool,
    /// Successes of its kind counted since its SYN left.
    pub later: u32,
    /// Time a failure cost, us; 0 where unknown.
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

/// What a handshake says about a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Evidence {
    /// SYN data was answered at once, taken or not: it passes.
    TfoOk = 0,
    /// SYN data was lost (`syn-timeout`), and the bare SYN that was sent again was answered.
    TfoFailed = 1,
    /// A bare SYN with the TFO option was answered at once.
    BareOk = 2,
    /// A bare SYN with the TFO option was not.
    BareFailed = 3,
    /// A SYN without TFO was answered at once.
    PlainOk = 4,
    /// A SYN without TFO had to be sent again, was reset or never answered.
    PlainFailed = 5,
    /// SYN data was reset or never answered (`failed`). A destination that is down does the same to every SYN.
    TfoDead = 6,
}

impl Evidence {
    /// The evidence with this code.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::TfoOk),
            1 => Some(Self::TfoFailed),
            2 => Some(Self::BareOk),
            3 => Some(Self::BareFailed),
            4 => Some(Self::PlainOk),
            5 => Some(Self::PlainFailed),
            6 => Some(Self::TfoDead),
            _ => None,
        }
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
    /// [`GuardKey::tag`] of the key it belongs to.
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
    /// Network: its successes ([`Slot::tfo`]) when the latest failure came.
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
    fn add_cost(&mut self, failed: bool, lost_us: u32) {
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
    fn on_trial(&mut self, config: &GuardConfig, failed: bool, trial: bool, now_ns: u64) -> Change {
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
    fn doubt(&mut self, doubt: u8, until_ns: u64, now_ns: u64) -> Change {
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
    fn open(&mut self, config: &GuardConfig, level: u8, now_ns: u64) {
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

/// The same for the marks of some failures, which have to stay beside them.
#[inline(always)]
const fn push_beside(marks: u32, of: u8, failed: bool, marked: bool, later: u32) -> u32 {
    let pushed = push(marks, of, failed, later);
    if failed && !marked && later < of as u32 {
        pushed & !(1 << (later & 31))
    } else {
        pushed
    }
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
const _: () = assert!(size_of::<GuardKey>() == 48);
const _: () = assert!(size_of::<GuardState>() == 128);
const _: () = assert!(size_of::<Slot>() == 24);
const _: () = assert!(size_of::<Watch>() == 48);

#[cfg(test)]
mod fair_tests;
#[cfg(test)]
mod tests;
