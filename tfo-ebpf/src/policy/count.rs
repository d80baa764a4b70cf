//! Counters, and what the programs have to know before anything else.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tfo_common::policy::{InForce, Learned, Stat};

use crate::{
    atomic,
    policy::maps::{TFO_POL_FORCE, TFO_POL_HITS, TFO_POL_LEARNED, TFO_POL_STATS},
};

/// Counts one. By CPU, because two of them count every watched handshake; and atomic all the same: a softirq may come between
/// load and store of a program that runs in the context of connect().
#[inline(always)]
pub fn stat(which: Stat) {
    if let Some(slot) = TFO_POL_STATS.get_ptr_mut(which as u32) {
        atomic::add(slot, 1);
    }
}

/// Counts a connection a rule applied to.
#[inline(always)]
pub fn hit(rule: u32, now: u64) {
    if let Some(hits) = TFO_POL_HITS.get_ptr_mut(rule) {
        // SAFETY: points into a preallocated map; one atomic add and one aligned store.
        unsafe {
            atomic::add(&raw mut (*hits).count, 1);
            (*hits).last_ns = now;
        }
    }
}

/// What is in force.
#[inline(always)]
pub fn in_force<'a>() -> &'a InForce {
    // SAFETY: user space has made the array, which lives as long as this program; it changes the numbers one by one.
    unsafe { &*TFO_POL_FORCE.address() }
}

/// What was found out. Every CPU reads it all the time: to be written only where that changes anything.
#[inline(always)]
pub fn learned<'a>() -> &'a mut Learned {
    // SAFETY: likewise; aligned loads and stores of numbers that only ever become something else than zero.
    unsafe { &mut *TFO_POL_LEARNED.address() }
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
