//! The four latency histograms of a destination, packed: most of the 96 buckets are zero.

use tfo_common::{DestStats, limits::BUCKETS};

/// Which latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// Handshakes of TFO connections.
    HandshakeTfo = 0,
    /// Handshakes of plain connections.
    HandshakePlain = 1,
    /// Time to first byte of TFO connections.
    TtfbTfo = 2,
    /// Time to first byte of plain connections.
    TtfbPlain = 3,
}

/// Counts per log2 bucket.
pub type Buckets = [u32; BUCKETS];

/// Only the buckets that are not zero: (histogram and bucket, count).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms(Box<[(u8, u32)]>);

impl Histograms {
    /// Packs those of a table row.
    pub fn new(stats: &DestStats) -> Self {
        Self(filled(stats).collect())
    }

    /// Whether they say the same as those of a table row.
    pub fn matches(&self, stats: &DestStats) -> bool {
        self.0.iter().copied().eq(filled(stats))
    }

    /// These and others added up.
    #[must_use]
    pub fn plus(&self, other: &Histograms) -> Self {
        let mut sums: Vec<(u8, u32)> = self.0.to_vec();
        for (place, count) in &other.0 {
            match sums.binary_search_by_key(place, |(place, _)| *place) {
                Ok(at) => sums[at].1 = sums[at].1.saturating_add(*count),
                Err(at) => sums.insert(at, (*place, *count)),
            }
        }
        Self(sums.into())
    }

    /// One of the four.
    pub fn get(&self, latency: Latency) -> Buckets {
        let mut buckets = [0; BUCKETS];
        for (place, count) in &self.0 {
            let place = usize::from(*place);
            if place / BUCKETS == latency as usize {
                buckets[place % BUCKETS] = *count;
            }
        }
        buckets
    }
}

fn filled(stats: &DestStats) -> impl Iterator<Item = (u8, u32)> {
    let all = [
        &stats.handshake_tfo,
        &stats.handshake_plain,
        &stats.ttfb_tfo,
        &stats.ttfb_plain,
    ];
    let counts = all.into_iter().flatten().copied();
    (0u8..).zip(counts).filter(|(_, count)| *count > 0)
}

/// The value below which `share` of the counts lie: the upper edge of its bucket, us. `None` when empty.
pub fn quantile_us(buckets: &Buckets, share: f64) -> Option<u64> {
    let total: u64 = buckets.iter().copied().map(u64::from).sum();
    let mut below = 0;
    buckets.iter().enumerate().find_map(|(bucket, count)| {
        below += u64::from(*count);
        (total > 0 && below as f64 >= share * total as f64).then_some(1 << bucket)
    })
}

const _: () = assert!(4 * BUCKETS <= u8::MAX as usize);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_keeps_every_bucket() {
        let mut stats = DestStats::ZERO;
        stats.handshake_tfo[0] = 1;
        stats.handshake_plain[BUCKETS - 1] = u32::MAX;
        stats.ttfb_tfo[7] = 9;
        stats.ttfb_plain[3] = 4;
        let packed = Histograms::new(&stats);
        assert_eq!(packed.get(Latency::HandshakeTfo), stats.handshake_tfo);
        assert_eq!(packed.get(Latency::HandshakePlain), stats.handshake_plain);
        assert_eq!(packed.get(Latency::TtfbTfo), stats.ttfb_tfo);
        assert_eq!(packed.get(Latency::TtfbPlain), stats.ttfb_plain);
        assert!(packed.matches(&stats));
        stats.ttfb_plain[4] = 1;
        assert!(!packed.matches(&stats));
    }

    #[test]
    fn quantiles_are_bucket_edges() {
        let mut buckets = [0; BUCKETS];
        assert_eq!(quantile_us(&buckets, 0.5), None);
        buckets[10] = 99;
        buckets[20] = 1;
        assert_eq!(quantile_us(&buckets, 0.5), Some(1 << 10));
        assert_eq!(quantile_us(&buckets, 1.0), Some(1 << 20));
    }
}
