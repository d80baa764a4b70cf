//! Enforcement: the contract of the policy programs (`tfo-policy` object) with user space.
//!
//! A rule names a cgroup, a block of destinations and ports. Everything the tool knows about a rule lies in
//! one map value, so that adding or changing it is one system call: it is there whole or not at all.

mod abi;

pub use self::abi::{ABI, MARK_VERSION, build_of};
use crate::{PolicyAction, codes::codes, direct::Direct};

/// LPM trie [`RuleKey`] -> [`Rule`].
pub const RULES: &str = "TFO_POL_RULES";
/// Hash of rule id -> [`Hits`].
pub const HITS: &str = "TFO_POL_HITS";
/// Socket storage of sockets a rule or a guard looked at: [`Mark`]. The observer finds it by this name.
pub const MARKS: &str = "TFO_POL_MARKS";
/// Array of `u32`, indexed by [`Switch`].
pub const SWITCHES: &str = "TFO_POL_SWITCH";
/// Array of one [`InForce`].
pub const IN_FORCE: &str = "TFO_POL_FORCE";
/// Array of one [`Learned`].
pub const LEARNED: &str = "TFO_POL_LEARNED";
/// Per-CPU array of `u64`, indexed by [`Stat`].
pub const STATS: &str = "TFO_POL_STATS";
/// Hash of cgroup id -> [`crate::guard::GuardConfig`].
pub const GUARDS: &str = "TFO_POL_GUARDS";
/// LRU hash of [`crate::guard::GuardKey`] -> [`crate::guard::GuardState`].
pub const STATES: &str = "TFO_POL_STATES";
/// LRU hash of [`crate::guard::GuardKey`] -> deadline of the trial under way.
pub const TRIALS: &str = "TFO_POL_TRIALS";
/// Array of [`crate::guard::Slot`]: what is counted of destinations and networks without a failure.
pub const SLOTS: &str = "TFO_POL_SLOTS";
/// Array of [`crate::guard::Watch`]: handshakes guards want to know the end of.
pub const WATCHES: &str = "TFO_POL_WATCHES";
/// Array of [`crate::guard::Birth`]: handshakes that began before anything had failed.
pub const BIRTHS: &str = "TFO_POL_BIRTHS";
/// LRU hash of [`crate::guard::GuardKey::net`] -> inode of that network namespace: those with a failure.
pub const NETS: &str = "TFO_POL_NETS";
/// Program array: where `sock_ops` goes on, indexed by [`Tail`].
pub const TAILS: &str = "TFO_POL_TAILS";
/// Program array: what `sock_ops` goes on with in the end. An observer puts [`crate::maps::PROG_GIVE_BACK`] here, so that what
/// it has left on sockets can be taken back should it be killed.
pub const AFTER: &str = "TFO_POL_AFTER";
/// The LRU maps with their sizes; user space makes them larger where there are many CPUs.
pub const LRU_MAPS: [(&str, u32); 3] = [(STATES, MAX_STATES), (TRIALS, MAX_STATES), (NETS, MAX_NETS)];
/// Maps without which no set of pins is one: part of [`ABI`].
pub const REQUIRED: [&str; 15] = [
    RULES, HITS, MARKS, SWITCHES, IN_FORCE, LEARNED, STATS, GUARDS, STATES, TRIALS, SLOTS, WATCHES, BIRTHS,
    NETS, TAILS,
];
/// Maps that came later, and that hold nothing a policy has to remember: the set of an earlier build lacks them, and a reload
/// makes them.
pub const LATER: [&str; 1] = [AFTER];

/// Number of [`IN_FORCE`] in [`DIRECT`].
pub const FORCE_NUMBER: u32 = 0;
/// Number of [`LEARNED`] there.
pub const LEARNED_NUMBER: u32 = 1;
/// The maps of [`REQUIRED`] that user space makes before it loads the object, because programs have their address.
pub const DIRECT: [Direct; 2] = [
    Direct {
        name: IN_FORCE,
        entry: size_of::<InForce>(),
        entries: 1,
        is_mapped: false,
    },
    Direct {
        name: LEARNED,
        entry: size_of::<Learned>(),
        entries: 1,
        is_mapped: false,
    },
];

/// Every map that is pinned.
pub fn maps() -> impl Iterator<Item = &'static str> {
    REQUIRED.into_iter().chain(LATER)
}

/// `cgroup_skb/egress`: denies SYN data.
pub const PROG_EGRESS: &str = "tfo_pol_egress";
/// `sock_ops`: sends what a denied SYN left behind, and gathers evidence, each in a program of its own ([`Tail`]).
pub const PROG_SOCK_OPS: &str = "tfo_pol_sockops";
/// TCX egress: takes the TFO option out of SYNs.
pub const PROG_STRIP: &str = "tfo_pol_strip";

