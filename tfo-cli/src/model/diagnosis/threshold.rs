//! Where each diagnosis begins. Every number is tested at its edge, and `docs/diagnoses.md` names them.

/// Probability that random loss raises one false alarm about a path anywhere on the host. It is shared by all
/// destinations that are judged, so that thousands of them do not raise it by their number.
pub const FALSE_ALARM: f64 = 1e-3;
/// Share of SYNs a path is assumed to lose before anything is known about it.
pub const ASSUMED_LOSS: f64 = 0.02;
/// Plain handshakes the assumption weighs as much as.
pub const ASSUMED_WEIGHT: f64 = 50.0;
/// Unanswered SYNs a path is not blamed without.
pub const PATH_LEAST: u64 = 2;
/// Moments at which SYNs went unanswered. One outage makes SYNs whose first retransmission is answered only in its
/// last second, because the retransmission follows after one (`TCP_TIMEOUT_INIT`): that is one moment.
pub const PATH_MOMENTS: usize = 2;
/// Unanswered SYNs a path is not blamed without where the flows themselves are gone, so that moments are not known.
pub const PATH_LEAST_UNTIMED: u64 = 10;
/// Length of a moment.
pub const MOMENT_NS: u64 = 1_000_000_000;
/// Share of unanswered SYNs from which on the path as a whole is broken, and not a part of it.
pub const PATH_BROKEN_SHARE: f64 = 0.5;
/// Plain handshakes that make a baseline.
pub const BASELINE_LEAST: u64 = 5;
/// Failures that make a finding certain, given a baseline.
pub const CERTAIN_LEAST: u64 = 5;
/// Retransmissions sooner than this come from an ICMP error, not from the timer (`tcp_simple_retransmit`), us.
pub const BEFORE_TIMER_US: u32 = 200_000;
/// Later attempts without the fault after which it is over.
pub const OVER_AFTER: usize = 10;
/// Shorter windows are not extrapolated to an hour, ns.
pub const HOUR_FROM_NS: u64 = 5_000_000_000;
