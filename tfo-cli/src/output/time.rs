//! Points in time as text. Always UTC: an incident crosses hosts, and logs of one host should line up with
//! those of the next.

use jiff::Timestamp;

/// RFC 3339 with microseconds: `2026-01-02T03:04:05.000600Z`.
pub fn rfc3339(wall_ns: i128) -> String {
    format!("{:.6}", whole_us(wall_ns))
}

/// Time of day with microseconds: `03:04:05.000600`.
pub fn of_day(wall_ns: i128) -> String {
    whole_us(wall_ns).strftime("%H:%M:%S%.6f").to_string()
}

/// Time of day in whole seconds: `03:04:05`.
pub fn of_day_seconds(wall_ns: i128) -> String {
    whole_us(wall_ns).strftime("%H:%M:%S").to_string()
}

/// For file names: `20260102T030405Z`.
pub fn compact(wall_ns: i128) -> String {
    whole_us(wall_ns).strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// Cut, not rounded: a time must not move past the one after it.
fn whole_us(wall_ns: i128) -> Timestamp {
    let us = i64::try_from(wall_ns.div_euclid(1_000)).unwrap_or(0);
    Timestamp::from_microsecond(us).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_with_microseconds() {
        assert_eq!(rfc3339(1_767_323_045_000_600_999), "2026-01-02T03:04:05.000600Z");
        assert_eq!(of_day(1_767_323_045_000_600_999), "03:04:05.000600");
        assert_eq!(of_day_seconds(1_767_323_045_999_999_999), "03:04:05");
        assert_eq!(rfc3339(-1), "1969-12-31T23:59:59.999999Z");
        assert_eq!(rfc3339(i128::MAX), "1970-01-01T00:00:00.000000Z");
    }
}
