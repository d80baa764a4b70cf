//! What a command asks of the kernel side: `args` makes it, `kernel` carries it out.

use std::{fmt, path::PathBuf};

use tfo_common::limits;

/// The default for the directory of a bpffs in which a policy is pinned.
pub const POLICY_DIRECTORY: &str = "/sys/fs/bpf/tfo-cli";

/// What the observing programs are to see and to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttachOptions {
    /// Observe only sockets of this cgroup and those below it; `None` for the whole host.
    pub cgroup: Option<PathBuf>,
    /// Whether handshakes without Fast Open produce records, too (`trace --all`).
    pub emit_plain: bool,
    /// Rows that the destination table has room for.
    pub destinations: u32,
    /// Bits to which remote IPv4 addresses of the server role are cut in the destination table, 0 to 32.
    pub server_v4_prefix: u8,
    /// Bits to which remote IPv6 addresses of the server role are cut in the destination table, 0 to 128.
    pub server_v6_prefix: u8,
    /// One of this many connections without Fast Open has its time to first byte measured; 1 for every connection.
    pub ttfb_sample: u32,
    /// What observing may cost before something is given up; `None` for whatever it takes.
    pub max_overhead: Option<CpuShare>,
    /// Every so many readings the BPF programs' run time is measured for the length of one.
    pub measure_every: u32,
    /// Age from which on the end of a client's connection with Fast Open is counted as that of a long life, ms.
    pub long_lived_ms: u32,
    /// Directory in which a policy may be pinned.
    pub bpffs: PathBuf,
}

/// [`AttachOptions::measure_every`] where only people look at the figures: measuring costs something as well.
pub const MEASURE_SELDOM: u32 = 8;
/// The same where a limit depends on them.
pub const MEASURE_OFTEN: u32 = 2;

impl Default for AttachOptions {
    fn default() -> Self {
        Self {
            cgroup: None,
            emit_plain: false,
            destinations: limits::DESTS,
            server_v4_prefix: limits::SERVER_V4_PREFIX,
            server_v6_prefix: limits::SERVER_V6_PREFIX,
            ttfb_sample: limits::TTFB_SAMPLE,
            long_lived_ms: limits::LONG_LIVED_MS,
            max_overhead: None,
            measure_every: MEASURE_SELDOM,
            bpffs: POLICY_DIRECTORY.into(),
        }
    }
}

/// A part of the host's CPU time, all cores together, in parts per million.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CpuShare {
    ppm: u32,
}

impl CpuShare {
    /// Reads a percentage, `0.5%`: more than 0, at most 100. Below 0.0001 % there is nothing to tell apart.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXAMPLE: &str = "write a part of the host's CPU, all cores together, such as 0.5%";
        let Some(number) = text.trim().strip_suffix('%') else {
            return Err(format!("'{text}' has no %: {EXAMPLE}"));
        };
        let percent: f64 = number
            .trim()
            .parse()
            .map_err(|_| format!("'{text}' is not a percentage: {EXAMPLE}"))?;
        if !(0.000_1..=100.0).contains(&percent) {
            return Err(format!("'{text}' is not above 0 % and at most 100 %: {EXAMPLE}"));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "1 to 1,000,000"
        )]
        let ppm = (percent * 10_000.0).round() as u32;
        Ok(Self { ppm })
    }

    /// The same, 0 to 1.
    pub fn share(self) -> f64 {
        f64::from(self.ppm) / 1e6
    }
}

impl fmt::Display for CpuShare {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.ppm) / 1e4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages() {
        for (text, shown) in [
            ("0.5%", "0.5 %"),
            ("1 %", "1 %"),
            (" 12.5% ", "12.5 %"),
            ("100%", "100 %"),
        ] {
            assert_eq!(
                CpuShare::parse(text).map(|limit| limit.to_string()),
                Ok(shown.to_owned())
            );
        }
        for (text, why) in [
            ("0.5", "has no %"),
            ("", "has no %"),
            ("%", "not a percentage"),
            ("x%", "not a percentage"),
            ("0%", "not above 0 %"),
            ("-1%", "not above 0 %"),
            ("101%", "not above 0 %"),
            ("nan%", "not above 0 %"),
            ("inf%", "not above 0 %"),
        ] {
            let said = CpuShare::parse(text).expect_err(text);
            assert!(said.contains(why) && said.contains("0.5%"), "{text}: {said}");
        }
    }
}
