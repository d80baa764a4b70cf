//! The destination rows of the latest reading, in the default order, and how the next reading finds them again.
//!
//! A table of the kernel is read bucket by bucket (`__htab_map_lookup_and_delete_batch`, kernel/bpf/hashtab.c): the same
//! rows come one after the other in the same way, but for those that came or went. So a row is looked for where it was the
//! last time, and by its key only where it is not there; and rows that are put together in their old order need hardly be
//! sorted. With 16,384 rows that all change, hashing and sorting took more than half of a reading.

use std::{collections::HashMap, sync::Arc};

use tfo_common::{DestKey, DestStats};

use super::{DestRow, SortKey};

/// No entry of a reading.
const NONE: u32 = u32::MAX;
/// Rows that may have gone side by side without those behind them being looked for by their keys.
const MOST_GONE: usize = 4;

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
        dests: &[(DestKey, DestStats)],
        mut each: impl FnMut(&DestKey, Option<&DestRow>, Option<&DestRow>),
    ) {
        let (entries, new) = self.find(dests);
        let mut rows = Vec::with_capacity(dests.len());
        // Of each of those rows its entry in the reading.
        let mut read = Vec::with_capacity(dests.len());
        let mut add = |entry: u32, earlier: Option<&DestRow>| {
            let (key, stats) = &dests[entry as usize];
            let row = DestRow::new(*key, stats, earlier);
            each(key, earlier, Some(&row));
            rows.push(row);
            read.push(entry);
        };
        for (earlier, entry) in self
            .rows
            .iter()
            .zip(&entries)
            .filter(|(_, entry)| **entry != NONE)
        {
            add(*entry, Some(earlier));
        }
        for entry in new {
            add(entry, None);
        }
        for (gone, _) in self
            .rows
            .iter()
            .zip(&entries)
            .filter(|(_, entry)| **entry == NONE)
        {
            each(&gone.key, Some(gone), None);
        }
        let order = order(&rows);
        self.places = vec![0; dests.len()];
        for (place, from) in (0u32..).zip(&order) {
            self.places[read[*from as usize] as usize] = place;
        }
        self.rows = Arc::new(sorted(rows, &order));
    }

    /// For each row its entry in the reading, and the entries that no row is of.
    fn find(&self, dests: &[(DestKey, DestStats)]) -> (Vec<u32>, Vec<u32>) {
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
        let mut by_key: HashMap<DestKey, usize> =
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

/// The default order of rows, as their indices. A stable sort, because it is through with what is sorted already at once.
fn order(rows: &[DestRow]) -> Vec<u32> {
    let mut order: Vec<u32> = (0u32..).zip(rows).map(|(index, _)| index).collect();
    order.sort_by(|left, right| SortKey::default().compare(&rows[*left as usize], &rows[*right as usize]));
    order
}

/// The rows in that order.
fn sorted(rows: Vec<DestRow>, order: &[u32]) -> Vec<DestRow> {
    if order.is_sorted() {
        return rows;
    }
    let mut rows: Vec<_> = rows.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|from| rows[*from as usize].take())
        .collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use tfo_common::Outcome;

    use super::*;
    use crate::model::fake;

    fn stats(accepted: u64, lost_us: u64) -> DestStats {
        let mut stats = DestStats::ZERO;
        stats.outcomes[Outcome::Accepted as usize] = accepted;
        (stats.lost_us, stats.last_ns) = (lost_us, accepted);
        stats
    }

    /// What a table was told of: by key, attempts before and now.
    fn read(table: &mut Table, dests: &[(DestKey, DestStats)]) -> BTreeMap<u16, (Option<u64>, Option<u64>)> {
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
                    dests.iter().map(|(key, stats)| (key.port, stats.attempts())).collect();
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
