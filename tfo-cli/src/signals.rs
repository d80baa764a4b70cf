//! SIGINT, SIGTERM and SIGHUP end a command cleanly: they raise a flag that its loops look at.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

/// How long a command may take to end after the first signal. Only a blocked terminal or pipe takes longer.
const GRACE: Duration = Duration::from_secs(3);

/// A flag that is raised once and never lowered.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks everybody to end.
    pub fn raise(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is time to end.
    pub fn raised(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Raises the flag at the first signal. Should the command then be stuck in a write to a terminal or pipe
/// nobody reads, a second signal or the end of the grace period calls `abandon` and ends the process; the
/// kernel then detaches the programs, because their links were held by it.
pub fn watch(abandon: impl Fn() + Send + 'static) -> anyhow::Result<Stop> {
    let stop = Stop::default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the signal handler")?;
    let (mut interrupt, mut terminate, mut hangup) = {
        let _inside = runtime.enter();
        let listen = |kind| signal(kind).context("listen for signals");
        (
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        )
    };
    let flag = stop.clone();
    let run = move || {
        runtime.block_on(async {
            let mut next = async || {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            };
            next().await;
            flag.raise();
            // Either way the command did not end by itself.
            let _ = tokio::time::timeout(GRACE, next()).await;
        });
        abandon();
        std::process::exit(i32::from(crate::exit::FAILED));
    };
    thread::Builder::new()
        .name("signals".into())
        .spawn(run)
        .context("start the signal thread")?;
    Ok(stop)
}
