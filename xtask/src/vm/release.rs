//! Kernel releases and their series: `6.1.0-56-cloud-amd64` is of the series 6.1, which comes before 6.12.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

/// The first two numbers of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Series {
    pub major: u32,
    pub minor: u32,
}

impl Series {
    pub const fn new(major: u32, minor: u32) -> Self {
        Self { major, minor }
    }

    /// The series of a release, as `uname -r` prints it.
    pub fn of(release: &str) -> Result<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
        match (numbers.next(), numbers.next()) {
            (Some(Ok(major)), Some(Ok(minor))) => Ok(Self { major, minor }),
            _ => anyhow::bail!("`{release}` is no kernel release"),
        }
    }
}

impl fmt::Display for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl From<Series> for String {
    fn from(series: Series) -> Self {
        series.to_string()
    }
}

impl TryFrom<String> for Series {
    type Error = anyhow::Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Series {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (major, minor) = text.split_once('.').context("a series is two numbers: 6.12")?;
        let series = Self {
            major: major.parse().context("a series is two numbers: 6.12")?,
            minor: minor.parse().context("a series is two numbers: 6.12")?,
        };
        ensure!(series.major > 0, "there was no series {series}");
        Ok(series)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_belong_to_series_that_compare_as_numbers() {
        let of = |release| Series::of(release).unwrap();
        assert_eq!(of("6.1.0-56-cloud-amd64"), Series::new(6, 1));
        assert_eq!(of("7.2.13+deb14-cloud-amd64"), Series::new(7, 2));
        assert_eq!(of("6.18-rc1"), Series::new(6, 18));
        assert!(of("6.1.0") < of("6.12.3") && of("6.12.3") < of("7.0.1"));
        assert!(Series::of("cloud").is_err() && Series::of("").is_err());
        assert_eq!("5.10".parse::<Series>().unwrap().to_string(), "5.10");
        for wrong in ["5", "5.x", "0.1", "/boot/vmlinuz"] {
            assert!(wrong.parse::<Series>().is_err(), "{wrong}");
        }
    }
}
