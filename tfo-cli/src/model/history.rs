//! The past of the dashboard: one frame per reading, each with what changed in it. Going back in time undoes
//! frames, newest first.
//!
//! Memory is bounded. When the frames outgrow it, the older half is thinned: two neighbours become one, so
//! that the span stays and its grain gets coarser.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use tfo_common::{DestKey, Loss, Outcome};

use super::{
    crosscheck::CrossLine,
    packed::Packed,
    row::{DestRow, TREND},
    row_delta::{RowDelta, SparseRow, put_change, put_key, take_key},
    snapshot::Snapshot,
    sort::SortKey,
    source::Totals,
};

/// Bytes the frames may take.
pub const MOST_BYTES: usize = 32 << 20;
/// Frames kept at most: an hour of seconds.
const MOST_FRAMES: usize = 3_600;
/// Pairs of frames merged per reading, while room gets short.
const MERGES: usize = 8;
/// What a frame takes besides its rows.
const FRAME_BYTES: usize = size_of::<Frame>() + 64;

/// One interval.
#[derive(Clone, Debug)]
pub struct Frame {
    /// `CLOCK_MONOTONIC` ns of its end.
    pub at_ns: u64,
    /// Its length.
    pub interval_ns: u64,
    /// Totals at its end.
    pub totals: Totals,
    /// What the totals gained in it.
    pub fresh: Totals,
    /// Losses at its end.
    pub losses: [u64; Loss::COUNT],
    /// Records written until its end.
    pub events: u64,
    /// The cross-check at its end.
    pub cross: Arc<[CrossLine]>,
    /// Rows that changed: key, difference.
    changes: Box<[u8]>,
}

/// The frames, oldest first.
#[derive(Clone, Debug)]
pub struct History {
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    most_bytes: usize,
    /// First frame of the next pair that is merged.
    next_merge: usize,
}

impl Default for History {
    fn default() -> Self {
        Self {
            frames: VecDeque::new(),
            bytes: 0,
            most_bytes: MOST_BYTES,
            next_merge: 0,
        }
    }
}

/// What changed in the rows of one interval.
#[derive(Debug, Default)]
pub struct Changes(Vec<u8>);

impl Changes {
    /// A row went from one state to the other; `None` is a row that is not there.
    pub fn add(&mut self, key: &DestKey, before: Option<&DestRow>, now: Option<&DestRow>) {
        let none = Packed::default();
        let [before, now] = [before, now].map(|row| row.map_or(&none, |row| &row.counts));
        put_key(key, &mut self.0);
        put_change(before, now, &mut self.0);
    }
}

impl Frame {
    /// Rows that changed in it.
    fn changes(&self) -> impl Iterator<Item = (DestKey, RowDelta)> {
        let mut rest = &*self.changes;
        std::iter::from_fn(move || Some((take_key(&mut rest)?, RowDelta::take(&mut rest)?)))
    }

    /// What a row gained in it, by outcome.
    pub fn gained(&self, wanted: &DestKey) -> [u32; Outcome::COUNT] {
        let found = self.changes().find(|(key, _)| key == wanted);
        let gained = |outcome| {
            found
                .as_ref()
                .map_or(0, |(_, by)| u32::try_from(by.outcome(outcome)).unwrap_or(0))
        };
        Outcome::ALL.map(gained)
    }

    /// This frame and the one after it, as one.
    fn then(&self, later: &Frame) -> Frame {
        let key_of = |key: &DestKey| {
            let mut bytes = Vec::new();
            put_key(key, &mut bytes);
            bytes
        };
        let mut merged: BTreeMap<Vec<u8>, RowDelta> = self
            .changes()
            .map(|(key, difference)| (key_of(&key), difference))
            .collect();
        for (key, difference) in later.changes() {
            merged.entry(key_of(&key)).or_default().then(&difference);
        }
        let mut changes = Vec::new();
        for (key, difference) in merged {
            changes.extend(key);
            difference.put(&mut changes);
        }
        let mut fresh = self.fresh;
        fresh
            .iter_mut()
            .flatten()
            .zip(later.fresh.iter().flatten())
            .for_each(|(sum, more)| *sum += more);
        Frame {
            interval_ns: self.interval_ns + later.interval_ns,
            fresh,
            changes: changes.into(),
            ..later.clone()
        }
    }

