//! SIGINT, SIGTERM and SIGHUP end a command cleanly: they raise a flag that the loops of the command test.

pub mod pass_on;

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use nix::sys::signal::Signal;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};

use crate::runtime;

/// How long a command may make no progress after the first signal. Only a blocked terminal or pipe holds it up so long.
const GRACE: Duration = Duration::from_secs(10);

/// A flag that asks the command to end: raised once, never lowered. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    /// Writes that [`ProgressWriter`]s have done.
    writes: AtomicU64,
    /// Wakes the futures that wait for the flag.
    waiting: Notify,
}

impl Stop {
    /// Raises the flag: asks every thread and future of the command to end.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
        self.0.waiting.notify_waiters();
    }

    /// Whether the command is to end.
    pub fn raised(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    /// Waits until the flag is raised.
    pub async fn ended(&self) {
        let mut waiting = std::pin::pin!(self.0.waiting.notified());
        // Registers before the flag is read: raising it in between wakes this future.
        waiting.as_mut().enable();
        if !self.raised() {
            waiting.await;
        }
    }

    /// A guard that raises the flag when the thread that holds it panics, so that the other threads end, too.
    pub fn on_panic(&self) -> OnPanic {
        OnPanic(self.clone())
    }

    /// A writer that notes every write. A command that still writes after the first signal is not stuck, and is given
    /// time to finish.
    pub fn progress_writer<W: Write>(&self, inner: W) -> ProgressWriter<W> {
        ProgressWriter {
            inner,
            stop: self.clone(),
        }
    }

    fn writes(&self) -> u64 {
        self.0.writes.load(Ordering::Relaxed)
    }
}

/// A guard that raises the flag on a panic, see [`Stop::on_panic`].
#[derive(Debug)]
pub struct OnPanic(Stop);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.raise();
        }
    }
}

/// A writer that notes its progress, see [`Stop::progress_writer`].
#[derive(Debug)]
pub struct ProgressWriter<W> {
    inner: W,
    stop: Stop,
}

impl<W: Write> Write for ProgressWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.stop.0.writes.fetch_add(1, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// The signals of the shell's job control that have arrived.
#[derive(Clone, Debug, Default)]
pub struct JobControl {
    suspended: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl JobControl {
    /// Whether the program was asked to stop (SIGTSTP) since the last call.
    pub fn suspended(&self) -> bool {
        self.suspended.swap(false, Ordering::Relaxed)
    }

    /// Whether the program was continued (SIGCONT) since the last call.
    pub fn continued(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

/// Catches SIGTSTP and SIGCONT from now on. Only for commands that set up the terminal: without this, SIGTSTP stops a
/// process at once.
pub fn watch_job_control() -> anyhow::Result<JobControl> {
    let job_control = JobControl::default();
    let arrived = job_control.clone();
    let runtime = runtime::handle()?;
    let _inside = runtime.enter();
    let mut stops = listen(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
    let mut continues = listen(SignalKind::from_raw(Signal::SIGCONT as i32))?;
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = stops.recv() => arrived.suspended.store(true, Ordering::Relaxed),
                _ = continues.recv() => arrived.continued.store(true, Ordering::Relaxed),
            }
        }
    });
    Ok(job_control)
}

/// Raises the flag at the first SIGINT, SIGTERM or SIGHUP. A command may then be stuck in a write to a terminal or pipe
/// that nobody reads: a second signal, or a grace period without progress, calls `abandon` and ends the process with exit
/// code 1. The kernel then detaches the BPF programs, because the process held their links.
pub fn watch(abandon: impl Fn() + Send + 'static) -> anyhow::Result<Stop> {
    let stop = Stop::default();
    let flag = stop.clone();
    let runtime = runtime::handle()?;
    let _inside = runtime.enter();
    let mut interrupt = listen(SignalKind::interrupt())?;
    let mut terminate = listen(SignalKind::terminate())?;
    let mut hangup = listen(SignalKind::hangup())?;
    runtime.spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
                _ = hangup.recv() => {}
            }
        };
        next().await;
        flag.raise();
        let mut writes = flag.writes();
        // Ends at a second signal, or after a grace period without a write.
        while tokio::time::timeout(GRACE, next()).await.is_err() && flag.writes() != writes {
            writes = flag.writes();
        }
        abandon();
        std::process::exit(i32::from(crate::exit::FAILED));
    });
    Ok(stop)
}

/// Catches a signal from now on. The caller has entered the runtime.
fn listen(kind: SignalKind) -> anyhow::Result<tokio::signal::unix::Signal> {
    signal(kind).context("listen for signals")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_raises_the_flag_and_an_end_does_not() {
        let stop = Stop::default();
        for panics in [false, true] {
            let held = stop.on_panic();
            let thread = thread::spawn(move || {
                let _held = held;
                assert!(!panics, "made to panic");
            });
            assert_eq!(thread.join().is_err(), panics);
            assert_eq!(stop.raised(), panics);
        }
    }

    #[test]
    fn futures_that_wait_for_the_flag_end_when_it_is_raised_and_at_once_afterwards() {
        let stop = Stop::default();
        let runtime = runtime::handle().expect("it starts");
        let waits = |stop: Stop| runtime.spawn(async move { stop.ended().await });
        let before = waits(stop.clone());
        assert!(!stop.raised());
        stop.raise();
        let limit = Duration::from_mins(1);
        for waits in [before, waits(stop)] {
            let ended = runtime.block_on(async { tokio::time::timeout(limit, waits).await });
            ended.expect("it is woken").expect("it ends");
        }
    }
}