codes! {
    /// The programs [`PROG_SOCK_OPS`] jumps to, with their names: index into [`TAILS`]. Apart, because most callbacks need none of
    /// them, and what an instruction cache need not hold of one is room for the others.
    Tail: u32 {
        /// Judges evidence; reached from the others.
        Judge = 0, "tfo_pol_judge";
        /// A connection begins.
        Connect = 1, "tfo_pol_connect";
        /// A client's handshake is over.
        Established = 2, "tfo_pol_est";
        /// A client leaves `SYN_SENT`.
        State = 3, "tfo_pol_state";
    }
}

/// Rules at most.
pub const MAX_RULES: u32 = 16_384;
/// Guards at most.
pub const MAX_GUARDS: u32 = 1_024;
/// Failing destinations a guard remembers; the least recently used give way. Destinations without a failure
/// take no room.
pub const MAX_STATES: u32 = 65_536;
/// Network namespaces with a failure that are remembered by their inode.
pub const MAX_NETS: u32 = 1_024;
/// Port ranges of one rule.
pub const MAX_PORTS: usize = 8;
/// Levels of the cgroup tree that are searched. The kernel's `cgroup.max.depth` has no bound by default; systemd and
/// container runtimes use fewer than ten.
pub const MAX_DEPTH: i32 = 32;
/// How often one look-up steps over an expired rule to the next shorter prefix, in a tree of the greatest depth; in one
/// of less, each level that is not there is a step more.
pub const MAX_EXPIRED: u32 = 4;
/// Bytes of [`Rule::by`].
pub const BY_LEN: usize = 32;
/// Bytes of [`Rule::note`].
pub const NOTE_LEN: usize = 160;
/// Bytes of [`Rule::cgroup`].
pub const PATH_LEN: usize = 224;

/// Bits of [`RuleKey`] before the address: cgroup id and family.
pub const KEY_BITS: u32 = 72;

/// The key of a rule. Everything is in network order, so that the bits of a prefix come first. Preceded by the prefix
/// length (`struct bpf_lpm_trie_key`), which counts [`KEY_BITS`] too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RuleKey {
    /// cgroup v2 id.
    pub cgroup: [u8; 8],
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// IPv4 in the first four bytes, the rest zero.
    pub addr: [u8; 16],
    /// Zero: values are aligned to 8.
    pub pad: [u8; 7],
}

impl RuleKey {
    /// The key of an address in a cgroup.
    #[inline(always)]
    pub const fn new(cgroup_id: u64, family: u8, addr: [u8; 16]) -> Self {
        Self {
            cgroup: cgroup_id.to_be_bytes(),
            family,
            addr,
            pad: [0; 7],
        }
    }
}

/// Ports from one to another, both included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(C)]
pub struct PortRange {
    /// Lowest port.
    pub first: u16,
    /// Highest port.
    pub last: u16,
}

/// A rule. Text is UTF-8 and zero-padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Rule {
    /// `CLOCK_MONOTONIC` ns at which the rule ends; 0 for a rule without end.
    pub expires_ns: u64,
    /// The time to live the rule was given, ns; 0 for none.
    pub ttl_ns: u64,
    /// `CLOCK_REALTIME` ns at which it was made.
    pub created_ns: u64,
    /// Number of the rule, from 1.
    pub id: u32,
    /// [`PolicyAction`] code.
    pub action: u8,
    /// How many of `ports` count; 0 means every port.
    pub ports_len: u8,
    /// Length of its prefix, without [`KEY_BITS`].
    pub bits: u8,
    /// Zero.
    pub pad: u8,
    /// Destination ports it applies to.
    pub ports: [PortRange; MAX_PORTS],
    /// Who made it.
    pub by: [u8; BY_LEN],
    /// Why.
    pub note: [u8; NOTE_LEN],
    /// Path of the cgroup when the rule was made: an id says nothing once the cgroup is gone.
    pub cgroup: [u8; PATH_LEN],
}

impl Rule {
    /// Whether it applies to a destination port.
    #[inline(always)]
    pub fn covers(&self, port: u16) -> bool {
        if self.ports_len == 0 {
            return true;
        }
        let mut index = 0;
        while index < MAX_PORTS {
            let range = self.ports[index];
            if index < self.ports_len as usize && range.first <= port && port <= range.last {
                return true;
            }
            index += 1;
        }
        false
    }

    /// Whether the rule has ended at this time of `CLOCK_MONOTONIC`, ns.
    #[inline(always)]
    pub const fn is_expired(&self, now_ns: u64) -> bool {
        is_over(self.expires_ns, now_ns)
    }

    /// The action; `None` for a code of another version, under which SYNs pass.
    pub const fn action(&self) -> Option<PolicyAction> {
        PolicyAction::from_code(self.action)
    }
}

