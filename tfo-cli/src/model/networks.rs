//! A file that names networks: `prefix = label`, so that tables and filters can speak of offices instead of addresses.
//!
//! Of several prefixes around an address the longest counts. A row of a server stands for a whole block of clients: prefixes
//! longer than the block say nothing about it.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use tfo_common::Role;

use super::{row::DestRow, snapshot::Prefixes};
use crate::addr::Prefix;

/// Longest label, in characters.
const LONGEST: usize = 32;
/// Prefixes in a file at most.
const MOST: usize = 65_536;

/// What is read out of such a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks {
    /// By length of the prefix, longest first; each with its networks.
    lengths: Vec<(u8, BTreeMap<Prefix, Arc<str>>)>,
}

/// What the destinations of one network add up to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Its label; `None` for all addresses that no prefix holds.
    pub label: Option<Arc<str>>,
    /// Destinations.
    pub destinations: usize,
    /// Handshakes in which Fast Open had a part.
    pub attempts: u64,
    /// Those of them whose data was taken whole.
    pub accepted: u64,
    /// Those that did not work.
    pub failures: u64,
    /// Handshakes without Fast Open.
    pub plain: u64,
    /// Time saved, us.
    pub saved_us: u64,
    /// Time lost, us.
    pub lost_us: u64,
}

impl Sum {
    /// Accepted of all attempts, 0 to 1; `None` without attempts.
    pub fn hit_rate(&self) -> Option<f64> {
        (self.attempts > 0).then(|| self.accepted as f64 / self.attempts as f64)
    }
}

impl Networks {
    /// Reads a file: `prefix = label` on each line; empty lines, and what follows a `#`, say nothing.
    ///
    /// # Errors
    ///
    /// The first line that is neither, with its number.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut by_length: BTreeMap<u8, BTreeMap<Prefix, Arc<str>>> = BTreeMap::new();
        let mut count = 0;
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let fail = |why: String| format!("line {number}: {why}");
            let (prefix, label) = line
                .split_once('=')
                .ok_or_else(|| fail("not 'prefix = label'".to_owned()))?;
            let prefix: Prefix = prefix.trim().parse().map_err(fail)?;
            let label = check(label.trim()).map_err(fail)?;
            let prefix = prefix.network();
            let before = by_length
                .entry(prefix.bits())
                .or_default()
                .insert(prefix, label.into());
            if let Some(before) = before.filter(|before| **before != *label) {
                return Err(fail(format!("{prefix} is '{before}' already")));
            }
            count += 1;
            if count > MOST {
                return Err(fail(format!("more than {MOST} prefixes")));
            }
        }
        Ok(Self {
            lengths: by_length.into_iter().rev().collect(),
        })
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.lengths.is_empty()
    }

    /// Whether some network has a label with this in it, whatever its case.
    pub fn knows(&self, part: &str) -> bool {
        let part = part.to_lowercase();
        let mut labels = self.lengths.iter().flat_map(|(_, networks)| networks.values());
        labels.any(|label| label.to_lowercase().contains(&part))
    }

    /// The label of an address.
    pub fn label(&self, ip: IpAddr) -> Option<&Arc<str>> {
        self.within(ip, 128)
    }

    /// The label of a row; rows of servers stand for blocks, cut to these lengths.
    pub fn label_of(&self, row: &DestRow, cut: Prefixes) -> Option<&Arc<str>> {
        let longest = match (row.role(), row.key.family) {
            (Role::Client, _) => 128,
            (Role::Server, 4) => cut.v4,
            (Role::Server, _) => cut.v6,
        };
        self.within(row.remote(), longest)
    }

    /// The longest prefix that holds the address and is not longer than this.
    fn within(&self, ip: IpAddr, longest: u8) -> Option<&Arc<str>> {
        let fit = self.lengths.iter().filter(|(bits, _)| *bits <= longest);
        fit.filter(|(bits, _)| ip.is_ipv6() || *bits <= 32)
            .find_map(|(bits, networks)| networks.get(&Prefix::new(ip, *bits).network()))
    }

    /// Rows added up by network: most time lost first, what has no label last.
    pub fn sums<'a>(&self, rows: impl IntoIterator<Item = &'a DestRow>, cut: Prefixes) -> Vec<Sum> {
        let mut sums: BTreeMap<Option<Arc<str>>, Sum> = BTreeMap::new();
        for row in rows {
            let label = self.label_of(row, cut).cloned();
            let sum = sums.entry(label.clone()).or_insert_with(|| Sum {
                label,
                ..Sum::default()
            });
            sum.destinations += 1;
            sum.attempts += row.attempts();
            sum.accepted += row.accepted();
            sum.failures += row.failures();
            sum.plain += row.handshakes() - row.attempts();
            sum.saved_us = sum.saved_us.saturating_add(row.saved_us);
            sum.lost_us = sum.lost_us.saturating_add(row.lost_us);
        }
        let mut sums: Vec<Sum> = sums.into_values().collect();
        sums.sort_by_key(|sum| (sum.label.is_none(), std::cmp::Reverse(sum.lost_us)));
        sums
    }
}

