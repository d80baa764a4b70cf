//! Orders of the destination table. The default puts what costs most first.

use std::cmp::{Ordering, Reverse};

use tfo_common::DestKey;

use super::row::DestRow;

/// What the table is sorted by. Each has its natural direction: worst, most or latest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SortKey {
    /// Most time lost, then lowest hit rate, then most failures.
    #[default]
    Lost,
    /// Lowest hit rate.
    Hit,
    /// Most failures.
    Failures,
    /// Most attempts.
    Attempts,
    /// Least gained, losses first.
    Net,
    /// Most time saved.
    Saved,
    /// Longest round-trip time.
    Rtt,
    /// Most SYN bytes.
    Syn,
    /// Latest handshake.
    Last,
    /// Lowest address.
    Remote,
    /// By what the network is called (`--networks`), those without a name last.
    Network,
}

impl SortKey {
    /// Every order with its name, in the order `s` goes through them.
    pub const ALL: [(&'static str, SortKey); 11] = [
        ("lost", SortKey::Lost),
        ("hit", SortKey::Hit),
        ("failures", SortKey::Failures),
        ("attempts", SortKey::Attempts),
        ("net", SortKey::Net),
        ("saved", SortKey::Saved),
        ("rtt", SortKey::Rtt),
        ("syn", SortKey::Syn),
        ("last", SortKey::Last),
        ("remote", SortKey::Remote),
        ("network", SortKey::Network),
    ];

    /// The word for it.
    pub fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(_, key)| *key == self)
            .map_or("", |(name, _)| name)
    }

    /// The order with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, key)| *key)
    }

    /// The one after it.
    #[must_use]
    pub fn next(self) -> Self {
        let place = Self::ALL.iter().position(|(_, key)| *key == self).unwrap_or(0);
        Self::ALL[(place + 1) % Self::ALL.len()].1
    }

    /// Compares two rows; equals are told apart by the default order and at last by their keys, so that an
    /// order is total and rows do not dance.
    pub fn compare(self, left: &DestRow, right: &DestRow) -> Ordering {
        let by = |key: fn(&DestRow) -> u64| Reverse(key(left)).cmp(&Reverse(key(right)));
        let order = match self {
            // Rows do not know their networks: [`super::Snapshot::compare`].
            SortKey::Lost | SortKey::Network => Ordering::Equal,
            SortKey::Hit => by_hit(left, right),
            SortKey::Failures => by(DestRow::failures),
            SortKey::Attempts => by(DestRow::attempts),
            SortKey::Net => left.net_us().cmp(&right.net_us()),
            SortKey::Saved => by(|row| row.saved_us),
            SortKey::Rtt => by(|row| row.rtt_us().unwrap_or(0)),
            SortKey::Syn => by(|row| row.syn_bytes),
            SortKey::Last => by(|row| row.last_ns),
            SortKey::Remote => left.remote().cmp(&right.remote()),
        };
        order
            .then_with(|| Rank::of(left).cmp(&Rank::of(right)))
            .then_with(|| by_key(&left.key, &right.key))
    }
}

/// Where a row stands in the default order, but for its key: worked out once where many rows are sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    lost_us: Reverse<u64>,
    /// The hit rate, as bits: of numbers that are not negative they have the same order. Rows without attempts have
    /// nothing to be judged by and come last.
    hit: u64,
    failures: Reverse<u64>,
}

impl Rank {
    /// Of this row.
    pub fn of(row: &DestRow) -> Self {
        // Most rows of a table where nobody uses Fast Open.
        let (hit, failures) = match row.attempts() {
            0 => (u64::MAX, 0),
            _ => (row.hit_rate().map_or(u64::MAX, f64::to_bits), row.failures()),
        };
        Self {
            lost_us: Reverse(row.lost_us),
            hit,
            failures: Reverse(failures),
        }
    }
}

/// Rows without attempts have nothing to be judged by and come last.
fn by_hit(left: &DestRow, right: &DestRow) -> Ordering {
    match (left.hit_rate(), right.hit_rate()) {
        (Some(left), Some(right)) => left.total_cmp(&right),
        (left, right) => right.is_some().cmp(&left.is_some()),
    }
}

/// By what rows are told apart.
pub fn by_key(left: &DestKey, right: &DestKey) -> Ordering {
    let key = |key: &DestKey| {
        // In network order.
        let remote = u128::from_be_bytes(key.remote);
        (key.role, key.family, remote, key.port, key.cgroup_id)
    };
    key(left).cmp(&key(right))
}

#[cfg(test)]
mod tests {
    use tfo_common::{DestStats, Outcome};

    use super::*;
    use crate::model::fake;

    fn row(n: u32, lost_us: u64, accepted: u64, timeouts: u64) -> DestRow {
        let mut stats = DestStats {
            lost_us,
            ..DestStats::ZERO
        };
        stats.outcomes[Outcome::Accepted as usize] = accepted;
        stats.outcomes[Outcome::SynTimeout as usize] = timeouts;
        DestRow::new(fake::dest_key(n), &stats, None)
    }

    fn sorted(key: SortKey, mut rows: Vec<DestRow>) -> Vec<u8> {
        rows.sort_by(|left, right| key.compare(left, right));
        rows.iter().map(|row| row.key.remote[3]).collect()
    }

    #[test]
    fn worst_first_then_lowest_hit_rate_then_most_failures_then_key() {
        let rows = vec![
            row(6, 0, 0, 0),
            row(5, 0, 9, 1),
            row(4, 0, 9, 1),
            row(3, 0, 1, 1),
            row(2, 0, 2, 2),
            row(1, 9, 99, 1),
        ];
        assert_eq!(sorted(SortKey::Lost, rows.clone()), [1, 2, 3, 4, 5, 6]);
        assert_eq!(sorted(SortKey::Hit, rows.clone()), [2, 3, 4, 5, 1, 6]);
        assert_eq!(sorted(SortKey::Attempts, rows), [1, 4, 5, 2, 3, 6]);
    }

    #[test]
    fn names_and_cycle_cover_every_order() {
        let mut key = SortKey::default();
        for _ in SortKey::ALL {
            assert_eq!(SortKey::from_name(key.name()), Some(key));
            key = key.next();
        }
        assert_eq!(key, SortKey::default());
    }
}
