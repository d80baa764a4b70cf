//! The per-destination table: key and value of [`crate::maps::DESTS`], and what the value adds up to.

use crate::{
    event::FlowEvent,
    limits::BUCKETS,
    outcome::{Outcome, Role},
    time::{UNSEEN_US, bucket},
};

/// Who talks to whom: one row of the destination table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct DestKey {
    /// cgroup v2 id of the socket's cgroup (inode of its directory); 0 where unknown.
    pub cgroup_id: u64,
    /// Remote address, network order; IPv4 in the first four bytes, the rest zero. For a server cut to
    /// [`crate::limits::SERVER_V4_PREFIX`] / [`crate::limits::SERVER_V6_PREFIX`].
    pub remote: [u8; 16],
    /// Client: remote port. Server: local port. Host order.
    pub port: u16,
    /// [`Role`] code.
    pub role: u8,
    /// 4 or 6: the family on the wire (a v4-mapped peer is 4).
    pub family: u8,
    /// Zero.
    pub pad: u32,
}

/// What one destination added up to since the programs were attached. All durations in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DestStats {
    /// Handshakes by [`Outcome`].
    pub outcomes: [u64; Outcome::COUNT],
    /// SYN payload bytes sent (client) or received (server).
    pub syn_bytes: u64,
    /// SYN payload bytes accepted.
    pub syn_bytes_acked: u64,
    /// Sum of handshake RTTs saved by `accepted`.
    pub saved_us: u64,
    /// Sum of times lost by `syn-timeout` and `accepted-late`.
    pub lost_us: u64,
    /// Sum and number of handshake RTTs: the time from the SYN that was answered to its answer.
    pub rtt_sum_us: u64,
    /// Number of RTTs in `rtt_sum_us`.
    pub rtt_count: u64,
    /// SYN-ACKs that brought a cookie.
    pub cookies: u64,
    /// Plain handshakes whose SYN (client) or SYN-ACK (server) was retransmitted: the path's baseline.
    pub plain_retrans: u64,
    /// `CLOCK_MONOTONIC` ns of the latest handshake.
    pub last_ns: u64,
    /// Handshake durations of TFO connections, log2 buckets ([`crate::time::bucket`]).
    pub handshake_tfo: [u32; BUCKETS],
    /// The same for plain connections.
    pub handshake_plain: [u32; BUCKETS],
    /// Times to first byte of TFO connections.
    pub ttfb_tfo: [u32; BUCKETS],
    /// The same for plain connections.
    pub ttfb_plain: [u32; BUCKETS],
}

/// [`DestStats`] as the kernel side keeps it, the value of [`crate::maps::DESTS`]. An addition that other CPUs see takes as
/// long as a look-up in an array, and a cache line that another CPU has written five times that: of a healthy handshake only
/// what cannot be told from the rest is added, and it lies side by side, in the line with the end of the key. All durations in
/// microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DestCounts {
    /// As [`DestStats::last_ns`].
    pub last_ns: u64,
    /// Sum of all RTTs but those that were saved.
    pub other_rtts_us: u64,
    /// Sum of the RTTs that were saved: as [`DestStats::saved_us`].
    pub saved_us: u64,
    /// As [`DestStats::syn_bytes_acked`].
    pub syn_bytes_acked: u64,
    /// As [`DestStats::outcomes`], but that a plain handshake with a known duration is counted in `handshake_plain` only.
    pub outcomes: [u64; Outcome::COUNT],
    /// SYN payload bytes that were not accepted.
    pub syn_bytes_refused: u64,
    /// Handshakes without an RTT: those that failed, that were not timed, or of which something was sent again.
    pub without_rtt: u64,
    /// As [`DestStats::lost_us`].
    pub lost_us: u64,
    /// As [`DestStats::cookies`].
    pub cookies: u64,
    /// As [`DestStats::plain_retrans`].
    pub plain_retrans: u64,
    /// As [`DestStats::handshake_plain`].
    pub handshake_plain: [u32; BUCKETS],
    /// As [`DestStats::handshake_tfo`].
    pub handshake_tfo: [u32; BUCKETS],
    /// As [`DestStats::ttfb_plain`].
    pub ttfb_plain: [u32; BUCKETS],
    /// As [`DestStats::ttfb_tfo`].
    pub ttfb_tfo: [u32; BUCKETS],
    /// Zero. With it, its key and what the kernel keeps beside them (`struct htab_elem`, 48 bytes) each row is whole cache
    /// lines.
    pub pad: [u64; 2],
}

impl DestCounts {
    /// All zero.
    pub const ZERO: Self = Self {
        last_ns: 0,
        other_rtts_us: 0,
        saved_us: 0,
        syn_bytes_acked: 0,
        outcomes: [0; Outcome::COUNT],
        syn_bytes_refused: 0,
        without_rtt: 0,
        lost_us: 0,
        cookies: 0,
        plain_retrans: 0,
        handshake_plain: [0; BUCKETS],
        handshake_tfo: [0; BUCKETS],
        ttfb_plain: [0; BUCKETS],
        ttfb_tfo: [0; BUCKETS],
        pad: [0; 2],
    };

