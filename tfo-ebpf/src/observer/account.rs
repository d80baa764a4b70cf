//! Counting: totals, losses, cross-check, destination table.

use aya_ebpf::bindings::BPF_NOEXIST;
use tfo_common::{
    CrossCheck, DestCounts, DestKey, Loss, Outcome, Role,
    counters::{Stat, stat_index, total_index},
    limits,
    listener::Arrival,
    slots,
};

pub use crate::atomic::{add, add_one32, add32};
use crate::{
    kern::Typed,
    layout::{Position, layout},
    observer::{
        cpu,
        flow::Flow,
        maps::{
            TFO_ARRIVALS, TFO_ARRIVED, TFO_DESTS, TFO_LIVED, TFO_LOSSES, TFO_NETNS, TFO_TOTALS,
            ZERO_ARRIVALS, ZERO_DEST, ZERO_LIVED, ZERO_NETNS, config,
        },
    },
    ops::{AF_INET6, Address, Ops},
};

/// An index, compared where it is used. LLVM knows the range of a type and leaves the comparison out, but 6.1 forgets a
/// range with the register it puts on the stack ("R2 max value is outside of the allowed memory range").
#[inline(always)]
pub fn below(mut index: usize, bound: usize) -> Option<usize> {
    // SAFETY: changes nothing; hides from LLVM what it knows of the number.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) index) };
    (index < bound).then_some(index)
}

/// Counts a finished handshake.
#[inline(always)]
pub fn total(role: Role, outcome: Outcome) {
    // Per CPU, and atomic all the same: a softirq may come between load and store of a program that runs
    // in the context of connect().
    if let Some(slot) = TFO_TOTALS.get_ptr_mut(total_index(role, outcome)) {
        add(slot, 1);
    }
}

/// Counts something that was not seen or not kept.
#[inline(always)]
pub fn lost(loss: Loss) {
    if let Some(slot) = TFO_LOSSES.get_ptr_mut(loss as u32) {
        add(slot, 1);
    }
}

/// Counts bookkeeping.
#[inline(always)]
pub fn stat(stat: Stat) {
    if let Some(slot) = TFO_LOSSES.get_ptr_mut(stat_index(stat)) {
        add(slot, 1);
    }
}

/// Counts for the comparison with the kernel's own counters, in the network namespace with this inode.
#[inline(always)]
pub fn cross_check(netns: u32, what: CrossCheck) {
    if netns == 0 {
        return;
    }
    let mut row = TFO_NETNS.get_ptr_mut(netns);
    if row.is_none() {
        // Loses to another CPU that inserts at the same time: then the row is there as well.
        let _ = TFO_NETNS.insert(netns, &ZERO_NETNS, u64::from(BPF_NOEXIST));
        row = TFO_NETNS.get_ptr_mut(netns);
    }
    match row {
        // SAFETY: points to a map value; the index is a constant below COUNT.
        Some(row) => add(unsafe { &raw mut (*row).counts[what as usize] }, 1),
        None => lost(Loss::NetnsFull),
    }
}

/// Counts a connection whose SYN data was accepted for its network namespace, as the kernel has.
#[inline(always)]
pub fn accepted(netns: u32, role: Role) {
    match role {
        Role::Client => cross_check(netns, CrossCheck::Active),
        Role::Server => cross_check(netns, CrossCheck::Passive),
    }
}

