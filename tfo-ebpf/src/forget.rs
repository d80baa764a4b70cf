//! Numbers the verifier is to know nothing about.
//!
//! It follows every value it can tell from another by itself: what is behind a loop once for each round the loop may
//! have ended after, what is behind a branch once for each side. Where a number only ends up in a key, a comparison or a
//! helper that checks it, that multiplies instructions for nothing.

use core::arch::asm;

/// The same number, unknown to the verifier. `noise`: any number it knows nothing about, the time for one.
#[inline(always)]
pub fn forget(number: u64, noise: u64) -> u64 {
    let mut number = number;
    // SAFETY: changes this one register.
    unsafe { asm!("{0} ^= {1}", "{0} ^= {1}", inout(reg) number, in(reg) noise) };
    number
}
