//! Direct-mapped slots: one `u64` that carries a value and a tag of its owner.
//!
//! A slot keeps an optional fact of a connection at the price of one store: no allocation, no lock, no deletion. Two
//! owners of one slot overwrite each other. The tag shows whose value is there; the other owner's value counts as not
//! seen. A foreign tag equals the own one in one of 65,536 collisions (starts), of 2^32 (first bytes) or of 2^64 (SYNs).

use crate::limits::{
    ARRIVED, ARRIVED_CPUS, BLOCK_RECORDS, FIRST_BYTES, FLOWS, NETNS, PRIMED, RECORD_BLOCKS, REQUEST_KINDS,
    RING_BYTES, STARTS, SYNS,
};

/// Layout of a start slot, from the top: 16 bits tag, server, flag added, connecting, 45 bits of time in units of 1,024 ns, for
/// a division by 1,000 takes 5 ns; of one that is connecting ticks.
const TAG_SHIFT: u32 = 48;
const SERVER: u64 = 1 << 47;
const ADDED: u64 = 1 << 46;
const CONNECTING: u64 = 1 << 45;
const TIME: u64 = CONNECTING - 1;
const UNIT_SHIFT: u32 = 10;

/// Mixes the bits of a socket's address (Fibonacci hashing): its low bits are always the same.
#[inline(always)]
const fn spread(socket: u64) -> u64 {
    (socket >> 6).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// What stands in a slot for the socket it belongs to.
#[inline(always)]
const fn tag(socket: u64) -> u64 {
    spread(socket) >> TAG_SHIFT
}

/// TCP sockets are further apart than two to this power (2,432 bytes on 6.18).
const APART_SHIFT: u32 = 11;

/// Numbers that are near each other for sockets that are: those of one slab, which one CPU gives out and takes back, have their
/// places within a page or two. At random places each of them was a page that is in no TLB. What follows the first bits is
/// mixed, so that sockets of slabs far apart do not meet at regular distances.
#[inline(always)]
pub(crate) const fn near(socket: u64) -> u32 {
    const FAR_SHIFT: u32 = APART_SHIFT + 15;
    let far = (socket >> FAR_SHIFT).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((socket >> APART_SHIFT) as u32).wrapping_add((far >> 40) as u32)
}

/// Slot of a socket in [`crate::maps::STARTS`].
#[inline(always)]
pub const fn start_slot(socket: u64) -> u32 {
    near(socket) & (STARTS - 1)
}

/// What to store there for a connection that began at `ns` of `CLOCK_MONOTONIC`. `added` says that its
/// callback flag is ours to take back.
#[inline(always)]
pub const fn start_value(socket: u64, ns: u64, server: bool, added: bool) -> u64 {
    let flags = if server { SERVER } else { 0 } | if added { ADDED } else { 0 };
    tag(socket) << TAG_SHIFT | flags | (ns >> UNIT_SHIFT) & TIME
}

/// What to store there for a client whose SYN leaves in this tick (`jiffies`): nobody waits for its first byte yet.
#[inline(always)]
pub const fn connecting_value(socket: u64, tick: u64) -> u64 {
    tag(socket) << TAG_SHIFT | CONNECTING | tick & TIME
}

/// Ticks since the SYN of this socket left, if the slot's value says so.
#[inline(always)]
pub const fn connecting_since(socket: u64, value: u64, tick: u64) -> Option<u64> {
    if is_of(socket, value) && value & CONNECTING != 0 {
        Some(tick.wrapping_sub(value) & TIME)
    } else {
        None
    }
}

/// Length of an epoch, ns: 17 s.
pub const EPOCH_NS: u64 = 1 << EPOCH_SHIFT;
const EPOCH_SHIFT: u32 = 34;

/// The epoch of a time, ns. The same number comes again after 13 days.
#[inline(always)]
pub const fn epoch(ns: u64) -> u16 {
    (ns >> EPOCH_SHIFT) as u16
}

/// Whether a slot's value belongs to this socket, and its first byte is waited for.
#[inline(always)]
pub const fn start_is_of(socket: u64, value: u64) -> bool {
    is_of(socket, value) && value & CONNECTING == 0
}

#[inline(always)]
const fn is_of(socket: u64, value: u64) -> bool {
    value != 0 && value >> TAG_SHIFT == tag(socket)
}

/// Whether the connection is a server's.
#[inline(always)]
pub const fn start_is_server(value: u64) -> bool {
    value & SERVER != 0
}

/// Whether the callback flag is ours to take back.
#[inline(always)]
pub const fn start_added(value: u64) -> bool {
    value & ADDED != 0
}

/// Nanoseconds since the connection began, to a microsecond. Times wrap after 1.1 years; differences do not mind.
#[inline(always)]
pub const fn age_ns(value: u64, now_ns: u64) -> u64 {
    ((now_ns >> UNIT_SHIFT).wrapping_sub(value) & TIME) << UNIT_SHIFT
}

/// The place in [`crate::maps::FLOWS`] where the flow of a socket is looked for first, and after it, for `step` from 1 on,
/// those it may have been put to instead because another one's was there. Every step leads to another place.
#[inline(always)]
pub const fn flow_place(socket: u64, step: u32) -> u32 {
    // Odd, so that no place comes twice; from other bits than the first, so that two that meet there part.
    let stride = (spread(socket) >> 40) as u32 | 1;
    near(socket).wrapping_add(step.wrapping_mul(stride)) & (FLOWS - 1)
}

/// The place of a listener in [`crate::maps::ARRIVED`] among those of a CPU. From 1 on: an array of one entry, and there are none
/// of less, has nobody's.
#[inline(always)]
pub const fn arrived_place(listener: u64, cpu: u32) -> u32 {
    1 + (cpu & (ARRIVED_CPUS - 1)) * ARRIVED + (near(listener) & (ARRIVED - 1))
}

/// Which of the counters of [`crate::maps::WAITING`] a SYN from this port and address belongs to: the first and the last
/// word of the address.
#[inline(always)]
pub const fn request_kind(port: u16, first: u32, last: u32) -> usize {
    let mixed = (port as u32 ^ first ^ last).wrapping_mul(0x9e37_79b1);
    (mixed >> 28) as usize & (REQUEST_KINDS - 1)
}

/// What a flow is called: unique while the host runs, but for two at one slot that began 78 hours apart to the nanosecond.
/// Its record has this place in this block: all that wait to be read have different slots, in the lower half.
#[inline(always)]
pub const fn flow_id(start_ns: u64, block: u32, place: usize) -> u64 {
    start_ns << 16 | (block as u64 * BLOCK_RECORDS as u64 + place as u64)
}

/// The same of one whose record lies in a ring, at the address that `record` stands for: records lie further apart than 128
/// bytes, so those that are in a ring have different slots, and the two rings have quarters of their own.
#[inline(always)]
pub const fn flow_id_in_ring(start_ns: u64, record: u64, is_odd: bool) -> u64 {
    let quarter = FIRST_BYTES as u64 / 4;
    let ring = if is_odd { 3 * quarter } else { 2 * quarter };
    start_ns << 16 | ring | (record >> 7) & (quarter - 1)
}

/// Slot of a flow in [`crate::maps::FIRST_BYTES`], from its id.
#[inline(always)]
pub const fn first_byte_slot(id: u64) -> u32 {
    id as u32 & (FIRST_BYTES - 1)
}

/// What to store there; `ttfb_us` is at least 1, so that no value is zero.
#[inline(always)]
pub const fn first_byte_value(id: u64, ttfb_us: u32) -> u64 {
    (id >> 16) << 32 | ttfb_us as u64
}

/// The time to first byte of this flow, us, if the slot is its own.
#[inline(always)]
pub const fn first_byte_of(id: u64, value: u64) -> Option<u32> {
    if value != 0 && value >> 32 == id >> 16 & 0xffff_ffff {
        Some(value as u32)
    } else {
        None
    }
}

/// Slot of a network namespace in [`crate::maps::INODES`], from its cookie: cookies are counted up, so that neighbours have
/// slots of their own.
#[inline(always)]
pub const fn inode_slot(cookie: u64) -> u32 {
    cookie as u32 & (NETNS - 1)
}

/// What to store there. The lower half of a cookie stands for all of it: a host makes no 2^32 namespaces.
#[inline(always)]
pub const fn inode_value(cookie: u64, inode: u32) -> u64 {
    cookie << 32 | inode as u64
}

/// The inode that a slot's value says this namespace has; `None` where it is of another one, or the cookie is 0: unknown.
#[inline(always)]
pub const fn inode_of(cookie: u64, value: u64) -> Option<u32> {
    if cookie as u32 != 0 && value >> 32 == cookie & 0xffff_ffff {
        Some(value as u32)
    } else {
        None
    }
}

/// What stands for a SYN whose data was accepted: a mixture of its source (address in network order, port), the local port
/// and its initial sequence number. Never zero. The mixing steps lose nothing (multiplication by an odd number, xor with
/// itself shifted), so that of IPv4 SYNs to one port from one port no two are the same.
#[inline(always)]
pub const fn syn_mark(remote: [u32; 4], remote_port: u16, local_port: u16, sequence: u32) -> u64 {
    let rest = (remote[1] as u64) << 32 | remote[2] as u64;
    let rest = (rest ^ (remote[3] as u64) << 16).wrapping_mul(0xc2b2_ae3d_27d4_eb4f);
    let ports = (remote_port as u64) << 16 | local_port as u64;
    let mut mark = (remote[0] as u64) << 32 | sequence as u64;
    mark ^= rest;
    mark = (mark ^ mark >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mark ^= ports << 16;
    mark = (mark ^ mark >> 29).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    if mark == 0 { 1 } else { mark }
}

/// Slot of a SYN among [`SYNS`], from what stands for it.
#[inline(always)]
pub const fn syn_slot(mark: u64) -> u32 {
    (mark >> 40) as u32 & (SYNS - 1)
}

/// What stands for a port whose listeners we gave a callback flag: all of it, so that no other is taken for it. Never zero.
#[inline(always)]
pub const fn primed_value(netns: u32, port: u16) -> u64 {
    (netns as u64) << 32 | (port as u64) << 16 | 1
}

/// Slot of a port in [`crate::maps::PRIMED`], from what stands for it. Another one's takes its place where both have the same:
/// then it is not known that the flag is ours.
#[inline(always)]
pub const fn primed_slot(value: u64) -> u32 {
    (value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52) as u32 & (PRIMED - 1)
}

const _: () = assert!(SYNS.is_power_of_two() && PRIMED.is_power_of_two());
const _: () = assert!(ARRIVED.is_power_of_two() && ARRIVED_CPUS.is_power_of_two());
const _: () = assert!(
    STARTS.is_power_of_two()
        && FIRST_BYTES.is_power_of_two()
        && FLOWS.is_power_of_two()
        && REQUEST_KINDS.is_power_of_two()
);
const _: () = assert!(
    FIRST_BYTES == 1 << 16,
    "first-byte tags leave out the low 16 bits of the id"
);
const _: () = assert!(
    RECORD_BLOCKS * BLOCK_RECORDS <= FIRST_BYTES / 2 && RING_BYTES / 128 <= FIRST_BYTES / 4,
    "every record that waits to be read has a slot of its own"
);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::FLOW_STEPS;

    #[test]
    fn own_values_come_back_and_foreign_ones_do_not() {
        let socket = 0xffff_8881_2345_6780;
        let other = 0xffff_8881_2345_7080;
        for (server, added) in [(false, false), (false, true), (true, false), (true, true)] {
            // Whole units of time are exact.
            let begun = 123_456_788_480;
            let value = start_value(socket, begun, server, added);
            assert!(start_is_of(socket, value) && !start_is_of(other, value));
            assert_eq!((start_is_server(value), start_added(value)), (server, added));
            for age in [0, 102_400, 86_400_000_000_000] {
                assert_eq!(age_ns(value, begun + age), age);
                assert_eq!(age_ns(value, begun + age + 1_023), age);
            }
        }
        assert!(!start_is_of(socket, 0));
        let connecting = connecting_value(socket, 1_000);
        assert!(
            !start_is_of(socket, connecting),
            "nobody waits for its first byte"
        );
        assert_eq!(connecting_since(socket, connecting, 1_250), Some(250));
        assert_eq!(connecting_since(other, connecting, 1_250), None);
        let waited_for = start_value(socket, 5_000, false, false);
        assert_eq!(connecting_since(socket, waited_for, 1_250), None);
        assert!(start_slot(socket) < STARTS);

        let value = first_byte_value(0x12_3456_789a, 77);
        assert_eq!(first_byte_of(0x12_3456_789a, value), Some(77));
        assert_eq!(first_byte_of(0x12_3457_789a, value), None);
        assert_eq!(first_byte_of(1, 0), None);
        assert_eq!(first_byte_of(1, first_byte_value(1, 5)), Some(5));
    }

    #[test]
    fn syns_differ_by_address_ports_and_sequence_number() {
        let one = syn_mark([0x0a4d_0001, 0, 0, 0], 40_000, 443, 7);
        assert_eq!(one, syn_mark([0x0a4d_0001, 0, 0, 0], 40_000, 443, 7));
        let others = [
            syn_mark([0x0a4d_0002, 0, 0, 0], 40_000, 443, 7),
            syn_mark([0x0a4d_0001, 1, 0, 0], 40_000, 443, 7),
            syn_mark([0x0a4d_0001, 0, 1, 0], 40_000, 443, 7),
            syn_mark([0x0a4d_0001, 0, 0, 1], 40_000, 443, 7),
            syn_mark([0x0a4d_0001, 0, 0, 0], 40_001, 443, 7),
            syn_mark([0x0a4d_0001, 0, 0, 0], 40_000, 444, 7),
            syn_mark([0x0a4d_0001, 0, 0, 0], 40_000, 443, 8),
        ];
        assert!(others.iter().all(|other| *other != one));
        assert!(syn_mark([0; 4], 0, 0, 0) != 0);
        // Clients that come one after the other spread over the slots.
        let mut taken = [false; SYNS as usize];
        for port in 0..4_096u16 {
            let mark = syn_mark([0x0a4d_0001, 0, 0, 0], port, 443, u32::from(port));
            taken[syn_slot(mark) as usize] = true;
        }
        let slots = taken.iter().filter(|taken| **taken).count();
        assert!(slots > 3_400, "{slots} slots for 4,096 SYNs");
    }

    #[test]
    fn ports_of_listeners_are_told_apart() {
        let one = primed_value(4_026_531_840, 443);
        assert_ne!(one, primed_value(4_026_531_841, 443));
        assert_ne!(one, primed_value(4_026_531_840, 444));
        assert_ne!(primed_value(0, 0), 0);
        let mut seen = [false; PRIMED as usize];
        for port in 1..=2_048 {
            seen[primed_slot(primed_value(4_026_531_840, port)) as usize] = true;
        }
        let slots = seen.iter().filter(|seen| **seen).count();
        assert!(slots > 1_500, "{slots} slots for 2,048 ports");
    }

    #[test]
    fn time_wraps_without_harm() {
        let almost = (TIME - 4) << UNIT_SHIFT;
        let value = start_value(64, almost, true, false);
        assert_eq!(age_ns(value, almost + 10_240), 10_240);
    }

    #[test]
    fn a_flow_has_places_enough() {
        // Eight thousand sockets at once, a quarter of what there is room for: each finds a free place.
        let mut taken = [0u64; FLOWS as usize / 64];
        for index in 0..u64::from(FLOWS / 4) {
            let socket = 0xffff_8881_0000_0000 + index * 2_432;
            let mut places = (0..=FLOW_STEPS).map(|step| flow_place(socket, step) as usize);
            let free = places.find(|place| taken[place / 64] & (1 << (place % 64)) == 0);
            let free = free.expect("a place");
            taken[free / 64] |= 1 << (free % 64);
        }
        let places: [u32; 17] = core::array::from_fn(|step| flow_place(77 << 6, step as u32));
        for (index, place) in places.iter().enumerate() {
            assert!(*place < FLOWS && !places[..index].contains(place));
        }
    }

    #[test]
    fn neighbours_have_places_of_their_own_that_are_near() {
        let slab = 0xffff_8881_0000_0000_u64;
        let places: [u32; 13] = core::array::from_fn(|index| flow_place(slab + index as u64 * 2_432, 0));
        for pair in places.windows(2) {
            assert!(
                (1..=2).contains(&(pair[1].wrapping_sub(pair[0]) & (FLOWS - 1))),
                "{places:?}"
            );
        }
        // Slabs anywhere in 64 GiB: what they say of each other is nothing.
        let mut taken = [0u8; FLOWS as usize / 16];
        for index in 0..u64::from(FLOWS / 16) {
            let far = slab + (index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 28 & !0x7fff);
            taken[flow_place(far, 0) as usize / 16] += 1;
        }
        assert!(taken.iter().all(|slabs| *slabs < 10));
        // One slot for two sockets, whose tags differ.
        let (one, other) = (slab, slab + (1 << 40));
        assert!(!start_is_of(other, start_value(one, 5_000, false, false)));
    }

    #[test]
    fn ports_of_one_host_are_of_different_kinds() {
        let host = u32::from_ne_bytes([192, 0, 2, 1]);
        let mut seen = [0u32; REQUEST_KINDS];
        for port in 32_768..33_768 {
            seen[request_kind(port, host, 0)] += 1;
        }
        assert!(seen.iter().all(|count| (40..85).contains(count)), "{seen:?}");
    }

    #[test]
    fn neighbours_get_different_slots() {
        // Sockets of one slab are 2.4 KiB apart or so.
        let mut seen = [usize::MAX; 1_000];
        let mut collisions = 0;
        for index in 0..1_000u64 {
            let slot = start_slot(0xffff_8881_0000_0000 + index * 2_432) as usize;
            collisions += u32::from(seen.contains(&slot));
            seen[usize::try_from(index).unwrap()] = slot;
        }
        assert!(collisions < 40, "{collisions} collisions among 1,000 sockets");
    }
}
