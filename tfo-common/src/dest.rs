//! The per-destination table: key and value of [`crate::maps::DESTS`].

use crate::{
    limits::BUCKETS,
    outcome::{Outcome, Role},
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
const _: () = assert!(Role::COUNT == 2);
