//! Keeps system calls from being interrupted when a child process ends.
//!
//! This process does not handle SIGCHLD, and the kernel drops an ignored signal, unless the thread that it is sent to
//! blocks it (`sig_ignored` in kernel/signal.c). The C library's `posix_spawn` blocks all signals for a moment; a SIGCHLD
//! of that moment is delivered to a thread that does not block it. A call with a time limit (`SO_SNDTIMEO`, `SO_RCVTIMEO`)
//! is not restarted then: it returns EINTR (`sock_intr_errno`), with its SYN already sent.

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, SigmaskHow, Signal};

/// Runs `work` with SIGCHLD blocked in this thread.
///
/// # Errors
/// The error of `work`, or of setting the signal mask.
pub fn undisturbed<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    let _blocked = BlockedSigchld::new()?;
    work()
}

/// Blocks SIGCHLD in this thread until dropped: the signal mask to restore.
struct BlockedSigchld(SigSet);

impl BlockedSigchld {
    fn new() -> Result<Self> {
        let before = SigSet::from_iter([Signal::SIGCHLD])
            .thread_swap_mask(SigmaskHow::SIG_BLOCK)
            .context("signals: holding SIGCHLD back")?;
        Ok(Self(before))
    }
}

impl Drop for BlockedSigchld {
    fn drop(&mut self) {
        // Cannot fail with a mask the kernel itself returned.
        let _ = self.0.thread_set_mask();
    }
}
