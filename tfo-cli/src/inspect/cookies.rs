//! The kernel's cookie cache (`tcp_metrics`), as `tfo-cli cookies` shows it: selects and sorts the entries. Without I/O:
//! [`crate::kernel::tcp_metrics`] reads them.

use std::net::IpAddr;

use crate::{addr::Prefix, fingerprint::Fingerprint, inspect::places::Netns};

/// One entry of the cache: a pair of addresses, no ports (`struct tcp_metrics_block`, `net/ipv4/tcp_metrics.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Remote address.
    pub destination: IpAddr,
    /// Local address.
    pub source: Option<IpAddr>,
    /// MSS that the server announced with its cookie, in bytes.
    pub mss: Option<u16>,
    /// SYNs with data that were lost in a row; `None` when none was.
    pub syn_drops: Option<SynDrops>,
    /// The cookie, as a hash; `None` when the entry has none.
    pub cookie: Option<Cookie>,
    /// Time since the kernel last wrote metrics into the entry, ms: not the age of the cookie.
    pub age_ms: Option<u64>,
}

/// SYNs with data that were lost in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SynDrops {
    /// Their number, at most 1023; a SYN whose data is acked sets it to zero.
    pub count: u16,
    /// Time since the latest, in ms.
    pub age_ms: Option<u64>,
}

/// A cookie, of which only a hash is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Salted hash of the cookie.
    pub fingerprint: Fingerprint,
    /// Length in bytes, 4 to 16; Linux servers grant 8.
    pub len: usize,
}

impl Entry {
    /// Whether the entry has anything about Fast Open: the cache keeps round-trip times of every destination, too.
    pub fn is_fast_open(&self) -> bool {
        self.mss.is_some() || self.syn_drops.is_some() || self.cookie.is_some()
    }
}

/// An entry with the network namespace it is in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cached {
    /// The network namespace.
    pub netns: Netns,
    /// The entry.
    pub entry: Entry,
}

impl Cached {
    /// A text that identifies the entry: `4026531840/192.0.2.1/198.51.100.7`.
    pub fn id(&self) -> String {
        let source = self
            .entry
            .source
            .map_or_else(|| "-".to_owned(), |ip| ip.to_string());
        format!("{}/{source}/{}", self.netns.inode, self.entry.destination)
    }
}

/// The entries about Fast Open for these destinations, sorted by namespace, those with lost SYNs first.
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