/// Whether a time that ends at `expires_ns` (0 for never) is over at `now_ns`; both `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub const fn is_over(expires_ns: u64, now_ns: u64) -> bool {
    expires_ns != 0 && now_ns >= expires_ns
}

/// How often a rule applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Hits {
    /// Connections.
    pub count: u64,
    /// `CLOCK_MONOTONIC` ns of the latest.
    pub last_ns: u64,
}

/// What the programs know about a socket to whose SYN a rule or a guard may apply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Mark {
    /// Rule that applied; 0 for a guard's own decision.
    pub rule: u32,
    /// [`PolicyAction`] code; 0 when nothing was done.
    pub action: u8,
    /// Bits of [`mark`].
    pub flags: u8,
    /// `sock_ops` callback flags we added and have to take back.
    pub added: u8,
    /// [`MARK_VERSION`]: the observer takes no other for a mark.
    pub version: u8,
}

impl Mark {
    /// A socket to which neither a rule nor a guard applies.
    pub const NONE: Self = Self {
        rule: 0,
        action: 0,
        flags: 0,
        added: 0,
        version: MARK_VERSION,
    };
}

/// Bits of [`Mark::flags`].
pub mod mark {
    /// The SYN with data was kept from leaving.
    pub const DENIED: u8 = 1;
    /// Its SYN left with what looks like an HTTP request that may not be sent twice ([`crate::Carried::HttpUnsafe`]).
    pub const HTTP_UNSAFE: u8 = 2;
    /// Its SYN left with what looks like a DNS update ([`crate::Carried::DnsUpdate`]).
    pub const DNS_UPDATE: u8 = 4;
    /// Either.
    pub const CARRIED: u8 = HTTP_UNSAFE | DNS_UPDATE;
    /// Would stall without the push.
    pub const AT_RISK: u8 = 16;
    /// The option is to be taken out on its way.
    pub const STRIP: u8 = 32;
    /// The classifier that takes it out has seen the SYN.
    pub const STRIPPER_SAW: u8 = 64;
    /// Both, on a mark that is in order.
    pub const STRIP_DONE: u8 = STRIP | STRIPPER_SAW;
}

/// Index into [`SWITCHES`]: what user space notes for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Switch {
    /// [`ABI`].
    Abi = 0,
    /// The highest number a rule has had. Numbers are not used twice, so that a number seen a minute ago removes the rule it
    /// stood for or none. At this place since the first version.
    LastId = 3,
    /// The low half of [`build_of`] the object whose programs are attached.
    BuildLow = 4,
    /// Its high half.
    BuildHigh = 5,
}

impl Switch {
    /// Number of entries.
    pub const COUNT: u32 = 6;
}

/// What the programs have to know before anything else, written by user space alone, under the lock of the pins. One value, because each look-up is a line of
/// instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct InForce {
    /// How many levels of the hierarchy, from its root on, may have a guard; 0 while there is none.
    pub guards: u32,
    /// How many levels of the hierarchy, from its root on, may have a rule; 0 while there is none.
    pub rules: u32,
    /// 1: guards have to be told of every SYN when it leaves, because this kernel does not say later whose it was.
    pub told_at_once: u32,
    /// Length of the kernel's tick (`1 / CONFIG_HZ`), us.
    pub tick_us: u32,
    /// 1: an observer is there, which wants to know what SYNs carry ([`mark::CARRIED`]). Written by observers.
    pub observed: u32,
}

impl InForce {
    /// Words that it is made of.
    pub const WORDS: usize = 5;

    /// As the map has it.
    pub const fn words(self) -> [u32; Self::WORDS] {
        [
            self.guards,
            self.rules,
            self.told_at_once,
            self.tick_us,
            self.observed,
        ]
    }

    /// Of what the map has.
    pub const fn of_words(words: [u32; Self::WORDS]) -> Self {
        let [guards, rules, told_at_once, tick_us, observed] = words;
        Self {
            guards,
            rules,
            told_at_once,
            tick_us,
            observed,
        }
    }
}

/// What the programs have found out, written by them alone: zeros at first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Learned {
    /// Whether `bpf_setsockopt(TCP_NODELAY)` works here, one of [`push`].
    pub push: u32,
    /// 1 when a [`Mark`] was made for a socket, the first time.
    pub marked: u32,
    /// 1 when a guard made a state, the first time. Until then no destination and no network has one.
    pub troubled: u32,
    /// Zero.
    pub pad: u32,
}

/// Values of [`Learned::push`].
pub mod push {
    /// No connection was made yet.
    pub const UNKNOWN: u32 = 0;
    /// It works (Linux 6.1 and newer).
    pub const WORKS: u32 = 1;
    /// It does not: sockets that would stall pass.
    pub const REFUSED: u32 = 2;
}

