//! The last attempts as bits, newest in bit 0, 1 for a failure.

use super::MAX_WINDOW;

/// A success comes in at bit 0; a failure behind the `later` successes that overtook it. What is older than the
/// last `of` falls out.
#[inline(always)]
pub(super) const fn push(window: u32, of: u8, failed: bool, later: u32) -> u32 {
    let mask = if of >= MAX_WINDOW { u32::MAX } else { (1 << of) - 1 };
    if !failed {
        return window << 1 & mask;
    }
    if later >= of as u32 {
        return window;
    }
    let at = later & 31;
    let newer = (1u32 << at) - 1;
    let older = window & !newer;
    (window & newer | 1 << at | older << 1) & mask
}

/// The same for the marks of some failures, which have to stay beside them.
#[inline(always)]
pub(super) const fn push_beside(marks: u32, of: u8, failed: bool, marked: bool, later: u32) -> u32 {
    let pushed = push(marks, of, failed, later);
    if failed && !marked && later < of as u32 {
        pushed & !(1 << (later & 31))
    } else {
        pushed
    }
}
