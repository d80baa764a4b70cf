//! The present time by both clocks that rules and guards use: `kernel::now` reads it, everything else is given it.

/// The present time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// `CLOCK_MONOTONIC`, in ns: rules expire by it.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME`, in ns: rules and guards are made by it.
    pub wall_ns: u64,
}

impl Now {
    /// Time until an instant of `CLOCK_MONOTONIC` in ns, in us; 0 when it is past.
    pub fn until_us(self, ns: u64) -> u64 {
        ns.saturating_sub(self.monotonic_ns) / 1_000
    }

    /// Time since an instant of `CLOCK_REALTIME` in ns, in us; 0 when it is still to come.
    pub fn age_us(self, created_ns: u64) -> u64 {
        self.wall_ns.saturating_sub(created_ns) / 1_000
    }
}