    fn bytes(&self) -> usize {
        FRAME_BYTES + self.changes.len()
    }
}

impl History {
    /// Adds the newest frame.
    pub fn push(&mut self, mut frame: Frame, changes: Changes) {
        frame.changes = changes.0.into();
        self.bytes += frame.bytes();
        self.frames.push_back(Arc::new(frame));
        while self.frames.len() > MOST_FRAMES {
            self.bytes -= self.frames.pop_front().map_or(0, |frame| frame.bytes());
        }
        // A little with every reading: all at once would keep the reader from its ring. Early, because merging
        // gains nothing until the frames of a pair have rows in common.
        for _ in 0..MERGES {
            if self.bytes > self.most_bytes / 4 * 3 {
                self.merge_pair();
            }
        }
        while self.bytes > self.most_bytes && self.frames.len() > 2 {
            self.bytes -= self.frames.pop_front().map_or(0, |frame| frame.bytes());
        }
    }

    /// The cross-check of the newest frame, which is made right after it.
    pub fn set_cross(&mut self, cross: &Arc<[CrossLine]>) {
        if let Some(frame) = self.frames.back_mut() {
            Arc::make_mut(frame).cross = Arc::clone(cross);
        }
    }

    /// Makes one frame of two in the older half, going through it from the oldest on, again and again.
    fn merge_pair(&mut self) {
        let half = self.frames.len() / 2;
        if self.next_merge + 1 >= half {
            self.next_merge = 0;
        }
        let at = self.next_merge;
        let (Some(first), Some(second)) = (self.frames.get(at), self.frames.get(at + 1)) else {
            return;
        };
        let merged = first.then(second);
        self.bytes = self.bytes + merged.bytes() - first.bytes() - second.bytes();
        self.frames.remove(at + 1);
        self.frames[at] = Arc::new(merged);
        self.next_merge += 1;
    }

    /// Bytes in use.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// How far back it reaches, ns.
    pub fn span_ns(&self) -> u64 {
        self.frames.iter().map(|frame| frame.interval_ns).sum()
    }

