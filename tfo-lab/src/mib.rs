//! The kernel's TCP counters of a namespace (`TcpExt` and `Tcp`), and the difference of two readings.

use std::{collections::BTreeMap, fs, ops::Deref};

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// The counters of Fast Open, in the order of docs/kernel-facts.md section 3.
pub const FAST_OPEN: [&str; 8] = [
    "TCPFastOpenActive",
    "TCPFastOpenActiveFail",
    "TCPFastOpenPassive",
    "TCPFastOpenPassiveFail",
    "TCPFastOpenListenOverflow",
    "TCPFastOpenCookieReqd",
    "TCPFastOpenBlackhole",
    "TCPFastOpenPassiveAltKey",
];

/// Counter values by name. A counter the kernel does not have is absent, not zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Mib(BTreeMap<String, u64>);

impl Mib {
    /// Reads the counters of `namespace`.
    pub fn read(namespace: &Namespace) -> Result<Self> {
        namespace.run(Self::read_current)
    }

    /// Reads the counters of the calling thread's namespace.
    pub fn read_current() -> Result<Self> {
        // `/proc/net` would be that of the namespace of the process's first thread.
        let mut counters = BTreeMap::new();
        for path in ["/proc/thread-self/net/netstat", "/proc/thread-self/net/snmp"] {
            let text = fs::read_to_string(path).with_context(|| format!("{path}: reading the counters"))?;
            counters.append(&mut Self::parse(&text).0);
        }
        Ok(Self(counters))
    }

    /// Parses the pairs of lines (`TcpExt: names`, `TcpExt: values`) of `/proc/net/netstat` or
    /// `/proc/net/snmp`. Anything malformed is left out.
    pub fn parse(text: &str) -> Self {
        let mut counters = BTreeMap::new();
        let mut lines = text.lines().peekable();
        while let Some(names) = lines.next() {
            let Some((group @ ("TcpExt" | "Tcp"), names)) = names.split_once(':') else {
                continue;
            };
            let Some(values) = lines.peek().and_then(|line| line.split_once(':')) else {
                continue;
            };
            if values.0 != group {
                continue;
            }
            for (name, value) in names.split_whitespace().zip(values.1.split_whitespace()) {
                if let Ok(value) = value.parse() {
                    counters.insert(name.to_owned(), value);
                }
            }
            lines.next();
        }
        Self(counters)
    }

    /// The value of one counter; `None` if this kernel does not have it.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// What was counted since `earlier`, without the counters that did not change.
    pub fn since(&self, earlier: &Self) -> Delta {
        let moved = self.0.iter().filter_map(|(name, now)| {
            let before = earlier.0.get(name)?;
            (now != before).then(|| (name.clone(), now.wrapping_sub(*before)))
        });
        Delta(moved.collect())
    }
}

/// The difference of two readings: only counters that changed are in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Delta(BTreeMap<String, u64>);

impl Delta {
    /// By how much `name` grew; 0 if it did not change or does not exist.
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// Only the `TCPFastOpen*` counters.
    pub fn fast_open(&self) -> BTreeMap<&str, u64> {
        let wanted = self.0.iter().filter(|(name, _)| name.starts_with("TCPFastOpen"));
        wanted.map(|(name, count)| (name.as_str(), *count)).collect()
    }
}

impl Deref for Delta {
    type Target = BTreeMap<String, u64>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &str = "TcpExt: SyncookiesSent TCPFastOpenActive TCPTimeouts\n\
                          TcpExt: 3 18446744073709551615 7\n\
                          IpExt: InNoRoutes\nIpExt: 9\n";

    #[test]
    fn reads_names_and_values_of_tcp_groups_only() {
        let mib = Mib::parse(SAMPLE);
        assert_eq!(mib.get("SyncookiesSent"), Some(3));
        assert_eq!(mib.get("TCPFastOpenActive"), Some(u64::MAX));
        assert_eq!(mib.get("InNoRoutes"), None);
        assert_eq!(mib.get("TCPFastOpenBlackhole"), None);
    }

    #[test]
    fn delta_holds_only_what_moved() {
        let later = Mib::parse(&SAMPLE.replace(" 7\n", " 9\n"));
        let delta = later.since(&Mib::parse(SAMPLE));
        assert_eq!(
            (delta.len(), delta.of("TCPTimeouts"), delta.of("SyncookiesSent")),
            (1, 2, 0)
        );
    }

    #[test]
    fn names_without_values_are_left_out() {
        assert_eq!(Mib::parse("TcpExt: A B\nTcpExt: 1\n").get("B"), None);
        assert_eq!(Mib::parse("TcpExt: A\n"), Mib::default());
        assert_eq!(
            Mib::parse("TcpExt: A\nIpExt: 1\nTcpExt: A\nTcpExt: 5").get("A"),
            Some(5)
        );
        assert_eq!(Mib::parse("TcpExt: A B\nTcpExt: x -1\n"), Mib::default());
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            Mib::parse(&text);
        }

        #[test]
        fn near_misses_are_survived(text in "((TcpExt|Tcp|IpExt)?[: ]{0,3}([A-Z]{1,3}|[0-9]{0,22}|-1)[ \n]){0,40}") {
            Mib::parse(&text);
        }

        #[test]
        fn what_is_written_is_read(values in prop::collection::vec(any::<u64>(), 1..60)) {
            let names: Vec<_> = (0..values.len()).map(|index| format!("N{index}")).collect();
            let numbers: Vec<_> = values.iter().map(u64::to_string).collect();
            let mib = Mib::parse(&format!("TcpExt: {}\nTcpExt: {}\n", names.join(" "), numbers.join(" ")));
            for (name, value) in names.iter().zip(&values) {
                prop_assert_eq!(mib.get(name), Some(*value));
            }
        }
    }
}
