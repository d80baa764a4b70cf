//! What a guard was asked for, and its defaults.

/// Attempts a window can hold.
pub const MAX_WINDOW: u8 = 32;
/// K by default.
pub const FAILURES: u8 = 5;
/// N by default.
pub const OF: u8 = 6;
/// First back-off by default, ns.
pub const BACKOFF_NS: u64 = 600 * 1_000_000_000;
/// Longest back-off by default, ns.
pub const MAX_BACKOFF_NS: u64 = 86_400 * 1_000_000_000;
/// Longest time a trial may take, ns: the default six SYN retransmissions (`net.ipv4.tcp_syn_retries`) last 127 s.
pub const TRIAL_NS: u64 = 130 * 1_000_000_000;

/// A guard on a cgroup and everything below it, up to the next guard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GuardConfig {
    /// First back-off, ns.
    pub backoff_ns: u64,
    /// Longest back-off, ns.
    pub max_backoff_ns: u64,
    /// `CLOCK_REALTIME` ns of its making.
    pub created_ns: u64,
    /// K: failures that open it.
    pub failures: u8,
    /// N: attempts in the window, at most [`MAX_WINDOW`].
    pub of: u8,
    /// 1: strip the option where bare SYNs with it fail too.
    pub escalate: u8,
    /// Zero.
    pub pad: [u8; 5],
    /// Who made it.
    pub by: [u8; crate::policy::BY_LEN],
    /// Path of the cgroup when it was made.
    pub cgroup: [u8; crate::policy::PATH_LEN],
}

/// The back-off after so many relapses: doubled each time, bounded.
#[inline(always)]
pub const fn backoff(config: &GuardConfig, relapses: u8) -> u64 {
    let shift = if relapses > 31 { 31 } else { relapses as u32 };
    // In ms, so that 31 doublings do not overflow.
    let most = config.max_backoff_ns / 1_000_000;
    let wanted = (config.backoff_ns / 1_000_000) << shift;
    (if wanted > most { most } else { wanted }) * 1_000_000
}

const _: () = assert!(size_of::<GuardConfig>() == 288);
