//! Durations as people type them. Flags, policy files, the configuration file and filters read the same syntax.

use std::time::Duration;

use jiff::SignedDuration;

/// Examples for messages about durations that cannot be read.
pub const EXAMPLES: &str = "use for example 500ms, 30s, 10m, 1h30m or 2d";

/// A day of 24 hours.
const DAY: Duration = Duration::from_hours(24);

/// Reads a duration such as `500ms`, `90s`, `1h30m`, `1d12h`; a bare number is seconds.
pub fn parse(text: &str) -> Result<Duration, String> {
    let bad = || format!("'{text}' is not a duration: {EXAMPLES}");
    if let Ok(seconds) = text.parse::<f64>() {
        if seconds < 0.0 {
            return Err(negative(text));
        }
        return Duration::try_from_secs_f64(seconds).map_err(|_| bad());
    }
    let (days, rest) = days(text).ok_or_else(bad)?;
    let rest = if rest.is_empty() && days > 0 {
        Duration::ZERO
    } else {
        let signed: SignedDuration = rest.parse().map_err(|_| bad())?;
        Duration::try_from(signed).map_err(|_| negative(text))?
    };
    DAY.checked_mul(days)
        .and_then(|days| days.checked_add(rest))
        .ok_or_else(bad)
}

/// Takes whole days off the front: jiff's durations end at hours, as a day of the calendar may have 23 or 25.
fn days(text: &str) -> Option<(u32, &str)> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (days, rest) = text.split_at(digits);
    match rest.strip_prefix('d') {
        // "2d12h", not "2days".
        Some(rest) if !rest.starts_with(|c: char| c.is_alphabetic()) => Some((days.parse().ok()?, rest)),
        _ => Some((0, text)),
    }
}

fn negative(text: &str) -> String {
    format!("'{text}' is negative, which no duration can be")
}

/// A duration in whole seconds, largest units first: `2d`, `1h30m`, `45s`; milliseconds below one second.
pub fn text(duration: Duration) -> String {
    let mut left = duration.as_secs();
    if left == 0 {
        return format!("{}ms", duration.as_millis());
    }
    let mut text = String::new();
    for (unit, seconds) in [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)] {
        if left >= seconds {
            text.extend([&(left / seconds).to_string(), unit]);
            left %= seconds;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_unit_is_read() {
        for (text, ms) in [
            ("250us", 0),
            ("500ms", 500),
            ("0.5", 500),
            ("30", 30_000),
            ("90s", 90_000),
            ("30 seconds", 30_000),
            ("10m", 600_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1d12h", 129_600_000),
            ("0", 0),
        ] {
            assert_eq!(parse(text).map(|value| value.as_millis()), Ok(ms), "{text}");
        }
        assert_eq!(text(Duration::from_secs(129_661)), "1d12h1m1s");
    }

    #[test]
    fn everything_else_says_why() {
        for text in ["", "d", "xd", "1d-5s", "soon", "99999999999d", "-d", "inf", "nan"] {
            let why = parse(text).expect_err(text);
            assert!(
                why.contains("not a duration") || why.contains("negative"),
                "{text}: {why}"
            );
        }
        for text in ["-5s", "-1"] {
            assert!(parse(text).expect_err(text).contains("negative"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = parse(&text);
        }

        #[test]
        fn durations_round_trip(seconds in 1u64..10_000_000) {
            let value = Duration::from_secs(seconds);
            prop_assert_eq!(parse(&text(value)), Ok(value));
        }
    }
}
