//! What had been counted when the user cleared the counters. It is subtracted from every later reading: the counters
//! of the kernel side go on, so that other instances of the tool see no difference.

use std::collections::HashMap;

use tfo_common::{
    DestKey, Loss,
    listener::{Arrival, ListenerRecord},
};

use super::{
    row::DestRow,
    source::{Reading, Totals},
};

#[derive(Clone, Debug, Default)]
pub(super) struct ClearedCounts {
    rows: HashMap<DestKey, DestRow>,
    totals: Totals,
    losses: [u64; Loss::COUNT],
    events: u64,
    /// By inode of the socket.
    arrivals: HashMap<u64, [u64; Arrival::COUNT]>,
}

impl ClearedCounts {
    /// Adds what was shown until now.
    pub(super) fn clear(
        &mut self,
        rows: &[DestRow],
        totals: &Totals,
        losses: &[u64; Loss::COUNT],
        events: u64,
    ) {
        for row in rows {
            let sum = match self.rows.remove(&row.key) {
                Some(cleared) => row.plus(&cleared),
                None => row.clone(),
            };
            self.rows.insert(row.key, sum);
        }
        add(self.totals.iter_mut().flatten(), totals.iter().flatten());
        add(&mut self.losses, losses);
        self.events += events;
    }

    /// Remembers what listeners had counted, of which `shown` is what was shown since the time before.
    pub(super) fn clear_listeners(&mut self, shown: &[ListenerRecord]) {
        let before = std::mem::take(&mut self.arrivals);
        for listener in shown.iter().filter(|listener| listener.inode != 0) {
            let mut counted = before.get(&listener.inode).copied().unwrap_or_default();
            add(&mut counted, &listener.arrivals);
            self.arrivals.insert(listener.inode, counted);
        }
    }

    /// Takes it off a list of listeners.
    pub(super) fn subtract_from_listeners(&self, listeners: &mut [ListenerRecord]) {
        for listener in listeners {
            if let Some(counted) = self.arrivals.get(&listener.inode) {
                subtract(&mut listener.arrivals, counted);
            }
        }
    }

    /// Takes it off a reading. Rows in which nothing happened since are left out.
    pub(super) fn subtract_from(&mut self, reading: &mut Reading) {
        subtract(reading.totals.iter_mut().flatten(), self.totals.iter().flatten());
        subtract(&mut reading.losses, &self.losses);
        reading.events = reading.events.saturating_sub(self.events);
        if self.rows.is_empty() {
            return;
        }
        reading.dests.retain_mut(|(key, stats)| {
            let Some(cleared) = self.rows.get(key) else {
                return true;
            };
            if stats.handshakes() < cleared.handshakes() {
                // The kernel dropped the row and made it anew: it counts from zero already.
                self.rows.remove(key);
                return true;
            }
            *stats = cleared.counted_since(stats);
            !stats.is_empty()
        });
    }
}

fn add<'a>(sums: impl IntoIterator<Item = &'a mut u64>, more: impl IntoIterator<Item = &'a u64>) {
    sums.into_iter().zip(more).for_each(|(sum, more)| *sum += more);
}

fn subtract<'a>(sums: impl IntoIterator<Item = &'a mut u64>, less: impl IntoIterator<Item = &'a u64>) {
    sums.into_iter()
        .zip(less)
        .for_each(|(sum, less)| *sum = sum.saturating_sub(*less));
}

#[cfg(test)]
mod tests {
    use crate::model::{Model, SortKey, fake::Scenario};

    #[test]
    fn after_clearing_only_what_is_new_counts_also_the_second_time() {
        let mut scenario = Scenario::default().with_extra(10).with_losses();
        let mut model = Model::default();
        let mut fresh = Model::default();
        for second in 0..9 {
            let (_, reading) = scenario.step();
            model.read(reading);
            if second == 3 || second == 6 {
                model.clear();
            }
            if second > 6 {
                // What two seconds add, seen by somebody who came late.
                let (_, only) = Scenario::default().step();
                fresh.read(only);
            }
        }
        let snapshot = model.snapshot();
        let mut alone = Scenario::default().model(2).snapshot().rows.to_vec();
        alone.sort_by(|left, right| SortKey::Remote.compare(left, right));
        let mut rows: Vec<_> = snapshot
            .rows
            .iter()
            .filter(|row| alone.iter().any(|one| one.key == row.key))
            .collect();
        rows.sort_by(|left, right| SortKey::Remote.compare(left, right));
        assert_eq!(rows.len(), alone.len());
        for (row, want) in rows.into_iter().zip(&alone) {
            assert_eq!((row.outcomes, row.lost_us), (want.outcomes, want.lost_us));
        }
        assert_eq!(snapshot.lost(), 0);
        assert_eq!(snapshot.elapsed_ns, 2_000_000_000);
    }
}
