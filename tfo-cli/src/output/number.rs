//! Numbers as people read them: three significant digits and a unit.

/// A duration: `0`, `850us`, `12.3ms`, `1.02s`, `4m05s`, `3h20m`.
pub fn duration(us: u64) -> String {
    let value = us as f64;
    match us {
        0 => "0".to_owned(),
        1..1_000 => format!("{us}us"),
        1_000..1_000_000 => format!("{}ms", three_digits(value / 1e3)),
        1_000_000..60_000_000 => format!("{}s", three_digits(value / 1e6)),
        60_000_000..3_600_000_000 => format!("{}m{:02}s", us / 60_000_000, us / 1_000_000 % 60),
        _ => format!("{}h{:02}m", us / 3_600_000_000, us / 60_000_000 % 60),
    }
}

/// A duration with its sign.
pub fn signed_duration(us: i64) -> String {
    let sign = match us {
        ..0 => "-",
        0 => "",
        1.. => "+",
    };
    format!("{sign}{}", duration(us.unsigned_abs()))
}

/// A count: as it is up to five digits, then `123k`, `4.56M`, `7.89G`.
pub fn count(count: u64) -> String {
    let value = count as f64;
    match count {
        0..100_000 => count.to_string(),
        100_000..1_000_000 => format!("{}k", three_digits(value / 1e3)),
        1_000_000..1_000_000_000 => format!("{}M", three_digits(value / 1e6)),
        _ => format!("{}G", three_digits(value / 1e9)),
    }
}

/// A number of bytes, in powers of 1024: `900B`, `1.50K`, `2.00M`.
pub fn bytes(bytes: u64) -> String {
    let value = bytes as f64;
    match bytes {
        0..1_024 => format!("{bytes}B"),
        1_024..1_048_576 => format!("{}K", three_digits(value / 1024.0)),
        1_048_576..1_073_741_824 => format!("{}M", three_digits(value / 1_048_576.0)),
        _ => format!("{}G", three_digits(value / 1_073_741_824.0)),
    }
}

/// A rate per second out of a count and the ns it took.
pub fn rate(count_in_interval: u64, interval_ns: u64) -> String {
    if interval_ns == 0 {
        return "-".to_owned();
    }
    let per_second = count_in_interval as f64 * 1e9 / interval_ns as f64;
    if per_second < 10_000.0 {
        three_digits(per_second)
    } else {
        format!("{}k", three_digits(per_second / 1e3))
    }
}

/// A share of 0 to 1: `93%`. Only the whole is 100 %, only nothing is 0 %.
pub fn percent(share: f64) -> String {
    let rounded = (share * 100.0).round();
    if share < 1.0 && rounded >= 100.0 {
        ">99%".to_owned()
    } else if share > 0.0 && rounded <= 0.0 {
        "<1%".to_owned()
    } else {
        format!("{rounded:.0}%")
    }
}

fn three_digits(value: f64) -> String {
    match value {
        ..9.995 => format!("{value:.2}"),
        9.995..99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        let table = [
            (0, "0"),
            (999, "999us"),
            (1_000, "1.00ms"),
            (12_345, "12.3ms"),
            (999_950, "1000ms"),
            (1_024_000, "1.02s"),
            (59_999_999, "60.0s"),
            (60_000_000, "1m00s"),
            (3_599_000_000, "59m59s"),
            (12_000_000_000, "3h20m"),
        ];
        for (us, want) in table {
            assert_eq!(duration(us), want);
        }
        assert_eq!([-1_500, 0, 20].map(signed_duration), ["-1.50ms", "0", "+20us"]);
    }

    #[test]
    fn counts_and_bytes_stay_short() {
        assert_eq!(
            [0, 99_999, 123_456, 4_560_000].map(count),
            ["0", "99999", "123k", "4.56M"]
        );
        assert_eq!(
            [0, 1_023, 1_536, 2 << 20].map(bytes),
            ["0B", "1023B", "1.50K", "2.00M"]
        );
        for exponent in 0..64 {
            assert!(count(1 << exponent).len() <= 11);
        }
    }

    #[test]
    fn only_all_is_a_hundred_per_cent() {
        assert_eq!(
            [0.0, 0.001, 0.5, 0.999, 1.0].map(percent),
            ["0%", "<1%", "50%", ">99%", "100%"]
        );
        assert_eq!(rate(5, 0), "-");
        assert_eq!(rate(5, 2_000_000_000), "2.50");
    }
}