/// Counts a SYN with Fast Open for the listener at this address.
#[inline(always)]
pub fn arrived(listener: u64, what: Arrival) {
    if listener == 0 {
        return;
    }
    if let Some(counts) = claim_arrived(listener) {
        // SAFETY: points to a map value; the index is a constant below COUNT.
        let count = unsafe { &raw mut (*counts)[what as usize] };
        if config!(arrived_alone) == 0 {
            return add(count, 1);
        }
        // The row is this CPU's, and a SYN comes in, and its SYN-ACK leaves, with softirqs off (`tcp_v4_rcv`: segments of a listener never
        // wait for a task, as those of other sockets do): nobody else adds to the row meanwhile, and a locked addition, which waits for
        // all stores before it, is not needed. If another CPU forgets the counts at this moment (`forget_arrivals`), they come back: the
        // socket that has this address now began to listen a moment ago.
        // SAFETY: as above, aligned.
        return unsafe { count.write_volatile(count.read_volatile() + 1) };
    }
    let mut row = TFO_ARRIVALS.get_ptr_mut(listener);
    if row.is_none() {
        // Loses to another CPU that inserts at the same time: then the row is there as well.
        if TFO_ARRIVALS
            .insert(listener, &ZERO_ARRIVALS, u64::from(BPF_NOEXIST))
            .is_ok()
        {
            stat(Stat::ListenersCounted);
        }
        row = TFO_ARRIVALS.get_ptr_mut(listener);
    }
    if let Some(row) = row {
        // SAFETY: points to a map value; the index is a constant below COUNT.
        add(unsafe { &raw mut (*row)[what as usize] }, 1);
    }
}

/// The counts at the place of a listener on this CPU, if it has it, or may have it now.
#[inline(always)]
fn claim_arrived(listener: u64) -> Option<*mut [u64; Arrival::COUNT]> {
    let place = TFO_ARRIVED.get_ptr_mut(slots::arrived_place(listener, cpu::number()))?;
    // SAFETY: a live map value. Two that claim at once see each other, for additions come one after another: then neither has it.
    unsafe {
        let owner = &raw mut (*place).listener;
        let mut has_it = owner.read_volatile() == listener;
        let claimed = &raw mut (*place).claims;
        if !has_it && claimed.read_volatile() == 0 {
            add(claimed, 1);
            has_it = claimed.read_volatile() == 1;
            if has_it {
                owner.write_volatile(listener);
            }
        }
        has_it.then_some(&raw mut (*place).counts)
    }
}

/// The same on a CPU, where the listener has it already.
#[inline(always)]
fn arrived_on(listener: u64, cpu: u32) -> Option<*mut [u64; Arrival::COUNT]> {
    let place = TFO_ARRIVED.get_ptr_mut(slots::arrived_place(listener, cpu))?;
    // SAFETY: a live map value.
    unsafe { ((*place).listener == listener).then_some(&raw mut (*place).counts) }
}

/// What was counted for a listener.
#[inline(always)]
pub fn arrivals(listener: u64) -> [u64; Arrival::COUNT] {
    // SAFETY: the value is copied out at once.
    let mut sum = unsafe { TFO_ARRIVALS.get(listener) }
        .copied()
        .unwrap_or([0; Arrival::COUNT]);
    for cpu in 0..limits::ARRIVED_CPUS {
        if let Some(counts) = arrived_on(listener, cpu) {
            for (sum, count) in sum.iter_mut().zip(0..Arrival::COUNT) {
                // SAFETY: a live map value; every index is below the length.
                *sum += unsafe { (&raw const (*counts)[count]).read_volatile() };
            }
        }
    }
    sum
}

/// Forgets what was counted for another listener at this address.
#[inline(always)]
pub fn forget_arrivals(listener: u64) {
    for cpu in 0..limits::ARRIVED_CPUS {
        if let Some(counts) = arrived_on(listener, cpu) {
            for count in 0..Arrival::COUNT {
                // SAFETY: a live map value; every index is below the length.
                unsafe { (&raw mut (*counts)[count]).write_volatile(0) };
            }
        }
    }
    if TFO_ARRIVALS.remove(listener).is_ok() {
        stat(Stat::ListenersForgotten);
    }
}

/// The destination a connection belongs to.
#[inline(always)]
pub fn dest_key(ops: &Ops, role: Role, cgroup_id: u64) -> DestKey {
    let family = ops.family();
    let port = match role {
        Role::Client => ops.remote_port(),
        Role::Server => ops.local_port(),
    };
    key(role as u8, family, ops.remote(family), port, cgroup_id)
}

