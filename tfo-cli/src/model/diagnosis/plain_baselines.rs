//! Where plain connections stood when Fast Open first and last failed: a baseline of the same time, not of another.

use std::{collections::HashMap, sync::Arc};

use tfo_common::{DestKey, Outcome};

use crate::model::DestRow;

/// Baselines kept at most; the table of destinations is bounded as well.
const MOST: usize = 16_384;

/// Plain handshakes of a row at two instants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlainBaseline {
    /// Before the first failure.
    pub first: Plain,
    /// In the reading that showed the first failure: some of these were before it, and nobody knows which.
    pub shown: Plain,
    /// Before the latest.
    pub last: Plain,
    failures: u64,
}

/// Plain handshakes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// All of them.
    pub count: u64,
    /// Those whose SYN had to be sent again.
    pub retrans: u64,
}

impl Plain {
    /// Those of a row so far.
    pub fn of(row: &DestRow) -> Self {
        Self {
            count: row.count(Outcome::Plain),
            retrans: row.plain_retrans.into(),
        }
    }

    /// Those since an earlier instant.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            count: self.count.saturating_sub(earlier.count),
            retrans: self.retrans.saturating_sub(earlier.retrans),
        }
    }
}

/// The baselines of every row that has failures.
#[derive(Clone, Debug, Default)]
pub struct PlainBaselines(Arc<HashMap<DestKey, PlainBaseline>>);

impl PlainBaselines {
    /// Notes a row whose numbers moved; `earlier` is the same row one reading before.
    pub fn note(&mut self, row: &DestRow, earlier: Option<&DestRow>) {
        let failures =
            row.count(Outcome::SynTimeout) + row.count(Outcome::Reset) + row.count(Outcome::Failed);
        let known = self.0.get(&row.key);
        if failures == 0 || known.is_some_and(|baseline| baseline.failures == failures) {
            return;
        }
        let before = earlier.map(Plain::of).unwrap_or_default();
        let first = known.map_or(before, |baseline| baseline.first);
        let shown = known.map_or(Plain::of(row), |baseline| baseline.shown);
        let baselines = Arc::make_mut(&mut self.0);
        if baselines.len() >= MOST && !baselines.contains_key(&row.key) {
            baselines.clear();
        }
        let last = before;
        baselines.insert(
            row.key,
            PlainBaseline {
                first,
                shown,
                last,
                failures,
            },
        );
    }

    /// The marks of a row.
    pub fn get(&self, key: &DestKey) -> Option<PlainBaseline> {
        self.0.get(key).copied()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.0 = Arc::default();
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::DestStats;

    use super::*;
    use crate::model::fake;

    #[test]
    fn first_and_last_failure_are_remembered_with_what_was_before_them() {
        let mut stats = DestStats::ZERO;
        let mut baselines = PlainBaselines::default();
        let mut earlier = None;
        for (plain, resets) in [(5, 0), (7, 1), (9, 1), (12, 2), (20, 2)] {
            stats.outcomes[Outcome::Plain as usize] = plain;
            stats.outcomes[Outcome::Reset as usize] = resets;
            let row = DestRow::new(fake::dest_key(1), &stats, None);
            baselines.note(&row, earlier.as_ref());
            earlier = Some(row);
        }
        let baseline = baselines.get(&fake::dest_key(1)).expect("it failed");
        assert_eq!((baseline.first.count, baseline.last.count), (5, 9));
        assert_eq!(baselines.get(&fake::dest_key(2)), None);
    }

    #[test]
    fn marks_are_bounded() {
        let mut stats = DestStats::ZERO;
        stats.outcomes[Outcome::Reset as usize] = 1;
        let mut baselines = PlainBaselines::default();
        for n in 0..20_000 {
            baselines.note(&DestRow::new(fake::dest_key(n), &stats, None), None);
        }
        assert!(baselines.0.len() <= MOST);
    }
}
