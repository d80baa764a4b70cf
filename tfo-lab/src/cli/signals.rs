//! Waits for SIGINT, SIGTERM or SIGHUP.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// SIGINT, SIGTERM and SIGHUP, caught: they no longer end the process by themselves.
pub struct EndSignals {
    runtime: Runtime,
    signals: [Signal; 3],
}

impl EndSignals {
    /// Catches the signals from now on. The kernel delivers them to the first thread of the process as long as that does
    /// not block them (`complete_signal` in kernel/signal.c), so that calls of other threads are not interrupted.
    pub fn catch() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("signals: starting a runtime")?;
        let inside = runtime.enter();
        let listen = |kind| signal(kind).context("signals: catching SIGINT, SIGTERM and SIGHUP");
        let signals = [
            listen(SignalKind::interrupt())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::hangup())?,
        ];
        drop(inside);
        Ok(Self { runtime, signals })
    }

    /// Waits until one of them arrives or `limit` has passed. A signal that arrived since [`EndSignals::catch`] counts.
    pub fn wait(mut self, limit: Option<Duration>) {
        let [interrupt, terminate, hangup] = &mut self.signals;
        self.runtime.block_on(async {
            let any = async {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                    _ = hangup.recv() => {}
                }
            };
            // A signal and the end of the time mean the same here.
            let _ = timeout(limit.unwrap_or(Duration::MAX), any).await;
        });
    }
}
