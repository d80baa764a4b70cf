//! When it happened: handshakes over time, in bars.

use tfo_common::{Outcome, Role};

use super::super::{number, time};
use crate::model::{Snapshot, history::History, source::Totals};

/// Bars at most: as many as a phone can show apart.
const MOST_BARS: u64 = 24;

/// One interval.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bar {
    /// Time of day of its beginning.
    pub at: String,
    /// Handshakes in which Fast Open did what it should.
    pub good: u64,
    /// In which it was tried and did not.
    pub failed: u64,
    /// Without it.
    pub plain: u64,
}

impl Bar {
    /// All of them.
    pub fn sum(&self) -> u64 {
        self.good + self.failed + self.plain
    }
}

/// The bars, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timeline {
    /// How long one is, in words.
    pub length: String,
    /// They.
    pub bars: Vec<Bar>,
}

impl Timeline {
    /// Of the history up to `back` readings before its end.
    pub fn new(snapshot: &Snapshot, history: &History, back: usize) -> Self {
        let frames: Vec<_> = history.frames(back).collect();
        let Some((newest, oldest)) = frames.first().zip(frames.last()) else {
            return Self::default();
        };
        let begin_ns = oldest.at_ns.saturating_sub(oldest.interval_ns);
        let span_ns = newest.at_ns.saturating_sub(begin_ns).max(1);
        let seconds = span_ns.div_ceil(1_000_000_000).div_ceil(MOST_BARS).max(1);
        let length_ns = seconds * 1_000_000_000;
        let count = usize::try_from(span_ns.div_ceil(length_ns)).unwrap_or(1);
        let mut bars = vec![Bar::default(); count];
        for (index, bar) in bars.iter_mut().enumerate() {
            let at_ns = begin_ns.saturating_add(length_ns.saturating_mul(index as u64));
            bar.at = time::of_day_seconds(snapshot.wall_ns(at_ns));
        }
        for frame in frames {
            // A reading at the edge of a bar says what happened before it.
            let inside = frame.at_ns.saturating_sub(begin_ns).saturating_sub(1) / length_ns;
            let index = usize::try_from(inside).unwrap_or(count).min(count - 1);
            let bar = &mut bars[index];
            bar.good += sum(&frame.fresh, Outcome::is_good);
            bar.failed += sum(&frame.fresh, Outcome::is_failure);
            bar.plain += sum(&frame.fresh, |outcome| {
                !outcome.is_good() && !outcome.is_failure()
            });
        }
        Self {
            length: number::duration(seconds * 1_000_000),
            bars,
        }
    }

    /// The highest of them.
    pub fn most(&self) -> u64 {
        self.bars.iter().map(Bar::sum).max().unwrap_or(0)
    }
}

fn sum(fresh: &Totals, wanted: fn(Outcome) -> bool) -> u64 {
    let of_role = |role: Role| {
        let counts = Outcome::ALL.into_iter().zip(fresh[role as usize]);
        counts
            .filter(|(outcome, _)| wanted(*outcome))
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    Role::ALL.into_iter().map(of_role).sum()
}
