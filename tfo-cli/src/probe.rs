//! `tfo-cli probe`: connects to one destination with and without Fast Open, and judges the results.
//!
//! ```text
//! target ──> connect (ordinary sockets, one attempt at a time) ──> attempts ──> verdict ──> output
//! payload ─────┘                                                      └──────> timing ──────┘
//! ```
//!
//! `attempt`, `payload`, `timing` and `verdict` do no I/O; only `connect`, `serve` and `raw::socket` have sockets.

pub mod attempt;
pub mod connect;
pub mod payload;
pub mod raw;
pub mod report;
pub mod serve;
mod sockopt;
pub mod target;
pub mod timing;
pub mod verdict;

/// Most attempts of each kind: a probe is no load test.
pub const MOST_ATTEMPTS: u32 = 20;
/// Shortest pause between two attempts.
pub const PAUSE: std::time::Duration = std::time::Duration::from_millis(100);
