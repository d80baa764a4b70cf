//! Counters and switches.

use aya_ebpf::helpers::generated::bpf_ktime_get_ns;
use tfo_common::policy::{Stat, Switch};

use crate::{
    atomic,
    policy::maps::{TFO_POL_HITS, TFO_POL_STATS, TFO_POL_SWITCH},
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

/// Reads a switch.
#[inline(always)]
pub fn switch(which: Switch) -> u32 {
    TFO_POL_SWITCH.get(which as u32).copied().unwrap_or(0)
}

/// Sets a switch.
#[inline(always)]
pub fn set_switch(which: Switch, value: u32) {
    if let Some(slot) = TFO_POL_SWITCH.get_ptr_mut(which as u32) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = value };
    }
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}
