//! The results of a probe for one address.

use std::net::SocketAddr;

use super::{
    attempt::{Attempt, Step},
    raw::{
        Kind,
        locate::{Located, Walk},
        tally::Tally,
    },
    timing::{self, Times},
    verdict::{self, Verdict},
};

/// All attempts to one address, and the verdict.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The address.
    pub address: SocketAddr,
    /// The attempts, in the order in which they were made.
    pub attempts: Vec<Attempt>,
    /// The verdict about them.
    pub verdict: Verdict,
    /// Times without Fast Open.
    pub plain: Times,
    /// Times of connections with data in the SYN.
    pub fast_open: Times,
    /// Time that Fast Open saves until the first byte, in ms; negative when it costs time.
    pub saving_ms: Option<f64>,
    /// The answers to SYNs from a raw socket (`--raw`).
    pub raw: Vec<Tally>,
    /// The routers on the path (`--locate`).
    pub walk: Walk,
}

impl Report {
    /// Judges the attempts.
    pub fn new(address: SocketAddr, attempts: Vec<Attempt>) -> Self {
        let (plain, fast_open) = (
            timing::of(&attempts, Step::Plain),
            timing::of(&attempts, Step::FastOpen),
        );
        Self {
            address,
            verdict: verdict::judge(&attempts),
            saving_ms: timing::saving_ms(&plain, &fast_open),
            attempts,
            plain,
            fast_open,
            raw: Vec::new(),
            walk: Walk::default(),
        }
    }

    /// The fate of each kind of SYN on the path; empty without `--locate`.
    pub fn located(&self) -> Vec<Located> {
        let kinds = Kind::SUSPECTS.into_iter().filter(|_| !self.walk.hops.is_empty());
        kinds
            .map(|kind| self.walk.locate(kind, self.address.ip()))
            .collect()
    }
}
