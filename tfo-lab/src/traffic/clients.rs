//! The clients of one service: threads that make the same connections in turn.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

use super::Stop;
use crate::{client::Connect, netns::Namespace};

/// Running clients; dropping them stops them.
#[derive(Debug)]
pub struct Clients {
    name: &'static str,
    stop: Arc<Stop>,
    counts: Arc<Counts>,
    threads: Vec<JoinHandle<Result<()>>>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    errors: AtomicU64,
}

/// Connections made so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Connections that got their reply.
    pub connections: u64,
    /// Connections that failed.
    pub errors: u64,
}

impl Clients {
    /// Starts `threads` clients inside `namespace`. Each makes the connections in turn, with a pause of `period_ms` after
    /// each.
    pub fn start(
        namespace: &Namespace,
        name: &'static str,
        threads: usize,
        period_ms: u64,
        connects: Vec<Connect>,
    ) -> Result<Self> {
        let mut clients = Self {
            name,
            stop: Arc::default(),
            counts: Arc::default(),
            threads: Vec::with_capacity(threads),
        };
        let connects = Arc::new(connects);
        for _ in 0..threads {
            let (stop, counts) = (Arc::clone(&clients.stop), Arc::clone(&clients.counts));
            let connects = Arc::clone(&connects);
            let thread = namespace.spawn(name, move || {
                for connect in connects.iter().cycle() {
                    counts.add(connect);
                    if stop.wait(Duration::from_millis(period_ms)) {
                        break;
                    }
                }
                Ok(())
            })?;
            clients.threads.push(thread);
        }
        Ok(clients)
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn tally(&self) -> Tally {
        Tally {
            connections: self.counts.connections.load(Ordering::Relaxed),
            errors: self.counts.errors.load(Ordering::Relaxed),
        }
    }
}

impl Counts {
    fn add(&self, connect: &Connect) {
        let good = connect.run().is_ok_and(|report| report.reply_matched);
        let count = if good { &self.connections } else { &self.errors };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.set();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
