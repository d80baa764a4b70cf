//! The cookie cache as JSON, schema 1: one object per entry and line. Fields may be added, none is renamed. What
//! netlink does not tell is `null`.

use std::net::IpAddr;

use serde::Serialize;

use super::json::{SCHEMA, lines};
use crate::{fingerprint::Fingerprint, inspect::cookies::Cached};

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    r#type: &'static str,
    id: String,
    /// Inode of the network namespace.
    netns: u32,
    netns_name: Option<&'a str>,
    source: Option<IpAddr>,
    destination: IpAddr,
    /// Salted hash, of this boot.
    cookie: Option<Fingerprint>,
    /// Bytes.
    cookie_len: Option<usize>,
    mss: Option<u16>,
    syn_drops: u16,
    syn_drop_us_ago: Option<u64>,
    written_us_ago: Option<u64>,
}

/// Every entry with a part in Fast Open.
pub fn entries(found: &[Cached]) -> anyhow::Result<String> {
    let micros = |ms: u64| ms.saturating_mul(1_000);
    lines(found.iter().map(|cached| {
        let entry = &cached.entry;
        Line {
            schema: SCHEMA,
            r#type: "cookie",
            id: cached.id(),
            netns: cached.netns.inode,
            netns_name: cached.netns.name.as_deref(),
            source: entry.source,
            destination: entry.destination,
            cookie: entry.cookie.map(|cookie| cookie.fingerprint),
            cookie_len: entry.cookie.map(|cookie| cookie.len),
            mss: entry.mss,
            // The kernel tells a number only when there is one.
            syn_drops: entry.syn_drops.map_or(0, |drops| drops.count),
            syn_drop_us_ago: entry.syn_drops.and_then(|drops| drops.age_ms).map(micros),
            written_us_ago: entry.age_ms.map(micros),
        }
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::cookies::tests::cached;

    #[test]
    fn one_object_per_line() {
        let mut bare = cached(7, "2001:db8::7", 0);
        bare.entry.cookie = None;
        insta::assert_snapshot!(entries(&[cached(1, "198.51.100.7", 2), bare]).expect("plain values"));
        assert_eq!(entries(&[]).expect("nothing"), "");
    }
}
