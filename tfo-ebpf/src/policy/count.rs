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

/// What is in force; `None` never. To be asked for once: each look-up is a line of instructions.
#[inline(always)]
pub fn in_force<'a>() -> Option<&'a InForce> {
    TFO_POL_FORCE.get(0)
}

/// What was found out; likewise. Every CPU reads it all the time: to be written only where that changes anything.
#[inline(always)]
pub fn learned<'a>() -> Option<&'a mut Learned> {
    // SAFETY: points into an array; aligned loads and stores of numbers that only ever become something else than zero.
    TFO_POL_LEARNED
        .get_ptr_mut(0)
        .and_then(|known| unsafe { known.as_mut() })
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
