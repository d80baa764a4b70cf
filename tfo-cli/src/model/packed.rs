//! The counts of a destination as the model has them: a third as long as in the kernel's table, because a full table of
//! which every row changes is gone through each second.

use tfo_common::{DestStats, Outcome};

use super::histogram::{Histograms, Latency};

/// [`DestStats`], packed. A count that does not fit stays at its largest value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packed {
    /// Handshakes by outcome.
    pub outcomes: [u32; Outcome::COUNT],
    /// SYN payload bytes sent or received.
    pub syn_bytes: u64,
    /// SYN payload bytes accepted.
    pub syn_bytes_acked: u64,
    /// Time saved, us.
    pub saved_us: u64,
    /// Time lost, us.
    pub lost_us: u64,
    /// Sum of round-trip times, us.
    pub rtt_sum_us: u64,
    /// Number of round-trip times.
    pub rtt_count: u32,
    /// SYN-ACKs that brought a cookie.
    pub cookies: u32,
    /// Plain handshakes with a retransmission: the path's baseline.
    pub plain_retrans: u32,
    /// `CLOCK_MONOTONIC` ns of the latest handshake.
    pub last_ns: u64,
    /// Latency histograms.
    pub histograms: Histograms,
}

impl Packed {
    /// Handshakes of every outcome.
    pub fn handshakes(&self) -> u64 {
        self.outcomes.iter().copied().map(u64::from).sum()
    }

    /// Whether there was no handshake.
    pub fn is_empty(&self) -> bool {
        self.outcomes == [0; Outcome::COUNT]
    }

    /// As the kernel has it, as far as it was kept.
    pub fn stats(&self) -> DestStats {
        DestStats {
            outcomes: self.outcomes.map(u64::from),
            syn_bytes: self.syn_bytes,
            syn_bytes_acked: self.syn_bytes_acked,
            saved_us: self.saved_us,
            lost_us: self.lost_us,
            rtt_sum_us: self.rtt_sum_us,
            rtt_count: self.rtt_count.into(),
            cookies: self.cookies.into(),
            plain_retrans: self.plain_retrans.into(),
            last_ns: self.last_ns,
            handshake_tfo: self.histograms.get(Latency::HandshakeTfo),
            handshake_plain: self.histograms.get(Latency::HandshakePlain),
            ttfb_tfo: self.histograms.get(Latency::TtfbTfo),
            ttfb_plain: self.histograms.get(Latency::TtfbPlain),
        }
    }
}

impl From<&DestStats> for Packed {
    fn from(stats: &DestStats) -> Self {
        Self {
            outcomes: stats.outcomes.map(clamp),
            syn_bytes: stats.syn_bytes,
            syn_bytes_acked: stats.syn_bytes_acked,
            saved_us: stats.saved_us,
            lost_us: stats.lost_us,
            rtt_sum_us: stats.rtt_sum_us,
            rtt_count: clamp(stats.rtt_count),
            cookies: clamp(stats.cookies),
            plain_retrans: clamp(stats.plain_retrans),
            last_ns: stats.last_ns,
            histograms: Histograms::new(stats),
        }
    }
}

/// The count, or the largest that fits.
pub fn clamp(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
