//! Durations as the kernel side stores them: microseconds in a `u32`, and their log2 buckets.

use crate::limits::BUCKETS;

/// "Not seen" in every `u32` microsecond field.
pub const UNSEEN_US: u32 = u32::MAX;

/// Whole microseconds of so many nanoseconds. Up to 34 s by a multiplication, whose result is exact: a division takes 5 ns.
#[inline(always)]
pub const fn whole_us(ns: u64) -> u64 {
    // 2^35 / 125, rounded up: 125 divides any number of 32 bits so (Granlund and Montgomery, "Division by Invariant Integers").
    const RECIPROCAL: u64 = 0x1062_4dd3;
    let eighths = ns >> 3;
    if eighths <= u32::MAX as u64 {
        (eighths * RECIPROCAL) >> 35
    } else {
        ns / 1_000
    }
}

/// Microseconds from `start` to `end` (both `CLOCK_MONOTONIC` ns), saturating below [`UNSEEN_US`]; 0 where
/// `end` is not after `start`.
#[inline(always)]
pub const fn us_between(start: u64, end: u64) -> u32 {
    let us = whole_us(end.saturating_sub(start));
    if us >= UNSEEN_US as u64 {
        UNSEEN_US - 1
    } else {
        us as u32
    }
}

/// No handshake takes longer, ms: the kernel sends a SYN again for two minutes (`net.ipv4.tcp_syn_retries` 6).
const LONGEST_MS: u32 = 600_000;

/// `CLOCK_MONOTONIC` ns of a time, not long before `now`, that the clock of TCP timestamps has as 32 bits of milliseconds, or of
/// microseconds (`tcp_time_stamp_ts`, include/net/tcp.h); `now` where it is neither.
#[inline(always)]
pub const fn started_ns(stamp: u32, now: u64) -> u64 {
    let (millis, micros) = (now / 1_000_000, now / 1_000);
    let since = (millis as u32).wrapping_sub(stamp);
    if stamp == 0 {
        return now;
    }
    if since <= LONGEST_MS {
        return millis.saturating_sub(since as u64) * 1_000_000;
    }
    let since = (micros as u32).wrapping_sub(stamp);
    if since <= LONGEST_MS * 1_000 {
        micros.saturating_sub(since as u64) * 1_000
    } else {
        now
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
    fn a_time_of_tcp_timestamps_is_found_in_either_unit() {
        let start = 0x1_2345_6789_abcd_u64;
        let now = start + 3_000_000_000;
        let stamp = |unit: u64| (start / unit) as u32;
        assert_eq!(started_ns(stamp(1_000_000), now), start / 1_000_000 * 1_000_000);
        assert_eq!(started_ns(stamp(1_000), now), start / 1_000 * 1_000);
        assert_eq!(started_ns(0, now), now, "unknown");
        assert_eq!(started_ns(stamp(1), now), now, "neither");
        // Both clocks wrap.
        let (early, late) = (
            u64::from(u32::MAX) * 1_000_000,
            (u64::from(u32::MAX) + 2) * 1_000_000,
        );
        assert_eq!(started_ns(u32::MAX, late), early);
    }

    #[test]
    fn a_multiplication_divides_exactly() {
        let edges = (0..64).flat_map(|bits| [-1_i64, 0, 1].map(|by| (1_u64 << bits).wrapping_add_signed(by)));
        let spread = (0..200_000_u64).map(|index| index.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (index % 50));
        let thousands = (0..100_000_u64).flat_map(|us| [us * 343_597 * 1_000, us * 1_000, us * 1_000 + 999]);
        for ns in edges.chain(spread).chain(thousands) {
            assert_eq!(whole_us(ns), ns / 1_000, "{ns}");
        }
    }

    #[test]
    fn differences_saturate() {
        assert_eq!(us_between(1_000, 3_999), 2);
        assert_eq!(us_between(5, 4), 0);
        assert_eq!(us_between(0, u64::MAX), UNSEEN_US - 1);
    }
}
