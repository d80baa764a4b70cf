//! How far a load had come at a time, for who changes something while it runs.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// What was done by a time.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Noted {
    /// Nanoseconds since 1970.
    pub ns: u64,
    /// Bytes that had arrived, or connections that were complete.
    pub done: u64,
}

impl Noted {
    /// So much by now.
    pub fn now(done: u64) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let ns = since.map_or(0, |since| since.as_nanos().try_into().unwrap_or(u64::MAX));
        Self { ns, done }
    }
}
