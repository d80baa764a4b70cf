//! Durations as the kernel side stores them: microseconds in a `u32`, and their log2 buckets.

use crate::limits::BUCKETS;

/// "Not seen" in every `u32` microsecond field.
pub const UNSEEN_US: u32 = u32::MAX;

/// Microseconds from `start` to `end` (both `CLOCK_MONOTONIC` ns), saturating below [`UNSEEN_US`]; 0 where
/// `end` is not after `start`.
#[inline(always)]
pub const fn us_between(start: u64, end: u64) -> u32 {
    let us = end.saturating_sub(start) / 1_000;
    if us >= UNSEEN_US as u64 {
        UNSEEN_US - 1
    } else {
        us as u32
    }
}

/// Histogram bucket of a duration: `i` such that `us < 2^i`, the last bucket for all larger ones.
#[inline(always)]
pub const fn bucket(us: u32) -> usize {
    let bits = (u32::BITS - us.leading_zeros()) as usize;
    if bits >= BUCKETS { BUCKETS - 1 } else { bits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_powers_of_two() {
        for (us, want) in [
            (0, 0),
            (1, 1),
            (2, 2),
            (3, 2),
            (4, 3),
            (1_000, 10),
            (1 << 22, 23),
            (u32::MAX, 23),
        ] {
            assert_eq!(bucket(us), want, "{us} us");
        }
    }

    #[test]
    fn differences_saturate() {
        assert_eq!(us_between(1_000, 3_999), 2);
        assert_eq!(us_between(5, 4), 0);
        assert_eq!(us_between(0, u64::MAX), UNSEEN_US - 1);
    }
}
