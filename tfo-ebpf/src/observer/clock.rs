//! The kernel's clocks, and chance, which is in the low digits of one.

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns};
use tfo_common::flags::Shed;

use crate::observer::{hooks::flags, maps::config};

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The kernel's ticks.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}

/// Whether this plain connection is one of those whose time to first byte is taken; none is where that is shed.
#[inline(always)]
pub fn is_sampled(now: u64) -> bool {
    by_chance(now, config!(ttfb_sample).into()) && !flags::is_shed(Shed::FirstBytes)
}

/// Once in so many times, of 32 bits. Chance is in the clock's low digits: a socket's address would be that of the one
/// before, a counter would keep step with the traffic.
#[inline(always)]
pub fn by_chance(now: u64, one_in: u64) -> bool {
    let chance = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (chance * one_in) >> 32 == 0
}
