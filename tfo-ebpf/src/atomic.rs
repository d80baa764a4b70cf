//! Counters that several CPUs share; used by both objects.

use core::arch::asm;

use tfo_common::exchange;

/// Adds to a counter that several CPUs share.
///
/// Assembly, because the target has no compare-and-swap and `core` therefore hides every atomic
/// read-modify-write; the plain atomic add (`BPF_XADD`) has been there since 3.18.
#[inline(always)]
pub fn add(counter: *mut u64, by: u64) {
    // SAFETY: points into a live map value, aligned to 8.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) counter, in(reg) by, options(nostack)) };
}

/// Whether this kernel has [`compare_exchange`] and this processor keeps stores in order: then who has something alone may give
/// it back by a store. A constant, which user space has put here ([`tfo_common::exchange`]).
#[inline(always)]
pub fn has_exchange() -> bool {
    let has: u64;
    // SAFETY: loads a constant.
    unsafe {
        asm!("{0} = {1} ll", out(reg) has, const exchange::PLACEHOLDER, options(pure, nomem, nostack, preserves_flags));
    }
    has != 0
}

/// Puts a number where `old` is, and returns what was there: `BPF_CMPXCHG`. Only behind [`has_exchange`].
#[inline(always)]
pub fn compare_exchange(place: *mut u64, old: u64, number: u64) -> u64 {
    let found: u64;
    // SAFETY: points into a live map value, aligned to 8.
    unsafe {
        asm!("r0 = cmpxchg_64({0} + 0, r0, {1})", in(reg) place, in(reg) number, inout("r0") old => found, options(nostack));
    }
    found
}

/// Puts a number where another was, and returns that: `BPF_XCHG`, which the verifier has from 5.12 on. Programs that use it
/// are refused before.
#[inline(always)]
pub fn exchange(place: *mut u64, mut number: u64) -> u64 {
    // SAFETY: points into a live map value, aligned to 8.
    unsafe { asm!("{1} = xchg_64({0} + 0, {1})", in(reg) place, inout(reg) number, options(nostack)) };
    number
}

/// Adds to a shared 32-bit counter.
#[inline(always)]
pub fn add32(counter: *mut u32, by: u32) {
    // SAFETY: points into a live map value, aligned to 4.
    unsafe {
        asm!("lock *(u32 *)({0} + 0) += {1}", in(reg) counter, in(reg) u64::from(by), options(nostack))
    };
}

/// Adds one to a shared 32-bit counter.
#[inline(always)]
pub fn add_one32(counter: *mut u32) {
    add32(counter, 1);
}
