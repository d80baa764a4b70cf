//! One row of the destination table, kept small: 16,384 of them live in several snapshots at once.

use std::{net::IpAddr, ops::Deref};

use tfo_common::{DestKey, Outcome, Role, outcome::Group};

use super::{
    histogram::Latency,
    packed::{Packed, clamp},
    row_delta::{RowDelta, SparseRow},
};
use crate::addr;

/// Intervals a row remembers for its sparkline.
pub const TREND: usize = 16;

/// What one destination added up to, and how it moved lately.
#[derive(Clone, Debug, PartialEq)]
pub struct DestRow {
    /// Who talks to whom.
    pub key: DestKey,
    /// What it added up to.
    pub counts: Packed,
    /// Attempts in each of the latest intervals, newest last.
    pub trend: [u16; TREND],
    /// Handshakes in the latest interval.
    pub fresh: u32,
}

/// A row is read as its counts.
impl Deref for DestRow {
    type Target = Packed;

    fn deref(&self) -> &Packed {
        &self.counts
    }
}

impl DestRow {
    /// A row out of the kernel's table. `before` is the same row one interval ago.
    pub fn new(key: DestKey, counts: impl Into<Packed>, before: Option<&DestRow>) -> Self {
        let mut row = Self {
            key,
            counts: counts.into(),
            trend: [0; TREND],
            fresh: 0,
        };
        // A row the LRU dropped and made anew starts at zero again.
        row.advance(before.filter(|before| before.handshakes() <= row.handshakes()));
        row
    }

    /// Whether nothing happened to it since.
    pub fn is_same(&self, before: &DestRow) -> bool {
        self.last_ns == before.last_ns
            && self.outcomes == before.outcomes
            && self.histograms == before.histograms
    }

    /// This row and another one added up.
    #[must_use]
    pub fn plus(&self, other: &DestRow) -> Self {
        let mut row = self.clone();
        for (sum, more) in row.trend.iter_mut().zip(other.trend) {
            *sum = sum.saturating_add(more);
        }
        row.fresh = row.fresh.saturating_add(other.fresh);
        let sum = &mut row.counts;
        for (sum, more) in sum.outcomes.iter_mut().zip(other.outcomes) {
            *sum = sum.saturating_add(more);
        }
        sum.syn_bytes = sum.syn_bytes.saturating_add(other.syn_bytes);
        sum.syn_bytes_acked = sum.syn_bytes_acked.saturating_add(other.syn_bytes_acked);
        sum.saved_us = sum.saved_us.saturating_add(other.saved_us);
        sum.lost_us = sum.lost_us.saturating_add(other.lost_us);
        sum.rtt_sum_us = sum.rtt_sum_us.saturating_add(other.rtt_sum_us);
        sum.rtt_count = sum.rtt_count.saturating_add(other.rtt_count);
        sum.cookies = sum.cookies.saturating_add(other.cookies);
        sum.plain_retrans = sum.plain_retrans.saturating_add(other.plain_retrans);
        sum.last_ns = sum.last_ns.max(other.last_ns);
        sum.histograms = sum.histograms.plus(&other.histograms);
        row
    }

    /// What a later state of the same row counts beyond this one.
    pub fn counted_since(&self, later: &Packed) -> Packed {
        let mut bytes = Vec::new();
        let mut base = self.stats();
        // The time of the latest handshake is no count.
        base.last_ns = 0;
        SparseRow::of(&later.stats()).put_difference(&SparseRow::of(&base), &mut bytes);
        let mut fields = SparseRow::default();
        if let Some(difference) = RowDelta::take(&mut &bytes[..]) {
            fields.add(&difference);
        }
        Packed::from(&fields.stats())
    }

