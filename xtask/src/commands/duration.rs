//! Reads durations from the command line: `90s`, `10m`, `1h`.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

/// Reads a number with its unit.
pub fn parse(text: &str) -> Result<Duration> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let seconds: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        _ => anyhow::bail!("use for example 90s, 10m or 1h"),
    };
    let number: u64 = number.parse().context("use for example 90s, 10m or 1h")?;
    let all = number.checked_mul(seconds).context("that is for ever")?;
    ensure!(all > 0, "that is no time at all");
    Ok(Duration::from_secs(all))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_and_a_unit() {
        assert_eq!(parse("90s").unwrap(), Duration::from_secs(90));
        assert_eq!(parse("10m").unwrap(), Duration::from_mins(10));
        assert_eq!(parse("1h").unwrap(), Duration::from_hours(1));
        for wrong in [
            "",
            "s",
            "10",
            "0m",
            "-1s",
            "1d",
            "99999999999999999999h",
            "9999999999999999999h",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
