//! Waits for a signal that ends the program, as an event instead of an interruption.

use std::{os::fd::AsFd, time::Duration};

use anyhow::{Context, Result};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{SigSet, Signal},
        signalfd::{SfdFlags, SignalFd},
    },
};

/// SIGINT, SIGTERM and SIGHUP, held back for this thread and every thread started after.
pub struct EndSignals(SignalFd);

impl EndSignals {
    /// Holds the signals back from now on. To be called before any thread is started.
    pub fn hold() -> Result<Self> {
        let set = SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP]);
        set.thread_block()
            .context("signals: blocking SIGINT, SIGTERM and SIGHUP")?;
        let fd = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).context("signalfd: creating it")?;
        Ok(Self(fd))
    }

    /// Waits until one of them arrives or `limit` has passed.
    pub fn wait(&self, limit: Option<Duration>) -> Result<()> {
        let timeout = match limit {
            Some(limit) => PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, timeout)
            .context("signals: waiting for one")
            .map(drop)
    }
}