    /// How many frames there are.
    pub fn len(&self) -> usize {
        self.frames.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// The frame that lies `back` readings before the newest.
    pub fn frame(&self, back: usize) -> Option<&Frame> {
        let place = self.frames.len().checked_sub(1 + back)?;
        self.frames.get(place).map(|frame| &**frame)
    }

    /// Newest first, from `back` readings before the newest.
    pub fn frames(&self, back: usize) -> impl Iterator<Item = &Frame> {
        self.frames.iter().rev().skip(back).map(|frame| &**frame)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The rows as they were `back` readings before the newest, whose rows are `now`.
    pub fn rows(&self, now: &[DestRow], back: usize) -> Vec<DestRow> {
        let mut rows: HashMap<DestKey, SparseRow> = now
            .iter()
            .map(|row| (row.key, SparseRow::of(&row.stats())))
            .collect();
        for frame in self.frames(0).take(back) {
            for (key, difference) in frame.changes() {
                let fields = rows.entry(key).or_default();
                fields.subtract(&difference);
                if fields.is_empty() {
                    rows.remove(&key);
                }
            }
        }
        let mut trends = self.trends(back);
        let with_trend = |(key, fields): (DestKey, SparseRow)| {
            let mut row = DestRow::new(key, &fields.stats(), None);
            row.trend = trends.remove(&key).unwrap_or_default();
            row.fresh = row.trend[TREND - 1].into();
            row
        };
        rows.into_iter().map(with_trend).collect()
    }

    /// The snapshot as it was `back` readings before `present`, the newest.
    pub fn past(&self, present: &Snapshot, back: usize) -> Snapshot {
        let Some(frame) = self.frame(back).filter(|_| back > 0) else {
            return present.clone();
        };
        let mut rows = self.rows(&present.rows, back);
        rows.sort_unstable_by(|left, right| SortKey::default().compare(left, right));
        let after = present
            .flows
            .iter()
            .rposition(|flow| flow.event().end_ns <= frame.at_ns);
        Snapshot {
            at_ns: frame.at_ns,
            interval_ns: frame.interval_ns,
            elapsed_ns: present
                .elapsed_ns
                .saturating_sub(present.at_ns.saturating_sub(frame.at_ns)),
            totals: frame.totals,
            fresh: frame.fresh,
            losses: frame.losses,
            events: frame.events,
            cross: Arc::clone(&frame.cross),
            rows: Arc::new(rows),
            flows: present.flows[..after.map_or(0, |last| last + 1)].into(),
            // What was in force then nobody has kept.
            policy: None,
            guarded: None,
            ..present.clone()
        }
    }

    fn trends(&self, back: usize) -> HashMap<DestKey, [u16; TREND]> {
        let mut trends: HashMap<DestKey, [u16; TREND]> = HashMap::new();
        for (age, frame) in self.frames(back).take(TREND).enumerate() {
            for (key, difference) in frame.changes() {
                let attempts = difference.attempts().clamp(0, u16::MAX.into());
                trends.entry(key).or_default()[TREND - 1 - age] = u16::try_from(attempts).unwrap_or(0);
            }
        }
        trends
    }
}

impl Frame {
    /// A frame whose rows are still to come.
    pub fn new(at_ns: u64, interval_ns: u64, totals: Totals, fresh: Totals) -> Self {
        Self {
            at_ns,
            interval_ns,
            totals,
            fresh,
            losses: [0; Loss::COUNT],
            events: 0,
            cross: Arc::default(),
            changes: Box::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Model, fake::Scenario};

    fn sorted(mut rows: Vec<DestRow>) -> Vec<DestRow> {
        rows.sort_by(|left, right| SortKey::Lost.compare(left, right));
        rows
    }

    #[test]
    fn every_past_second_comes_back_as_it_was() {
        let mut scenario = Scenario::default().with_extra(50);
        let mut model = Model::default();
        let mut past = Vec::new();
        for _ in 0..20 {
            let (_, reading) = scenario.step();
            model.read(reading);
            past.push(model.snapshot());
        }
        let history = model.history();
        for back in 0..19 {
            let then = &past[19 - back];
            let mut rows = sorted(history.rows(&past[19].rows, back));
            for (row, want) in rows.iter_mut().zip(then.rows.iter()) {
                // The first frame shows what was there already as new; live rows do so too.
                row.fresh = want.fresh;
                assert_eq!(row, want, "{back} back");
            }
            assert_eq!(rows.len(), then.rows.len());
            assert_eq!(history.frame(back).map(|frame| frame.totals), Some(then.totals));
        }
    }

    #[test]
    fn a_row_the_kernel_dropped_is_there_again_in_the_past() {
        let mut model = Model::default();
        let (_, first) = Scenario::default().step();
        let mut second = first.clone();
        second.at_ns += 1_000_000_000;
        let gone = second.dests.remove(0).0;
        model.read(first);
        model.read(second);
        let rows = model.history().rows(&model.snapshot().rows, 1);
        assert!(rows.iter().any(|row| row.key == gone));
    }

    #[test]
    fn thinning_keeps_span_and_sums() {
        let mut scenario = Scenario::default().with_extra(30);
        let mut model = Model::default();
        for _ in 0..40 {
            model.read(scenario.step().1);
        }
        let mut history = model.history();
        let key = model.snapshot().rows[0].key;
        let gained =
            |history: &History| -> u32 { history.frames(0).flat_map(|frame| frame.gained(&key)).sum() };
        let before = (history.span_ns(), gained(&history));
        for _ in 0..15 {
            history.merge_pair();
        }
        assert_eq!(history.len(), 25);
        assert_eq!((history.span_ns(), gained(&history)), before);
        let oldest = history.len() - 1;
        assert!(!history.rows(&model.snapshot().rows, oldest).is_empty());
    }

    #[test]
    fn memory_is_bounded_while_every_row_moves() {
        let mut history = History {
            most_bytes: 1 << 20,
            ..History::default()
        };
        let mut scenario = Scenario::default().with_extra(100);
        let rows: Vec<DestRow> = scenario
            .step()
            .1
            .dests
            .iter()
            .map(|(key, stats)| DestRow::new(*key, stats.clone(), None))
            .collect();
        for second in 0..700 {
            let mut changes = Changes::default();
            for row in &rows {
                changes.add(&row.key, None, Some(row));
            }
            history.push(
                Frame::new(second, 1_000_000_000, Totals::default(), Totals::default()),
                changes,
            );
            assert!(history.bytes() <= history.most_bytes);
        }
        assert!(
            history.span_ns() >= 600 * 1_000_000_000,
            "{} frames",
            history.len()
        );
    }
}
