//! What is remembered of a connection without a flow, in one store: when it began, and that its listener's port has a flag of ours.

use aya_ebpf::bindings::bpf_sock;
use tfo_common::{Role, slots};

use super::{number, place::Found};
use crate::{
    observer::{
        clock,
        maps::{TFO_EPOCHS, TFO_PRIMED, TFO_STARTS},
    },
    ops::Ops,
};

/// The start slot of a plain connection, by the number of its socket.
#[inline(always)]
pub fn start_slot(number: u64) -> *mut u64 {
    TFO_STARTS.at(slots::start_slot(number))
}

/// The number of a socket, and its start slot.
#[inline(always)]
pub fn start_of(sk: *mut bpf_sock) -> Option<(u64, *mut u64)> {
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    Some((number, start_slot(number)))
}

/// Remembers in which tick a plain client sent its SYN. To look at the clock takes longer than everything else that is
/// done there, and a SYN that need not be sent again is timed by the kernel.
#[inline(always)]
pub fn set_connecting(sk: *mut bpf_sock) {
    if let Some((number, slot)) = start_of(sk) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = slots::connecting_value(number, clock::jiffies()) };
    }
}

/// Whether the first byte of the connection of a callback is awaited without a flow. Who begins a flow without a flag that
/// tells ends what was awaited for an earlier connection of a socket at the same address ([`forget_start`]).
#[inline(always)]
pub fn is_awaited_plain(ops: &Ops) -> bool {
    // SAFETY: points into an array; one aligned load.
    start_of(ops.sk())
        .is_some_and(|(number, slot)| slots::start_is_of(number, unsafe { slot.read_volatile() }))
}

/// Remembers when a plain connection began. `added`: its callback flag is ours to take back.
#[inline(always)]
pub fn set_start(sk: *mut bpf_sock, ns: u64, role: Role, added: bool) {
    if let Some((number, slot)) = start_of(sk) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = slots::start_value(number, ns, matches!(role, Role::Server), added) };
    }
}

/// Forgets that the first byte of an earlier connection of this socket, or of one at its address, was awaited without a flow.
#[inline(always)]
pub fn forget_start(sk: *mut bpf_sock) {
    if let Some((number, slot)) = start_of(sk) {
        // SAFETY: points into an array; one aligned load, one aligned store.
        unsafe {
            if slots::start_is_of(number, slot.read_volatile()) {
                slot.write_volatile(0);
            }
        }
    }
}

/// Remembers when a connection with Fast Open began, for its end. `added`: the callback flag for its timer is ours to take
/// back, as long as it lives.
#[inline(always)]
pub fn set_born(sk: *mut bpf_sock, ns: u64, added: bool) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    let epoch = epoch_slot(number);
    // SAFETY: both point into arrays; aligned.
    unsafe {
        *born_slot(number) = slots::start_value(number, ns, false, added);
        if epoch.read_volatile() != slots::epoch(ns) {
            epoch.write_volatile(slots::epoch(ns));
        }
    }
}

/// Where the epoch of that is.
#[inline(always)]
fn epoch_slot(number: u64) -> *mut u16 {
    TFO_EPOCHS.at(slots::flow_place(number, 0))
}

/// Whether the connection of a socket began in this epoch. A look at when it began would find that in the cache of another CPU.
#[inline(always)]
pub fn is_of_this_epoch<S>(sk: *mut S, now: u64) -> bool {
    // SAFETY: points into an array; aligned.
    unsafe { epoch_slot(number(sk)).read_volatile() == slots::epoch(now) }
}

/// The slot in which that is remembered, by the number of its socket.
#[inline(always)]
pub fn born_slot(number: u64) -> *mut u64 {
    &raw mut Found::after(number, 0).place.flow.born
}

/// Remembers that listeners at a port have a callback flag of ours, which those that connect to them inherit.
#[inline(always)]
pub fn set_primed(netns: u32, port: u16) {
    let value = slots::primed_value(netns, port);
    // SAFETY: points into an array; one aligned store.
    unsafe { *TFO_PRIMED.at(slots::primed_slot(value)) = value };
}

/// Whether it is remembered.
#[inline(always)]
pub fn is_primed(netns: u32, port: u16) -> bool {
    let value = slots::primed_value(netns, port);
    // SAFETY: points into an array; one aligned load.
    unsafe { TFO_PRIMED.at(slots::primed_slot(value)).read_volatile() == value }
}

/// How long the connection of a socket has lived, ns; `None` where another one took its slot, or nobody saw it begin.
#[inline(always)]
pub fn age_ns<S>(sk: *mut S, now: u64) -> Option<u64> {
    let number = number(sk);
    // SAFETY: points into an array; one aligned load.
    let value = unsafe { born_slot(number).read_volatile() };
    slots::start_is_of(number, value).then(|| slots::age_ns(value, now))
}
