//! The four latency histograms of a destination, packed: most of the 96 buckets are zero.

use std::sync::Arc;

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

/// Only the buckets that are not zero: (histogram and bucket, count), in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histograms(Packed);

/// Buckets that fit in the row itself. Most destinations have no more, and a table of which every row changes each second
/// has nothing to allocate and free for them.
const FEW: usize = 6;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Packed {
    /// The first `len` of them; zeros behind.
    Few {
        len: u8,
        places: [u8; FEW],
        counts: [u32; FEW],
    },
    Many(Arc<[(u8, u32)]>),
}

impl Default for Packed {
    fn default() -> Self {
        Self::Few {
            len: 0,
            places: [0; FEW],
            counts: [0; FEW],
        }
    }
}

impl Packed {
    fn of(filled: impl Iterator<Item = (u8, u32)> + Clone) -> Self {
        let (mut places, mut counts) = ([0; FEW], [0; FEW]);
        let mut len = 0;
        for (place, count) in filled.clone() {
            if usize::from(len) == FEW {
                return Self::Many(filled.collect());
            }
            (places[usize::from(len)], counts[usize::from(len)]) = (place, count);
            len += 1;
        }
        Self::Few { len, places, counts }
    }

    fn get(&self, index: usize) -> Option<(u8, u32)> {
        match self {
            Self::Few { len, places, counts } => (index < usize::from(*len))
                .then(|| Some((*places.get(index)?, *counts.get(index)?)))
                .flatten(),
            Self::Many(filled) => filled.get(index).copied(),
        }
    }
}

impl Histograms {
    /// Packs those of a table row.
    pub fn new(stats: &DestStats) -> Self {
        Self(Packed::of(filled(stats)))
    }

    /// Something of the beginning and of the end of what is in the row itself: in whichever cache lines it lies, it is in these.
    pub const fn ends(&self) -> u64 {
        match self.0 {
            Packed::Few { len, counts, .. } => len as u64 ^ counts[FEW - 1] as u64,
            Packed::Many(_) => 0,
        }
    }

    /// The buckets that are not zero: their places, of which each of the four has [`BUCKETS`], and counts.
    pub fn filled(&self) -> impl Iterator<Item = (u8, u32)> + Clone {
        (0..).map_while(|index| self.0.get(index))
    }

    /// These and others added up.
    #[must_use]
    pub fn plus(&self, other: &Histograms) -> Self {
        let mut sums: Vec<(u8, u32)> = self.filled().collect();
        for (place, count) in other.filled() {
            match sums.binary_search_by_key(&place, |(place, _)| *place) {
                Ok(at) => sums[at].1 = sums[at].1.saturating_add(count),
                Err(at) => sums.insert(at, (place, count)),
            }
        }
        Self(Packed::of(sums.into_iter()))
    }

    /// One of the four.
    pub fn get(&self, latency: Latency) -> Buckets {
        let mut buckets = [0; BUCKETS];
        for (place, count) in self.filled() {
            let place = usize::from(place);
            if place / BUCKETS == latency as usize {
                buckets[place % BUCKETS] = count;
            }
        }
        buckets
    }
}

/// Buckets looked at at once: a cache line is four times as long.
const AT_ONCE: usize = 8;

fn filled(stats: &DestStats) -> impl Iterator<Item = (u8, u32)> + Clone {
    let all = [
        &stats.handshake_tfo,
        &stats.handshake_plain,
        &stats.ttfb_tfo,
        &stats.ttfb_plain,
    ];
    let chunks = all
        .into_iter()
        .flat_map(|histogram| histogram.chunks_exact(AT_ONCE));
    let with_any = (0u8..)
        .step_by(AT_ONCE)
        .zip(chunks)
        .filter(|(_, chunk)| chunk.iter().fold(0, |any, count| any | count) != 0);
    with_any
        .flat_map(|(first, chunk)| (first..).zip(chunk.iter().copied()))
        .filter(|(_, count)| *count > 0)
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
const _: () = assert!(BUCKETS.is_multiple_of(AT_ONCE));
const _: () = assert!(size_of::<Histograms>() == 32);

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
        assert_eq!(packed, Histograms::new(&stats));
        stats.ttfb_plain[4] = 1;
        assert_ne!(packed, Histograms::new(&stats));
        // More than fit in a row.
        stats.ttfb_tfo = [3; BUCKETS];
        let packed = Histograms::new(&stats);
        assert_eq!(packed.filled().count(), BUCKETS + 4);
        assert_eq!(packed.get(Latency::TtfbTfo), stats.ttfb_tfo);
        assert_eq!(packed.get(Latency::TtfbPlain), stats.ttfb_plain);
        assert_eq!(packed.plus(&Histograms::default()), packed);
        assert_eq!(Histograms::default().plus(&packed), packed);
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
