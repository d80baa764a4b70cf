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
/// RSTs a path is not blamed without.
pub const RESET_LEAST: u64 = 2;
/// Handshakes that succeeded between the first RST and the last: the port was open all the time.
pub const RESET_OPEN: u64 = 2;
/// SYNs that came without their option.
pub const STRIPPED_LEAST: u64 = 3;
/// SYNs an ICMP error sent again.
pub const PMTU_LEAST: usize = 2;
/// SYN-ACKs lost with their data acked, and the share of SYNs with data from which on they are told.
pub const SYNACK_LEAST: u64 = 3;
/// See [`SYNACK_LEAST`].
pub const SYNACK_SHARE: f64 = 0.01;
/// Plain handshakes before and after the first failure that make a grudge.
pub const GRUDGE_LEAST: u64 = 4;
/// Share of plain SYNs lost before it, at most.
pub const GRUDGE_BEFORE: f64 = 0.1;
/// Share of plain SYNs lost after it, at least.
pub const GRUDGE_AFTER: f64 = 0.5;
/// SYNs with data a server refused, as its clients see it.
pub const REFUSED_LEAST: u64 = 5;
/// Share of them that were.
pub const REFUSED_SHARE: f64 = 0.9;
/// SYNs with Fast Open that met a server without it, a full queue or SYN cookies, as the server sees it.
pub const SERVER_LEAST: u64 = 3;
/// Share of SYNs with Fast Open that found the queue full.
pub const OVERFLOW_SHARE: f64 = 0.01;
/// Queue limits at most this large are called a common default.
pub const SMALL_QUEUE: u32 = 5;
/// Cookies refused that had just been issued to a client that was refused so before: the third in a row.
pub const MISMATCH_LEAST: u64 = 2;
/// The same of one client, as the server sees it: several hosts may share an address.
pub const MISMATCH_LEAST_SERVER: u64 = 4;
/// Share of SYNs with data that were refused so.
pub const MISMATCH_SHARE: f64 = 0.2;
/// Share of refusals from which on the number of keys cannot be told: servers come in turns.
pub const MISMATCH_TURNS: f64 = 0.9;
/// Requests from an address that had been granted a cookie.
pub const UNCACHED_LEAST: u64 = 5;
/// Share of attempts that only ask, from there on.
pub const UNCACHED_SHARE: f64 = 0.5;
/// Requests from ever new source addresses.
pub const ROTATING_LEAST: usize = 10;
/// Share of attempts that only ask, and of requests with an address of their own.
pub const ROTATING_SHARE: f64 = 0.8;
/// Age from which on a connect that is put off is told, us.
pub const DEFERRED_WARN_US: u64 = 1_000_000;
/// Age from which on it is a failure, us.
pub const DEFERRED_FAIL_US: u64 = 5_000_000;
/// Connections that offered more than a SYN carries.
pub const CAPPED_LEAST: usize = 3;
/// Share of connections with data that did.
pub const CAPPED_SHARE: f64 = 0.5;
/// Connections with an empty or tiny first write.
pub const TINY_LEAST: usize = 5;
/// Share of connections with a cookie that had.
pub const TINY_SHARE: f64 = 0.5;
/// First writes of at most this many bytes are tiny.
pub const TINY_BYTES: u32 = 8;
/// Accepted connections a benefit is judged by.
pub const BENEFIT_LEAST: usize = 10;
/// Round trips below it are too short to judge, us.
pub const BENEFIT_RTT_US: u32 = 1_000;
/// Share of them whose answer came late.
pub const BENEFIT_SHARE: f64 = 0.8;
/// The answer comes this many round trips after the SYN-ACK, at most: later it is the server that thinks.
pub const BENEFIT_LATEST: f64 = 1.5;
/// Plain connections to a destination that could use Fast Open.
pub const UNUSED_LEAST: u64 = 100;
/// Share of its connections that use it already, below.
pub const UNUSED_SHARE: f64 = 0.01;
/// Round trips from which on it is worth it, us.
pub const UNUSED_RTT_US: u64 = 20_000;
/// Ended connections a lifetime is judged by.
pub const LIVED_LEAST: u64 = 10;
/// Mean lifetime in round trips from which on a connection is long-lived; in time it is `--long-lived`
/// ([`tfo_common::limits::LONG_LIVED_MS`]).
pub const LIVED_ROUND_TRIPS: u64 = 1_000;
/// Findings of one diagnosis that are kept, the worst; the others are counted.
pub const MOST_OF_A_KIND: usize = 100;
/// Shorter windows are not extrapolated to an hour, ns.
pub const HOUR_FROM_NS: u64 = 5_000_000_000;