    /// Moves the trend on by one interval.
    fn advance(&mut self, before: Option<&DestRow>) {
        let (mut attempts, mut handshakes) = (self.attempts(), self.handshakes());
        if let Some(before) = before {
            attempts = attempts.saturating_sub(before.attempts());
            handshakes -= before.handshakes();
            self.trend[..TREND - 1].copy_from_slice(&before.trend[1..]);
        }
        self.trend[TREND - 1] = u16::try_from(attempts).unwrap_or(u16::MAX);
        self.fresh = clamp(handshakes);
    }

    /// Which end this host is.
    pub fn role(&self) -> Role {
        Role::from_code(self.key.role).unwrap_or(Role::Client)
    }

    /// The other end, or the block it lies in.
    pub fn remote(&self) -> IpAddr {
        addr::ip(&self.key.remote, self.key.family)
    }

    /// Handshakes that ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        u64::from(self.outcomes[outcome as usize])
    }

    /// Handshakes in which Fast Open was asked for or seen.
    pub fn attempts(&self) -> u64 {
        self.handshakes() - self.count(Outcome::Plain)
    }

    /// Attempts that did not work.
    pub fn failures(&self) -> u64 {
        self.sum(Outcome::is_failure)
    }

    /// Handshakes whose outcome is in this group.
    pub fn count_group(&self, group: Group) -> u64 {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.group() == group)
            .map(|outcome| self.count(outcome))
            .sum()
    }

    /// Attempts whose SYN data was accepted whole.
    pub fn accepted(&self) -> u64 {
        self.sum(Outcome::is_hit)
    }

    /// Accepted of all attempts, 0 to 1; `None` without attempts.
    pub fn hit_rate(&self) -> Option<f64> {
        let attempts = self.attempts();
        (attempts > 0).then(|| self.accepted() as f64 / attempts as f64)
    }

    /// Round-trip time: the mean of the handshakes', but never above the bucket their median lies in. One handshake
    /// whose retransmission went unnoticed would else make seconds of a path of 50 us.
    pub fn rtt_us(&self) -> Option<u64> {
        let mean = self.rtt_sum_us.checked_div(u64::from(self.rtt_count))?;
        Some(self.median_handshake_us().map_or(mean, |median| mean.min(median)))
    }

    /// Upper edge of the bucket of the median handshake, without those that waited for a timer: the longest ones.
    fn median_handshake_us(&self) -> Option<u64> {
        let mut sums = self.histograms.get(Latency::HandshakeTfo).map(u64::from);
        let plain = self.histograms.get(Latency::HandshakePlain);
        for (sum, count) in sums.iter_mut().zip(plain) {
            *sum += u64::from(count);
        }
        let mut late = self.sum(Outcome::loses_timeout) + u64::from(self.plain_retrans);
        for count in sums.iter_mut().rev() {
            let taken = late.min(*count);
            *count -= taken;
            late -= taken;
        }
        let total: u64 = sums.iter().sum();
        let mut below = 0;
        let bucket = sums.iter().position(|count| {
            below += count;
            below > 0 && 2 * below >= total
        });
        bucket.map(|bucket| 1 << bucket)
    }

    /// Time saved minus time lost.
    pub fn net_us(&self) -> i64 {
        signed(self.saved_us).saturating_sub(signed(self.lost_us))
    }

    /// The outcome most attempts had: the verdict in one word.
    pub fn verdict(&self) -> Option<Outcome> {
        Outcome::ALL
            .into_iter()
            .filter(|outcome| !outcome.is_plain() && self.count(*outcome) > 0)
            // Of equals the one that is no failure wins, then the one with the lowest code.
            .rev()
            .max_by_key(|outcome| (self.count(*outcome), !outcome.is_failure()))
    }

    /// Handshakes of every outcome that satisfies the test.
    pub fn sum(&self, wanted: fn(Outcome) -> bool) -> u64 {
        let counts = Outcome::ALL.into_iter().zip(self.outcomes);
        counts
            // Of most there are none.
            .filter(|(outcome, count)| *count > 0 && wanted(*outcome))
            .map(|(_, count)| u64::from(count))
            .sum()
    }
}

