//! The present, as rules and guards count time: read by `kernel::now`, passed in everywhere else.

/// The present, on both clocks a rule knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_MONOTONIC` ns: the clock of expiry.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` ns: the clock of creation.
    pub wall_ns: u64,
}

impl Now {
    /// Time from now to an instant of the monotonic clock, us.
    pub fn until_us(self, ns: u64) -> u64 {
        ns.saturating_sub(self.monotonic_ns) / 1_000
    }

    /// Time since an instant of the wall clock, us.
    pub fn age_us(self, created_ns: u64) -> u64 {
        self.wall_ns.saturating_sub(created_ns) / 1_000
    }
}