    /// What it adds up to. A handshake that is being added at this moment may be in one number and not yet in another.
    pub fn stats(&self) -> DestStats {
        let mut outcomes = self.outcomes;
        outcomes[Outcome::Plain as usize] += self.handshake_plain.iter().copied().map(u64::from).sum::<u64>();
        let handshakes: u64 = outcomes.iter().sum();
        DestStats {
            outcomes,
            syn_bytes: self.syn_bytes_acked + self.syn_bytes_refused,
            syn_bytes_acked: self.syn_bytes_acked,
            saved_us: self.saved_us,
            lost_us: self.lost_us,
            rtt_sum_us: self.saved_us + self.other_rtts_us,
            rtt_count: handshakes.saturating_sub(self.without_rtt),
            cookies: self.cookies,
            plain_retrans: self.plain_retrans,
            last_ns: self.last_ns,
            handshake_tfo: self.handshake_tfo,
            handshake_plain: self.handshake_plain,
            ttfb_tfo: self.ttfb_tfo,
            ttfb_plain: self.ttfb_plain,
        }
    }
}

/// Connections of a client with Fast Open that had lived for [`crate::flags::Config::long_lived_ms`] or longer when they
/// ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Lived {
    /// How many.
    pub ended: u64,
    /// Their ages added up, us.
    pub lived_us: u64,
    /// Payload bytes they carried, both ways: acked of what was sent, and received.
    pub bytes: u64,
}

impl DestStats {
    /// All zero.
    pub const ZERO: Self = Self {
        outcomes: [0; Outcome::COUNT],
        syn_bytes: 0,
        syn_bytes_acked: 0,
        saved_us: 0,
        lost_us: 0,
        rtt_sum_us: 0,
        rtt_count: 0,
        cookies: 0,
        plain_retrans: 0,
        last_ns: 0,
        handshake_tfo: [0; BUCKETS],
        handshake_plain: [0; BUCKETS],
        ttfb_tfo: [0; BUCKETS],
        ttfb_plain: [0; BUCKETS],
    };

    /// Adds the handshake of a record, but for its cookie and its first byte.
    pub fn add_handshake(&mut self, outcome: Outcome, flow: &FlowEvent) {
        self.outcomes[outcome as usize] += 1;
        self.last_ns = self.last_ns.max(flow.end_ns);
        if flow.rtt_us != UNSEEN_US {
            self.rtt_sum_us += u64::from(flow.rtt_us);
            self.rtt_count += 1;
        }
        let handshakes = if outcome.is_plain() {
            self.plain_retrans += u64::from(flow.syn_retrans > 0);
            &mut self.handshake_plain
        } else {
            self.syn_bytes += u64::from(flow.syn_data_len);
            self.syn_bytes_acked += u64::from(flow.syn_data_acked);
            self.saved_us += u64::from(flow.saved_us);
            self.lost_us += u64::from(flow.lost_us);
            &mut self.handshake_tfo
        };
        if flow.handshake_us != UNSEEN_US {
            handshakes[bucket(flow.handshake_us)] += 1;
        }
    }

    /// Adds what another part of the same destination's connections added up to.
    pub fn add(&mut self, other: &Self) {
        fn add<T: Copy + core::ops::AddAssign>(sums: &mut [T], others: &[T]) {
            sums.iter_mut()
                .zip(others)
                .for_each(|(sum, other)| *sum += *other);
        }
        add(&mut self.outcomes, &other.outcomes);
        self.syn_bytes += other.syn_bytes;
        self.syn_bytes_acked += other.syn_bytes_acked;
        self.saved_us += other.saved_us;
        self.lost_us += other.lost_us;
        self.rtt_sum_us += other.rtt_sum_us;
        self.rtt_count += other.rtt_count;
        self.cookies += other.cookies;
        self.plain_retrans += other.plain_retrans;
        self.last_ns = self.last_ns.max(other.last_ns);
        add(&mut self.handshake_tfo, &other.handshake_tfo);
        add(&mut self.handshake_plain, &other.handshake_plain);
        add(&mut self.ttfb_tfo, &other.ttfb_tfo);
        add(&mut self.ttfb_plain, &other.ttfb_plain);
    }

    /// Handshakes of every outcome.
    pub fn handshakes(&self) -> u64 {
        self.outcomes.iter().sum()
    }

    /// Handshakes in which TFO was asked for or seen.
    pub fn attempts(&self) -> u64 {
        self.handshakes() - self.outcomes[Outcome::Plain as usize]
    }
}

impl Default for DestStats {
    fn default() -> Self {
        Self::ZERO
    }
}

const _: () = assert!(size_of::<DestKey>() == 32);
const _: () = assert!(size_of::<DestStats>() == Outcome::COUNT * 8 + 9 * 8 + 4 * BUCKETS * 4);
const _: () = assert!(size_of::<DestCounts>() == size_of::<DestStats>() + 16);
const _: () = assert!((48 + size_of::<DestKey>() + size_of::<DestCounts>()).is_multiple_of(64));
const _: () = assert!(Role::COUNT == 2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_counted_follows_from_the_rest() {
        let mut counts = DestCounts::ZERO;
        assert_eq!(counts.stats(), DestStats::ZERO);
        counts.outcomes[Outcome::Accepted as usize] = 5;
        counts.outcomes[Outcome::Plain as usize] = 1;
        (counts.handshake_plain[3], counts.handshake_plain[9]) = (1, 1);
        counts.outcomes[Outcome::Reset as usize] = 1;
        counts.without_rtt = 2;
        (counts.saved_us, counts.other_rtts_us) = (500, 70);
        (counts.syn_bytes_acked, counts.syn_bytes_refused) = (1_000, 24);
        let stats = counts.stats();
        assert_eq!((stats.rtt_sum_us, stats.rtt_count), (570, 7));
        assert_eq!((stats.syn_bytes, stats.syn_bytes_acked), (1_024, 1_000));
        assert_eq!((stats.saved_us, stats.handshakes()), (500, 9));
        assert_eq!(stats.outcomes[Outcome::Plain as usize], 3);
    }
}