/// Labels stand in filters and in columns: without blanks, commas and quotes.
fn check(label: &str) -> Result<&str, String> {
    let is_fit =
        |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '_' | '.' | '/' | ':' | '+');
    if label.is_empty() || label.chars().count() > LONGEST || !label.chars().all(is_fit) {
        return Err(format!(
            "a label has 1 to {LONGEST} letters, digits and - _ . / : +, and '{}' has not",
            crate::clean::clean(label)
        ));
    }
    Ok(label)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::{
        SortKey,
        fake::{self, Scenario},
    };

    const FILE: &str = "# ours\n10.0.0.0/8 = office\n10.9.0.0/16 = mobile  # SIM cards\n\n2001:db8::/32=AS64500\n\
                        192.0.2.1 = printer\n0.0.0.0/0 = world\n";

    fn label<'a>(networks: &'a Networks, ip: &str) -> Option<&'a str> {
        networks
            .label(ip.parse().expect("an address"))
            .map(|label| &**label)
    }

    #[test]
    fn the_longest_prefix_counts_and_families_are_apart() {
        let networks = Networks::parse(FILE).expect("it is a file");
        for (ip, want) in [
            ("10.1.2.3", Some("office")),
            ("10.9.2.3", Some("mobile")),
            ("192.0.2.1", Some("printer")),
            ("192.0.2.2", Some("world")),
            ("2001:db8:1::1", Some("AS64500")),
            ("::1", None),
            ("::ffff:10.1.2.3", None),
        ] {
            assert_eq!(label(&networks, ip), want, "{ip}");
        }
        assert!(networks.knows("OFF") && !networks.knows("cellar") && !networks.is_empty());
    }

    /// Half of a /24 is not all of it.
    #[test]
    fn a_block_has_the_label_of_what_holds_all_of_it() {
        let text = "10.1.0.0/16 = wide\n10.1.2.0/25 = narrow\n10.1.3.0/24 = same\n";
        let networks = Networks::parse(text).expect("it is a file");
        let row = |ip: [u8; 4], role: Role| {
            let mut key = fake::dest_key(1);
            key.remote = [0; 16];
            key.remote[..4].copy_from_slice(&ip);
            (key.family, key.role) = (4, role as u8);
            DestRow::new(key, &tfo_common::DestStats::ZERO, None)
        };
        let of = |ip: [u8; 4], role: Role, v4: u8| {
            let label = networks.label_of(&row(ip, role), Prefixes { v4, v6: 48 });
            label.map(|label| &**label)
        };
        assert_eq!(of([10, 1, 2, 0], Role::Server, 24), Some("wide"));
        assert_eq!(of([10, 1, 3, 0], Role::Server, 24), Some("same"));
        assert_eq!(of([10, 1, 2, 0], Role::Server, 32), Some("narrow"));
        assert_eq!(of([10, 1, 2, 0], Role::Client, 24), Some("narrow"));
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, part) in [
            ("10.0.0.0/8", "line 1: not 'prefix = label'"),
            ("\n10.0.0.0/33 = x", "line 2: '33' is not a prefix length"),
            ("office = 10.0.0.0/8", "line 1: 'office' is not an IP address"),
            ("10.0.0.0/8 = ", "line 1: a label has"),
            ("10.0.0.0/8 = two words", "'two words' has not"),
            ("10.0.0.0/8 = \u{1b}[2J", "'?[2J' has not"),
            (
                "10.0.0.0/8 = a\n10.1.1.1/8 = b",
                "line 2: 10.0.0.0/8 is 'a' already",
            ),
        ] {
            let why = Networks::parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
        assert!(
            Networks::parse("10.0.0.0/8 = a\n10.1.1.1/8 = a\n").is_ok(),
            "the same twice"
        );
    }

    #[test]
    fn sums_hold_every_row_once() {
        let snapshot = Scenario::default().model(5).snapshot();
        let networks = Networks::parse("198.51.100.0/24 = shop\n0.0.0.0/0 = v4\n").expect("it is a file");
        let sums = networks.sums(snapshot.rows.iter(), snapshot.server_prefixes);
        assert_eq!(
            sums.iter().map(|sum| sum.destinations).sum::<usize>(),
            snapshot.rows.len()
        );
        assert_eq!(
            sums.iter().map(|sum| sum.lost_us).sum::<u64>(),
            snapshot.ledger_us().1
        );
        assert!(
            sums.iter().rev().skip(1).all(|sum| sum.label.is_some()),
            "{sums:?}"
        );
        assert_eq!(
            Networks::default()
                .sums(snapshot.rows.iter(), snapshot.server_prefixes)
                .len(),
            1
        );
    }

    #[test]
    fn sorted_by_network_those_of_one_stand_together() {
        let mut model = Scenario::default().model(5);
        let text = "198.51.100.0/24 = shop\n192.0.2.0/24 = office\n";
        model.set_networks(Arc::new(Networks::parse(text).expect("it is a file")));
        let snapshot = model.snapshot();
        let mut rows: Vec<&DestRow> = snapshot.rows.iter().collect();
        rows.sort_by(|left, right| snapshot.compare(SortKey::Network, left, right));
        let mut labels: Vec<Option<&str>> = rows.iter().map(|row| snapshot.network(row)).collect();
        labels.dedup();
        let end = labels.pop().flatten();
        assert!(end.is_none(), "what has no name comes last: {labels:?}");
        assert!(labels.len() > 1 && labels.is_sorted(), "{labels:?}");
        // Within a network the default order holds.
        let lost: Vec<u64> = rows
            .iter()
            .filter(|row| snapshot.network(row).is_none())
            .map(|row| row.lost_us)
            .collect();
        assert!(lost.iter().rev().is_sorted(), "{lost:?}");
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,80}", ip: IpAddr) {
            if let Ok(networks) = Networks::parse(&text) {
                let _ = networks.label(ip);
            }
        }
    }
}
