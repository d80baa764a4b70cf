//! Successes, counted for every destination and network whether it ever failed or not.

use super::key::mix;

/// What is counted of every destination and every network, also of those without a failure: in an array, at the place
/// the addresses hash to ([`slot_of`]). Two that share a place share its numbers until one of them has it to itself.
///
/// A failure shows a second after its SYN, a success at once. In the order in which they show, random loss comes
/// in bursts: of fifty busy clients all sooner or later wait for a lost SYN, and their failures arrive together.
/// So a failure takes the place its SYN had: it goes behind the successes that were counted since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(32))]
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
    /// Network, 1: a state has read `tfo` since a success was last counted ([`Slot::counts`]).
    pub read: u32,
    /// When a SYN with data was last answered at once, in ticks of the kernel (the low half of `jiffies_64`). As long as nothing has ever
    /// failed only the first of a tick is counted: more than that none after a SYN has left, or some, nobody asks then.
    pub tfo_at: u32,
    /// The same of bare SYNs with the option.
    pub bare_at: u32,
}

impl Slot {
    /// Whether another success of a network has to be counted. All that a state asks of the number is whether there ever was
    /// a success, and whether there was one since it read the number last: one is enough for both.
    #[inline(always)]
    pub const fn counts(&self) -> bool {
        self.tfo == 0 || self.read != 0
    }
}

/// Places of [`Slot`]s, a power of two.
pub const SLOTS: u32 = 32_768;

/// The hash of a destination. Its low bits choose the place, its high half is [`Slot::tag`]. Addresses as four words
/// in network order, port 0 and no remote address for the network.
#[inline(always)]
pub const fn slot_hash(local: [u32; 4], remote: [u32; 4], port: u16) -> u64 {
    let mut hash = mix(port as u64 | 1 << 32, (local[0] as u64) << 32 | remote[0] as u64);
    // None of these for IPv4.
    let rest = local[1] | local[2] | local[3] | remote[1] | remote[2] | remote[3];
    let mut word = if rest == 0 { 4 } else { 1 };
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

/// Ticks that no handshake lasts: a quarter of an hour where there are a thousand in a second.
const LONG: u32 = 1 << 20;

/// Whether the tick of a success comes after that in which a SYN left, both the low half of a number that goes on.
#[inline(always)]
pub const fn is_after(success: u32, born: u32) -> bool {
    let later = success.wrapping_sub(born);
    later != 0 && later < LONG
}

/// How many successes were counted between two readings. An entry that was dropped in between began again.
#[inline(always)]
pub const fn later(before: u32, now: u32) -> u32 {
    if now >= before { now - before } else { now }
}

const _: () = assert!(size_of::<Slot>() == 32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_success_comes_after_a_syn_only_in_a_later_tick() {
        assert!(!is_after(5, 5));
        assert!(is_after(6, 5));
        assert!(!is_after(4, 5));
        assert!(is_after(1, u32::MAX), "the low half has begun again");
        // The last success may be months old.
        assert!(!is_after(5, 5 + (1 << 31)));
        assert!(!is_after(5, 6 + (1 << 31)));
        assert!(!is_after(0, 1 << 30));
    }
}
