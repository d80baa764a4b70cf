//! Waits for a signal that ends the program.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{Signal, SignalKind, signal},
    time::timeout,
};

/// SIGINT, SIGTERM and SIGHUP, which end nothing by themselves any more.
pub struct EndSignals {
    runtime: Runtime,
    signals: [Signal; 3],
}

impl EndSignals {
    /// Catches the signals from now on. The kernel gives them to the first thread of the process as long as that does not
    /// block them (`complete_signal` in kernel/signal.c): calls of other threads are not interrupted.
    pub fn hold() -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("signals: starting a runtime")?;
        let inside = runtime.enter();
        let catch = |kind| signal(kind).context("signals: catching SIGINT, SIGTERM and SIGHUP");
        let signals = [
            catch(SignalKind::interrupt())?,
            catch(SignalKind::terminate())?,
            catch(SignalKind::hangup())?,
        ];
        drop(inside);
        Ok(Self { runtime, signals })
    }

    /// Waits until one of them arrives or `limit` has passed. One that has arrived since [`EndSignals::hold`] counts.
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
            // Whichever it was, it is time to end.
            let _ = timeout(limit.unwrap_or(Duration::MAX), any).await;
        });
    }
}
