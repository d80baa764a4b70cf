//! SIGINT, SIGTERM and SIGHUP end a command cleanly: they raise a flag that its loops look at.

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

/// How long a command may stand still after the first signal. Only a blocked terminal or pipe does.
const GRACE: Duration = Duration::from_secs(10);

/// A flag that is raised once and never lowered.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<State>);

#[derive(Debug, Default)]
struct State {
    raised: AtomicBool,
    progress: AtomicU64,
    /// Wakes who waits for the flag.
    waiting: Notify,
}

impl Stop {
    /// Asks everybody to end.
    pub fn raise(&self) {
        self.0.raised.store(true, Ordering::Relaxed);
        self.0.waiting.notify_waiters();
    }

    /// Whether it is time to end.
    pub fn raised(&self) -> bool {
        self.0.raised.load(Ordering::Relaxed)
    }

    /// Waits until the flag is raised: for futures that end with the command.
    pub async fn ended(&self) {
        let mut waiting = std::pin::pin!(self.0.waiting.notified());
        // Waits first and looks then: whoever raises the flag in between wakes us.
        waiting.as_mut().enable();
        if !self.raised() {
            waiting.await;
        }
    }

    /// Raises the flag should the thread that holds this panic: the others do not wait for it for ever.
    pub fn on_panic(&self) -> OnPanic {
        OnPanic(self.clone())
    }

    /// A writer whose writes show that the command is not stuck: one that still writes after the signal is
    /// let finish.
    pub fn watched<W: Write>(&self, inner: W) -> Watched<W> {
        Watched {
            inner,
            stop: self.clone(),
        }
    }

    fn written(&self) -> u64 {
        self.0.progress.load(Ordering::Relaxed)
    }
}

/// See [`Stop::on_panic`].
#[derive(Debug)]
pub struct OnPanic(Stop);

impl Drop for OnPanic {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.raise();
        }
    }
}

/// See [`Stop::watched`].
#[derive(Debug)]
pub struct Watched<W> {
    inner: W,
    stop: Stop,
}

impl<W: Write> Write for Watched<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.stop.0.progress.fetch_add(1, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Stops and continues of the shell's job control.
#[derive(Clone, Debug, Default)]
pub struct Jobs {
    suspended: Arc<AtomicBool>,
    continued: Arc<AtomicBool>,
}

impl Jobs {
    /// Whether somebody asked the program to stop (SIGTSTP) since the last call.
    pub fn suspended(&self) -> bool {
        self.suspended.swap(false, Ordering::Relaxed)
    }

    /// Whether it was continued (SIGCONT) since the last call.
    pub fn continued(&self) -> bool {
        self.continued.swap(false, Ordering::Relaxed)
    }
}

/// Notes SIGTSTP and SIGCONT. Only for commands that own the terminal: the others stop as usual.
pub fn watch_jobs() -> anyhow::Result<Jobs> {
    let jobs = Jobs::default();
    let noted = jobs.clone();
    let runtime = runtime::handle()?;
    let _inside = runtime.enter();
    let mut stops = listen(SignalKind::from_raw(Signal::SIGTSTP as i32))?;
    let mut continues = listen(SignalKind::from_raw(Signal::SIGCONT as i32))?;
    runtime.spawn(async move {
        loop {
            tokio::select! {
                _ = stops.recv() => noted.suspended.store(true, Ordering::Relaxed),
                _ = continues.recv() => noted.continued.store(true, Ordering::Relaxed),
            }
        }
    });
    Ok(jobs)
}

/// Raises the flag at the first signal. Should the command then be stuck in a write to a terminal or pipe
/// nobody reads, a second signal or the end of the grace period calls `abandon` and ends the process; the
/// kernel then detaches the programs, because their links were held by it.
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
        let mut written = flag.written();
        // A second signal, or standing still: either way the command did not end by itself.
        while tokio::time::timeout(GRACE, next()).await.is_err() && flag.written() != written {
            written = flag.written();
        }
        abandon();
        std::process::exit(i32::from(crate::exit::FAILED));
    });
    Ok(stop)
}

/// Catches a signal from now on. To be called inside the runtime.
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
    fn who_waits_for_the_flag_is_woken_once_it_is_raised_and_not_held_up_after() {
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
