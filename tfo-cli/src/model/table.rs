//! The destination rows of the latest reading, in the default order, and how the next reading finds them again.
//!
//! A table of the kernel is read bucket by bucket (`__htab_map_lookup_and_delete_batch`, kernel/bpf/hashtab.c): the same
//! rows come one after the other in the same way, but for those that came or went. So a row is looked for where it was the
//! last time, and by its key only where it is not there; and rows that are put together in their old order need hardly be
//! sorted. With 16,384 rows that all change, hashing and sorting took more than half of a reading.

use std::{collections::HashMap, hint::black_box, sync::Arc};

use foldhash::fast::RandomState;
use tfo_common::{DestKey, Outcome};

use super::{
    DestRow,
    packed::Packed,
    sort::{Rank, by_key},
};

/// No entry of a reading.
const NONE: u32 = u32::MAX;
/// Rows that may have gone side by side without those behind them being looked for by their keys. Of a table that is full,
/// and in which every destination is another one than before, thousands of rows go in a second.
const MOST_GONE: usize = 32;

/// Rows that are fetched before the first of them is looked at.
const TOGETHER: usize = 16;

/// Has the processor fetch what is looked at next, from wherever it lies: `lines` reads something out of each cache line. Loads that
/// nothing waits for are under way all at once. Where each is followed by the work on what it brought they come one by one, and with
/// 16,384 rows, which no near cache holds, waiting for them was most of that work.
fn fetch<T>(all: impl Iterator<Item = T>, lines: impl Fn(T) -> u64) {
    black_box(all.fold(0, |read, one| read ^ lines(one)));
}

/// Something out of each cache line of a row's numbers.
fn lines_of(key: &DestKey, counts: &Packed) -> u64 {
    let first = u64::from(counts.outcomes[0]) ^ u64::from(counts.outcomes[Outcome::COUNT - 1]);
    key.cgroup_id ^ first ^ counts.syn_bytes ^ counts.last_ns ^ counts.histograms.ends()
}

/// The same of all that a row is.
fn lines_of_row(row: &DestRow) -> u64 {
    lines_of(&row.key, &row.counts) ^ u64::from(row.trend[0]) ^ u64::from(row.fresh)
}

/// A row while rows are sorted: all that decides, in one cache line.
struct Ranked {
    rank: Rank,
    key: DestKey,
    /// Its index before.
    row: u32,
    /// Its entry in the reading.
    entry: u32,
}

/// The rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Arc<Vec<DestRow>>,
    /// The keys of the latest reading, in its order.
    keys: Vec<DestKey>,
    /// For each of them the place of its row.
    places: Vec<u32>,
}

impl Table {
    /// All rows, sorted.
    pub fn rows(&self) -> &Arc<Vec<DestRow>> {
        &self.rows
    }

    /// Makes rows of a reading. `each` is told of every row what it was and what it is; `None` is a row that is not there.
    pub fn read(
        &mut self,
        dests: &[(DestKey, Packed)],
        mut each: impl FnMut(&DestKey, Option<&DestRow>, Option<&DestRow>),
    ) {
        let (entries, new) = self.find(dests);
        let mut rows = Vec::with_capacity(dests.len());
        let mut order = Vec::with_capacity(dests.len());
        let mut add = |entry: u32, earlier: Option<&DestRow>| {
            let (key, counts) = &dests[entry as usize];
            let row = DestRow::new(*key, counts.clone(), earlier);
            each(key, earlier, Some(&row));
            let (rank, place) = (Rank::of(&row), rows.len());
            order.push(Ranked {
                rank,
                key: *key,
                row: u32::try_from(place).unwrap_or(NONE),
                entry,
            });
            rows.push(row);
        };
        for (earlier, entries) in self.rows.chunks(TOGETHER).zip(entries.chunks(TOGETHER)) {
            let kept = || earlier.iter().zip(entries).filter(|(_, entry)| **entry != NONE);
            fetch(kept(), |(earlier, entry)| {
                let (key, counts) = &dests[*entry as usize];
                lines_of(key, counts) ^ lines_of_row(earlier)
            });
            for (earlier, entry) in kept() {
                add(*entry, Some(earlier));
            }
        }
        for entry in new {
            add(entry, None);
        }
        for (gone, entry) in self.rows.iter().zip(&entries) {
            if *entry == NONE {
                each(&gone.key, Some(gone), None);
            }
        }
        // A stable sort, because it is soon through with what is nearly sorted already.
        order.sort_by(|left, right| {
            let ranks = left.rank.cmp(&right.rank);
            ranks.then_with(|| by_key(&left.key, &right.key))
        });
        if !order.is_sorted_by_key(|ranked| ranked.row) {
            let mut sorted = Vec::with_capacity(rows.len());
            for order in order.chunks(TOGETHER) {
                let next = order.iter().map(|ranked| &rows[ranked.row as usize]);
                fetch(next.clone(), lines_of_row);
                sorted.extend(next.cloned());
            }
            rows = sorted;
        }
        self.keys.clear();
        self.keys.extend(dests.iter().map(|(key, _)| *key));
        self.places.clear();
        self.places.resize(dests.len(), 0);
        for (place, ranked) in (0u32..).zip(&order) {
            self.places[ranked.entry as usize] = place;
        }
        self.rows = Arc::new(rows);
    }