codes! {
    /// Index into [`STATS`], with its name in JSON.
    Stat: u32 {
        /// SYNs with data kept from leaving, by rules and guards.
        Denied = 0, "denied";
        /// SYNs a rule with `observe` would have denied.
        Observed = 1, "observed";
        /// Denied sockets that were pushed when they were established.
        Pushed = 2, "pushed";
        /// Pushes the kernel refused.
        PushFailed = 3, "push_failed";
        /// SYNs that passed although denied, because their socket would stall and cannot be pushed.
        PassedAtRisk = 4, "passed_at_risk";
        /// SYNs that passed although denied, because no mark could be made.
        PassedNoMark = 5, "passed_no_mark";
        /// Denied sockets that would stall without the push.
        AtRisk = 6, "at_risk";
        /// Those of them whose handshake has ended.
        AtRiskEnded = 7, "at_risk_ended";
        /// TFO options taken out.
        Stripped = 8, "stripped";
        /// TFO options that could not be taken out.
        StripFailed = 9, "strip_failed";
        /// SYNs a guard denied.
        GuardDenied = 10, "guard_denied";
        /// Trials a guard let through.
        GuardTrials = 11, "guard_trials";
        /// Evidence for guards.
        GuardEvidence = 12, "guard_evidence";
        /// Connections whose option was to be taken out and that left by an interface without the classifier.
        StripMissed = 13, "strip_missed";
        /// Marked sockets given a callback flag of ours; of those guards watch their [`Watch`](crate::guard::Watch) says so.
        Flagged = 14, "flagged";
        /// Those of them from which it was taken back.
        Unflagged = 15, "unflagged";
        /// Fast Open handshakes that were not watched for guards, because another one's had the place.
        Unwatched = 16, "unwatched";
        /// Entries that guards made in [`STATES`], for a destination or a network with a failure.
        StatesMade = 17, "states_made";
        /// User space: those taken out together with their guard.
        StatesRemoved = 18, "states_removed";
        /// User space, worked out: those the LRU map dropped to make room, at most.
        StatesEvicted = 19, "states_evicted";
    }
}

const _: () = assert!(size_of::<RuleKey>() == 32);
const _: () = assert!(size_of::<Rule>() == 480);
const _: () = assert!(size_of::<Mark>() == 8);
const _: () = assert!(size_of::<Hits>() == 16);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_in_force_is_five_words() {
        let force = InForce {
            guards: 1,
            rules: 2,
            told_at_once: 3,
            tick_us: 4,
            observed: 5,
        };
        assert_eq!(force.words(), [1, 2, 3, 4, 5]);
        assert_eq!(InForce::of_words([1, 2, 3, 4, 5]), force);
        // The programs read a structure where user space writes words.
        assert_eq!(size_of::<InForce>(), size_of::<[u32; InForce::WORDS]>());
        assert_eq!(size_of::<Learned>(), size_of::<[u32; 4]>());
    }

    fn rule(ports: &[(u16, u16)], expires_ns: u64) -> Rule {
        let mut rule = Rule {
            expires_ns,
            ttl_ns: 0,
            created_ns: 0,
            id: 1,
            action: PolicyAction::NoData as u8,
            ports_len: ports.len() as u8,
            bits: 32,
            pad: 0,
            ports: [PortRange::default(); MAX_PORTS],
            by: [0; BY_LEN],
            note: [0; NOTE_LEN],
            cgroup: [0; PATH_LEN],
        };
        for (slot, (first, last)) in rule.ports.iter_mut().zip(ports) {
            *slot = PortRange {
                first: *first,
                last: *last,
            };
        }
        rule
    }

    #[test]
    fn ports_are_ranges_and_none_means_all() {
        assert!(rule(&[], 0).covers(0) && rule(&[], 0).covers(65_535));
        let some = rule(&[(443, 443), (8_000, 8_999)], 0);
        for (port, want) in [
            (442, false),
            (443, true),
            (444, false),
            (8_000, true),
            (8_999, true),
            (9_000, false),
        ] {
            assert_eq!(some.covers(port), want, "{port}");
        }
        // Port 0 in the unused ranges matches nothing.
        assert!(!some.covers(0));
    }

    #[test]
    fn rules_end_on_time() {
        assert!(!rule(&[], 0).is_expired(u64::MAX));
        assert!(!rule(&[], 100).is_expired(99));
        assert!(rule(&[], 100).is_expired(100));
    }

    proptest! {
        #[test]
        fn covers_is_what_the_ranges_say(
            ranges in proptest::collection::vec((any::<u16>(), any::<u16>()), 1..=MAX_PORTS), port: u16,
        ) {
            let want = ranges.iter().any(|(first, last)| (*first..=*last).contains(&port));
            prop_assert_eq!(rule(&ranges, 0).covers(port), want);
        }
    }
}
