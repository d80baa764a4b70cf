//! The kernel's cookie cache (`tcp_metrics`), as `tfo-cli cookies` shows it: which entries are meant, in which order.
//!
//! Pure: entries come from [`crate::kernel::tcp_metrics`].

use std::net::IpAddr;

use crate::{addr::Prefix, fingerprint::Fingerprint, inspect::places::Netns};

/// One entry of the cache: a pair of addresses, no ports (`struct tcp_metrics_block`, `net/ipv4/tcp_metrics.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The other end.
    pub destination: IpAddr,
    /// This host's end.
    pub source: Option<IpAddr>,
    /// Segment size the server announced when it answered Fast Open.
    pub mss: Option<u16>,
    /// SYNs with data that were lost one after the other.
    pub syn_drops: Option<SynDrops>,
    /// The cookie.
    pub cookie: Option<Cookie>,
    /// Time since the kernel last wrote metrics into the entry, ms: not the age of the cookie.
    pub age_ms: Option<u64>,
}

/// Lost SYNs with data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynDrops {
    /// How many in a row; one that arrives sets it to zero. At most 1023.
    pub count: u16,
    /// Time since the latest, ms.
    pub age_ms: Option<u64>,
}

/// A cookie, without the cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Salted hash.
    pub fingerprint: Fingerprint,
    /// Bytes: 4 to 16; Linux servers give 8.
    pub len: usize,
}

impl Entry {
    /// Whether Fast Open had a part in it. The same cache keeps round-trip times of every destination.
    pub fn is_fast_open(&self) -> bool {
        self.mss.is_some() || self.syn_drops.is_some() || self.cookie.is_some()
    }
}

/// An entry and the namespace it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// Where.
    pub netns: Netns,
    /// What.
    pub entry: Entry,
}

impl Cached {
    /// What tells it from every other: `4026531840/192.0.2.1/198.51.100.7`.
    pub fn id(&self) -> String {
        let source = self
            .entry
            .source
            .map_or_else(|| "-".to_owned(), |ip| ip.to_string());
        format!("{}/{source}/{}", self.netns.inode, self.entry.destination)
    }
}

/// Those with a part in Fast Open, to these destinations; by namespace, destinations with lost SYNs first.
pub fn select(mut found: Vec<Cached>, destinations: Option<&Prefix>) -> Vec<Cached> {
    found.retain(|cached| {
        cached.entry.is_fast_open()
            && destinations.is_none_or(|prefix| prefix.contains(cached.entry.destination))
    });
    found.sort_by_key(|cached| {
        let drops = cached.entry.syn_drops.map_or(0, |drops| drops.count);
        let entry = &cached.entry;
        (
            cached.netns.inode,
            std::cmp::Reverse(drops),
            entry.destination,
            entry.source,
        )
    });
    found
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::fingerprint::{Salt, Secret};

    /// An entry with a cookie.
    pub fn cached(inode: u32, destination: &str, drops: u16) -> Cached {
        let salt = Salt::of_text("tests");
        Cached {
            netns: Netns {
                inode,
                name: (inode == 1).then(|| "host".to_owned()),
            },
            entry: Entry {
                destination: destination.parse().expect("an address"),
                source: Some("192.0.2.1".parse().expect("an address")),
                mss: Some(1460),
                syn_drops: (drops > 0).then_some(SynDrops {
                    count: drops,
                    age_ms: Some(61_000),
                }),
                cookie: Some(Cookie {
                    fingerprint: salt.fingerprint(Secret::Cookie, destination.as_bytes()),
                    len: 8,
                }),
                age_ms: Some(1_500),
            },
        }
    }

    #[test]
    fn entries_without_fast_open_are_not_meant() {
        let mut plain = cached(1, "198.51.100.9", 0);
        plain.entry.mss = None;
        plain.entry.cookie = None;
        let worst = cached(1, "198.51.100.8", 3);
        let found = vec![
            plain,
            cached(2, "198.51.100.1", 0),
            cached(1, "198.51.100.7", 0),
            worst,
        ];
        let ids = |found: &[Cached]| found.iter().map(Cached::id).collect::<Vec<_>>();
        assert_eq!(
            ids(&select(found.clone(), None)),
            [
                "1/192.0.2.1/198.51.100.8",
                "1/192.0.2.1/198.51.100.7",
                "2/192.0.2.1/198.51.100.1"
            ]
        );
        let prefix = "198.51.100.0/29".parse().expect("a prefix");
        assert_eq!(
            ids(&select(found, Some(&prefix))),
            ["1/192.0.2.1/198.51.100.7", "2/192.0.2.1/198.51.100.1"]
        );
    }
}
