//! One number for the layout of everything that is pinned: two builds with the same number can use each other's maps.
//!
//! It follows from the layout itself, because a number that is raised by hand is forgotten. What changes its meaning
//! without changing its place needs [`REVISION`].

use core::mem::{offset_of, size_of};

use super::{
    BY_LEN, Hits, InForce, KEY_BITS, Learned, MAX_DEPTH, MAX_GUARDS, MAX_NETS, MAX_PORTS, MAX_RULES,
    MAX_STATES, Mark, NOTE_LEN, PATH_LEN, PortRange, REQUIRED, Rule, RuleKey, Stat, Switch, Tail,
};
use crate::guard::{BIRTHS, GuardConfig, GuardKey, GuardState, SLOTS, Slot, WATCHES, Watch};

/// Size of a structure and offsets of its members. A member that is not listed does not compile.
macro_rules! layout {
    ($type:ident { $($member:ident),+ $(,)? }) => {{
        const fn _every_member_is_listed(value: &$type) {
            let $type { $($member: _),+ } = value;
        }
        let offsets = [size_of::<$type>(), $(offset_of!($type, $member)),+];
        words(OFFSET_BASIS, &offsets) as usize
    }};
}

/// To be raised when a member keeps its place and gets another meaning: a flag, a unit, the code of a state; or a map its kind.
const REVISION: u64 = 4;

/// The number: of pinned maps in [`Switch::Abi`], and of this build.
pub const ABI: u32 = {
    let mut hash = mix(mix(OFFSET_BASIS, REVISION), names(&REQUIRED));
    hash = words(hash, &LAYOUTS);
    let limits = [
        MAX_RULES,
        MAX_GUARDS,
        MAX_STATES,
        MAX_NETS,
        KEY_BITS,
        SLOTS,
        WATCHES,
        BIRTHS,
        Switch::COUNT,
        Tail::COUNT as u32,
    ];
    let mut index = 0;
    while index < limits.len() {
        hash = mix(hash, limits[index] as u64);
        index += 1;
    }
    let lengths = [
        BY_LEN,
        NOTE_LEN,
        PATH_LEN,
        MAX_PORTS,
        MAX_DEPTH as usize,
        Stat::COUNT,
    ];
    hash = words(hash, &lengths);
    let mut stat = 0;
    while stat < Stat::COUNT {
        hash = text(hash, Stat::ALL[stat].name());
        stat += 1;
    }
    // 0 is what an array has before anybody writes to it.
    match (hash ^ hash >> 32) as u32 {
        0 => 1,
        number => number,
    }
};

/// [`Mark`] by itself: the observer reads it in sockets, whichever build made it.
const MARK_LAYOUT: usize = layout!(Mark {
    rule,
    action,
    flags,
    added,
    version
});

/// What [`Mark::version`] is in a mark of this layout; never 0, which is what a new one has.
pub const MARK_VERSION: u8 = mix(MARK_LAYOUT as u64, REVISION) as u8 | 1;

/// Every structure in a map.
const LAYOUTS: [usize; 9] = [
    layout!(RuleKey {
        cgroup,
        family,
        addr,
        pad
    }),
    layout!(Rule {
        expires_ns,
        ttl_ns,
        created_ns,
        id,
        action,
        ports_len,
        bits,
        pad,
        ports,
        by,
        note,
        cgroup,
    }),
    layout!(PortRange { first, last }),
    layout!(Hits { count, last_ns }),
    MARK_LAYOUT,
    layout!(GuardConfig {
        backoff_ns,
        max_backoff_ns,
        created_ns,
        failures,
        of,
        escalate,
        pad,
        by,
        cgroup,
    }),
    layout!(GuardKey {
        cgroup,
        own,
        net,
        addr,
        port,
        family,
        kind,
        pad
    }),
    layout!(GuardState {
        tag,
        phase,
        level,
        relapses,
        doubt,
        window,
        plain_ok,
        plain_failed,
        controlled,
        bare,
        witness_owner,
        until_ns,
        changed_ns,
        witness,
        attempts,
        failures,
        lost_us,
        timed,
        denied,
        opened,
        seen,
        row,
        pad,
        places,
        pad2,
    }),
    {
        let slot = layout!(Slot {
            tag,
            tfo,
            bare,
            rtt_us,
            troubled,
            read,
            tfo_at,
            bare_at
        });
        let watch = layout!(Watch {
            sk,
            guard,
            own,
            destination,
            network,
            seen,
            born,
            lost_us,
            flags,
            added,
            trial,
            evidence,
            entry,
            opened,
            pad,
        });
        let in_force = layout!(InForce {
            guards,
            rules,
            told_at_once,
            tick_us,
            observed,
        });
        let learned = layout!(Learned {
            push,
            marked,
            troubled,
            pad,
        });
        words(OFFSET_BASIS, &[slot, watch, in_force, learned]) as usize
    },
];

/// FNV-1a, 64 bits: nobody chooses these inputs to collide.
const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x100_0000_01b3;

const fn mix(hash: u64, value: u64) -> u64 {
    let mut hash = hash;
    let bytes = value.to_le_bytes();
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    hash
}

const fn words(hash: u64, values: &[usize]) -> u64 {
    let mut hash = hash;
    let mut index = 0;
    while index < values.len() {
        hash = mix(hash, values[index] as u64);
        index += 1;
    }
    hash
}

const fn text(hash: u64, text: &str) -> u64 {
    build_of_from(hash, text.as_bytes())
}

const fn names(names: &[&str]) -> u64 {
    let mut hash = OFFSET_BASIS;
    let mut index = 0;
    while index < names.len() {
        hash = mix(text(hash, names[index]), 0);
        index += 1;
    }
    hash
}

/// A number for the programs of an object: another one means other code, even where [`ABI`] is the same.
pub const fn build_of(object: &[u8]) -> u64 {
    build_of_from(OFFSET_BASIS, object)
}

const fn build_of_from(hash: u64, bytes: &[u8]) -> u64 {
    let mut hash = hash;
    let mut index = 0;
    while index < bytes.len() {
        hash = (hash ^ bytes[index] as u64).wrapping_mul(PRIME);
        index += 1;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_change_shows() {
        assert_ne!(ABI, 0);
        // What it is folded from: another order, another value, another length give another number.
        assert_ne!(words(OFFSET_BASIS, &[1, 2]), words(OFFSET_BASIS, &[2, 1]));
        assert_ne!(words(OFFSET_BASIS, &[1]), words(OFFSET_BASIS, &[1, 0]));
        assert_ne!(names(&["a", "bc"]), names(&["ab", "c"]));
        for (index, layout) in LAYOUTS.iter().enumerate() {
            let same = LAYOUTS.iter().filter(|other| *other == layout).count();
            assert_eq!(same, 1, "{index}");
        }
    }

    #[test]
    fn a_member_that_moves_shows() {
        #[repr(C)]
        struct One {
            first: u32,
            second: u64,
        }
        #[repr(C)]
        struct Other {
            second: u64,
            first: u32,
        }
        let one = layout!(One { first, second });
        assert_ne!(one, layout!(Other { first, second }));
        assert_eq!(one, layout!(One { first, second }));
    }

    #[test]
    fn builds_differ() {
        assert_ne!(build_of(b"one"), build_of(b"two"));
        assert_eq!(build_of(b"one"), build_of(b"one"));
    }
}