    /// For each row its entry in the reading, and the entries that no row is of.
    fn find(&self, dests: &[(DestKey, Packed)]) -> (Vec<u32>, Vec<u32>) {
        let mut entries = vec![NONE; self.rows.len()];
        // Entries that were not found where they should be: new ones, and those behind many that went.
        let mut astray = Vec::new();
        // The keys of the latest reading from where the next entry was, if nothing has changed, and their places.
        let (mut keys, mut places) = (&self.keys[..], &self.places[..]);
        for (entry, (key, _)) in (0u32..).zip(dests) {
            match keys.iter().take(MOST_GONE).position(|known| known == key) {
                Some(gone) => {
                    entries[places[gone] as usize] = entry;
                    (keys, places) = (&keys[gone + 1..], &places[gone + 1..]);
                }
                None => astray.push(entry),
            }
        }
        if astray.is_empty() {
            return (entries, astray);
        }
        let left = entries.iter().enumerate().filter(|(_, entry)| **entry == NONE);
        let mut by_key = HashMap::with_capacity_and_hasher(left.clone().count(), RandomState::default());
        by_key.extend(left.map(|(place, _)| (self.rows[place].key, place)));
        // A reading beside which rows come and go may have one twice.
        astray.retain(|entry| match by_key.remove(&dests[*entry as usize].0) {
            Some(place) => {
                entries[place] = *entry;
                false
            }
            None => true,
        });
        (entries, astray)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::model::{SortKey, fake};

    fn stats(accepted: u64, lost_us: u64) -> Packed {
        let mut counts = Packed::default();
        counts.outcomes[Outcome::Accepted as usize] = u32::try_from(accepted).expect("few");
        (counts.lost_us, counts.last_ns) = (lost_us, accepted);
        counts
    }

    /// What a table was told of: by key, attempts before and now.
    fn read(table: &mut Table, dests: &[(DestKey, Packed)]) -> BTreeMap<u16, (Option<u64>, Option<u64>)> {
        let mut told = BTreeMap::new();
        let attempts = |row: Option<&DestRow>| row.map(DestRow::attempts);
        table.read(dests, |key, before, now| {
            let twice = told.insert(key.port, (attempts(before), attempts(now)));
            assert_eq!(twice, None, "{key:?}");
        });
        told
    }

    fn key(port: u16) -> DestKey {
        DestKey {
            port,
            ..fake::dest_key(1)
        }
    }

    proptest! {
        #[test]
        fn every_row_follows_its_key_however_the_table_is_read(
            readings in prop::collection::vec(
                prop::collection::btree_map(0u16..40, 1u64..4, 0..40).prop_flat_map(|rows| {
                    Just(Vec::from_iter(rows)).prop_shuffle()
                }),
                1..6,
            ),
        ) {
            let mut table = Table::default();
            let mut known: BTreeMap<u16, u64> = BTreeMap::new();
            for reading in readings {
                let dests: Vec<_> = reading
                    .iter()
                    .map(|(port, more)| {
                        let attempts = known.get(port).copied().unwrap_or(0) + more;
                        (key(*port), stats(attempts, attempts % 3))
                    })
                    .collect();
                let now: BTreeMap<u16, u64> =
                    dests.iter().map(|(key, stats)| (key.port, stats.handshakes())).collect();
                let told = read(&mut table, &dests);
                let all: BTreeMap<_, _> = known
                    .keys()
                    .chain(now.keys())
                    .map(|port| (*port, (known.get(port).copied(), now.get(port).copied())))
                    .collect();
                prop_assert_eq!(told, all);
                prop_assert_eq!(table.rows().len(), now.len());
                let order = |rows: &[DestRow]| {
                    rows.is_sorted_by(|left, right| SortKey::default().compare(left, right).is_le())
                };
                prop_assert!(order(table.rows()));
                for row in table.rows().iter() {
                    prop_assert_eq!(row.attempts(), now[&row.key.port]);
                    let gained = now[&row.key.port] - known.get(&row.key.port).unwrap_or(&0);
                    prop_assert_eq!(u64::from(row.fresh), gained);
                }
                known = now;
            }
        }
    }

    #[test]
    fn an_entry_that_is_read_twice_is_no_reason_to_lose_another() {
        let mut table = Table::default();
        read(&mut table, &[(key(1), stats(1, 0)), (key(2), stats(1, 0))]);
        let mut seen = Vec::new();
        let twice = [
            (key(2), stats(2, 0)),
            (key(1), stats(2, 0)),
            (key(2), stats(2, 0)),
        ];
        table.read(&twice, |key, before, _| seen.push((key.port, before.is_some())));
        seen.sort_unstable();
        assert_eq!(seen, [(1, true), (2, false), (2, true)]);
        table.read(&[(key(1), stats(3, 0))], |_, _, _| {});
        assert_eq!(table.rows().len(), 1);
    }
}
