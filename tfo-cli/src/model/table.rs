//! The destination rows of the latest reading, in the default order, and how the next reading finds them again.
//!
//! A table of the kernel is read bucket by bucket (`__htab_map_lookup_and_delete_batch`, kernel/bpf/hashtab.c): the same
//! rows come one after the other in the same way, but for those that came or went. So a row is looked for where it was the
//! last time, and by its key only where it is not there; and rows that are put together in their old order need hardly be
//! sorted. With 16,384 rows that all change, hashing and sorting took more than half of a reading.

use std::{collections::HashMap, sync::Arc};

use foldhash::fast::RandomState;
use tfo_common::DestKey;

use super::{
    DestRow,
    packed::Packed,
    sort::{Rank, by_key},
};

/// No entry of a reading.
const NONE: u32 = u32::MAX;
/// Rows that may have gone side by side without those behind them being looked for by their keys.
const MOST_GONE: usize = 4;

/// A row while rows are sorted.
struct Ranked {
    rank: Rank,
    /// Its index before.
    row: usize,
    /// Its entry in the reading.
    entry: u32,
}

/// The rows.
#[derive(Clone, Debug, Default)]
pub struct Table {
    rows: Arc<Vec<DestRow>>,
    /// For each entry of the latest reading, in its order, the place of its row.
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
            order.push(Ranked {
                rank: Rank::of(&row),
                row: order.len(),
                entry,
            });
            rows.push(row);
        };
        for (earlier, entry) in self.rows.iter().zip(&entries) {
            if *entry != NONE {
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
        let by_rank = |left: &Ranked, right: &Ranked| {
            let ranks = left.rank.cmp(&right.rank);
            ranks.then_with(|| by_key(&rows[left.row], &rows[right.row]))
        };
        let moved = !order.is_sorted_by(|left, right| by_rank(left, right).is_le());
        if moved {
            // A stable sort, because it is soon through with what is nearly sorted already.
            order.sort_by(by_rank);
            rows = order.iter().map(|ranked| rows[ranked.row].clone()).collect();
        }
        self.places = vec![0; dests.len()];
        for (place, ranked) in (0u32..).zip(&order) {
            self.places[ranked.entry as usize] = place;
        }
        self.rows = Arc::new(rows);
    }

    /// For each row its entry in the reading, and the entries that no row is of.
    fn find(&self, dests: &[(DestKey, Packed)]) -> (Vec<u32>, Vec<u32>) {
        let mut entries = vec![NONE; self.rows.len()];
        let place_of = |at: usize, key: &DestKey| {
            let place = *self.places.get(at)? as usize;
            (self.rows.get(place)?.key == *key).then_some(place)
        };
        // Entries that were not found where they should be: new ones, and those behind many that went.
        let mut astray = Vec::new();
        // Where in the latest reading the next entry was, if nothing has changed.
        let mut next = 0;
        for (entry, (key, _)) in (0u32..).zip(dests) {
            let found = (next..next + MOST_GONE).find_map(|at| Some((at, place_of(at, key)?)));
            match found {
                Some((at, place)) => {
                    entries[place] = entry;
                    next = at + 1;
                }
                None => astray.push(entry),
            }
        }
        if astray.is_empty() {
            return (entries, astray);
        }
        let left = entries.iter().enumerate().filter(|(_, entry)| **entry == NONE);
        let mut by_key: HashMap<DestKey, usize, RandomState> =
            left.map(|(place, _)| (self.rows[place].key, place)).collect();
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
    use tfo_common::Outcome;

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
