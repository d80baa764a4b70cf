//! Waiting on a socket without being disturbed by children that end elsewhere in the process.
//!
//! Nobody here handles SIGCHLD, and an ignored signal disturbs nobody, unless it is sent while the
//! thread that started the child blocks it: the C library's `posix_spawn` blocks all signals for a moment, and
//! a blocked signal is not thrown away (`sig_ignored` in kernel/signal.c) but handed to any thread
//! that does not block it. A call with a time limit (`SO_SNDTIMEO`, `SO_RCVTIMEO`) does not go on after
//! that by itself: it returns EINTR (`sock_intr_errno`), with its SYN already under way.

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Runs `work` with SIGCHLD held back from this thread.
///
/// # Errors
/// What `work` returns, and a signal mask the kernel does not take.
pub fn undisturbed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _held = Held::new()?;
    work()
}

/// The thread's signal mask of before.
struct Held(SigSet);

impl Held {
    fn new() -> Result<Self> {
        let before = SigSet::from_iter([Signal::SIGCHLD])
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .context("signals: holding SIGCHLD back")?;
        Ok(Self(before))
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // Cannot fail with a mask the kernel itself returned.
        let _ = self.0.thread_set_mask();
    }
}
