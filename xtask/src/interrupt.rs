//! SIGINT, SIGTERM and SIGHUP become a flag, so that every exit runs the guards that clean up.
//!
//! Nothing is done inside a signal handler: whoever waits (see `process`) looks at the flag and returns
//! [`Interrupted`], and unwinding the call stack stops children and restores sysctls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

static FLAG: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

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
pub fn install() {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // Fails only for signals that cannot be caught, and these can.
        let _ = signal_hook::flag::register(signal, Arc::clone(&FLAG));
    }
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