fn signed(us: u64) -> i64 {
    i64::try_from(us).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use tfo_common::{DestStats, time::bucket};

    use super::*;
    use crate::model::fake;

    #[test]
    fn the_trend_moves_by_one_interval() {
        let key = fake::dest_key(1);
        let mut stats = DestStats::ZERO;
        stats.outcomes[Outcome::Accepted as usize] = 5;
        let first = DestRow::new(key, &stats, None);
        stats.outcomes[Outcome::Reset as usize] = 2;
        stats.outcomes[Outcome::Plain as usize] = 4;
        let second = DestRow::new(key, &stats, Some(&first));
        assert_eq!(second.trend[TREND - 2..], [5, 2]);
        assert_eq!(second.fresh, 6);
    }

    #[test]
    fn a_row_made_anew_by_the_kernel_starts_again() {
        let key = fake::dest_key(1);
        let mut stats = DestStats::ZERO;
        stats.outcomes[Outcome::Accepted as usize] = 50;
        let before = DestRow::new(key, &stats, None);
        stats.outcomes[Outcome::Accepted as usize] = 3;
        let row = DestRow::new(key, &stats, Some(&before));
        assert_eq!((row.fresh, row.trend[TREND - 1], row.trend[TREND - 2]), (3, 3, 0));
    }

    #[test]
    fn one_outlier_does_not_spoil_the_round_trip() {
        let mut stats = DestStats::ZERO;
        let add = |stats: &mut DestStats, rtt_us: u32| {
            stats.outcomes[Outcome::Accepted as usize] += 1;
            stats.rtt_sum_us += u64::from(rtt_us);
            stats.rtt_count += 1;
            stats.handshake_tfo[bucket(rtt_us)] += 1;
        };
        let row = |stats: &DestStats| DestRow::new(fake::dest_key(1), stats, None);
        for _ in 0..15 {
            add(&mut stats, 50);
        }
        assert_eq!(row(&stats).rtt_us(), Some(50));
        // The flag was lost that says that its SYN was sent again.
        add(&mut stats, 1_040_000);
        assert_eq!(row(&stats).rtt_us(), Some(64), "the mean is 65 ms");
        // Handshakes that waited for a timer say nothing of it, however many there are.
        stats.outcomes[Outcome::SynTimeout as usize] = 40;
        stats.handshake_tfo[bucket(1_030_000)] += 40;
        assert_eq!(row(&stats).rtt_us(), Some(64));
        // A mean below the edge stays what it is.
        let mut long = DestStats::ZERO;
        for rtt_us in [20_000, 21_000, 22_000] {
            add(&mut long, rtt_us);
        }
        assert_eq!(row(&long).rtt_us(), Some(21_000));
    }

    #[test]
    fn shares_and_verdicts() {
        let mut stats = DestStats::ZERO;
        let row = |stats: &DestStats| DestRow::new(fake::dest_key(1), stats, None);
        assert_eq!(
            (
                row(&stats).hit_rate(),
                row(&stats).verdict(),
                row(&stats).rtt_us()
            ),
            (None, None, None)
        );
        stats.outcomes[Outcome::Plain as usize] = 100;
        stats.outcomes[Outcome::Accepted as usize] = 3;
        stats.outcomes[Outcome::SynTimeout as usize] = 1;
        stats.saved_us = 10;
        stats.lost_us = 30;
        assert_eq!(row(&stats).hit_rate(), Some(0.75));
        assert_eq!(row(&stats).verdict(), Some(Outcome::Accepted));
        assert_eq!((row(&stats).failures(), row(&stats).net_us()), (1, -20));
        stats.outcomes[Outcome::SynTimeout as usize] = 3;
        assert_eq!(
            row(&stats).verdict(),
            Some(Outcome::Accepted),
            "of equals the better one"
        );
        stats.outcomes[Outcome::SynTimeout as usize] = u64::MAX / 4;
        assert_eq!(row(&stats).count(Outcome::SynTimeout), u64::from(u32::MAX));
    }
}