/// The destination a flow belongs to.
#[inline(always)]
pub fn dest_of(flow: &Flow) -> DestKey {
    let port = if flow.role == Role::Server as u8 {
        flow.local_port
    } else {
        flow.remote_port
    };
    key(flow.role, flow.family, flow.remote, port, flow.cgroup_id)
}

#[inline(always)]
fn key(role: u8, family: u8, mut remote: Address, port: u16, cgroup_id: u64) -> DestKey {
    if role == Role::Server as u8 {
        // Masks, not a loop over prefix bits: unrolled it was a third of the whole program.
        remote = if family == 4 {
            remote.masked([config!(server_v4_mask), 0, 0, 0])
        } else {
            remote.masked(config!(server_v6_mask))
        };
    }
    DestKey {
        cgroup_id,
        remote: remote.bytes(),
        port,
        role,
        family,
        pad: 0,
    }
}

/// Family on the wire, local and remote address of a socket that has a connection, or had one until now. By its IPv6 address:
/// an IPv6 socket has an IPv4 one as well, with an IPv4-mapped peer that of the peer (`tcp_v6_connect`), else, as a server's,
/// 127.0.0.6 (`LOOPBACK4_IPV6`, `tcp_v6_syn_recv_sock`).
#[inline(always)]
pub fn addresses(tcp: Typed) -> (u8, Address, Address) {
    let (local_at, remote_at) = (layout!(skc_v6_rcv_saddr), layout!(skc_v6_daddr));
    if tcp.uint(layout!(skc_family)) == u64::from(AF_INET6) && local_at.is_present() && remote_at.is_present()
    {
        let remote = v6_at(tcp, remote_at);
        if !remote.is_mapped() {
            return (6, v6_at(tcp, local_at), remote);
        }
    }
    let v4 = |word: u64| Address {
        words: [word as u32, 0, 0, 0],
    };
    let local = v4(tcp.uint(layout!(skc_rcv_saddr)));
    (4, local, v4(tcp.uint(layout!(skc_daddr))))
}

/// An IPv6 address of a socket. To be called only where [`Position::is_present`].
#[inline(always)]
fn v6_at(tcp: Typed, at: Position) -> Address {
    Address::of(tcp.word64(at, 0), tcp.word64(at, 8))
}

/// The destination of a client's socket that has a connection, or had one until now.
#[inline(always)]
pub fn dest_of_client(tcp: Typed) -> DestKey {
    let (family, _, remote) = addresses(tcp);
    let port = u16::from_be(tcp.uint(layout!(skc_dport)) as u16);
    key(Role::Client as u8, family, remote, port, tcp.cgroup_id())
}

/// Counts a connection that ended late.
#[inline(always)]
pub fn lived(key: &DestKey, age_us: u64, bytes: u64) {
    let mut row = TFO_LIVED.get_ptr_mut(key);
    if row.is_none() {
        // Loses to another CPU that inserts at the same time: then the row is there as well. In a full table it is not.
        let _ = TFO_LIVED.insert(key, &ZERO_LIVED, u64::from(BPF_NOEXIST));
        row = TFO_LIVED.get_ptr_mut(key);
    }
    if let Some(row) = row {
        // SAFETY: points to a map value.
        unsafe {
            add(&raw mut (*row).ended, 1);
            add(&raw mut (*row).lived_us, age_us);
            add(&raw mut (*row).bytes, bytes);
        }
    }
}

/// The row of a destination, inserted if new; `None` is counted.
#[inline(always)]
pub fn dest_row(key: &DestKey) -> Option<*mut DestCounts> {
    if let Some(row) = TFO_DESTS.get_ptr_mut(key) {
        return Some(row);
    }
    if TFO_DESTS.insert(key, &ZERO_DEST, u64::from(BPF_NOEXIST)).is_ok() {
        stat(Stat::DestInserted);
    }
    let row = TFO_DESTS.get_ptr_mut(key);
    if row.is_none() {
        lost(Loss::DestInsert);
    }
    row
}
