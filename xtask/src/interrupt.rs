//! SIGINT, SIGTERM and SIGHUP become a flag, so that every exit runs the guards that clean up.
//!
//! Nothing is done inside a signal handler: whoever waits (see `process`) looks at the flag and returns
//! [`Interrupted`], and unwinding the call stack stops children and restores sysctls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

static FLAG: AtomicBool = AtomicBool::new(false);

/// The error that a wait returns after a signal.
#[derive(Debug)]
pub struct Interrupted;

impl std::fmt::Display for Interrupted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("interrupted by a signal; cleaned up")
    }
}

impl std::error::Error for Interrupted {}

/// Routes the signals to the flag. To be called once, before the first child is started.
pub fn install() -> anyhow::Result<()> {
    let runtime = Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("signals")
        .enable_all()
        .build()
        .context("start the runtime that waits for signals")?;
    let inside = runtime.enter();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        let mut arrived = signal(kind).context("catch SIGINT, SIGTERM and SIGHUP")?;
        runtime.spawn(async move {
            while arrived.recv().await.is_some() {
                FLAG.store(true, Ordering::Relaxed);
            }
        });
    }
    drop(inside);
    // It lives as long as the process: to drop it would be to wait for it.
    std::mem::forget(runtime);
    Ok(())
}

/// Returns an error once a signal has arrived.
pub fn check() -> Result<(), Interrupted> {
    if FLAG.load(Ordering::Relaxed) {
        Err(Interrupted)
    } else {
        Ok(())
    }
}

/// Sleeps, but no longer than until a signal arrives.
pub fn sleep(duration: Duration) -> Result<(), Interrupted> {
    let end = Instant::now() + duration;
    loop {
        check()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(50)));
    }
}
