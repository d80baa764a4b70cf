//! The thread that owns the source of `top` and folds it into the model. It never waits for the terminal:
//! whoever draws takes a snapshot and lets go of the lock.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{
    model::{Model, Snapshot, feed::Source, snapshot::Prefixes},
    options::AttachOptions,
    signals::Stop,
    tui,
};

/// Longest sleep: how late a signal is noticed.
pub const POLL: Duration = Duration::from_millis(100);
/// Records folded under one lock.
const CHUNK: usize = 4_096;

/// The model and how often it was read.
#[derive(Debug)]
pub struct Shared {
    model: Mutex<Model>,
    generation: AtomicU64,
}

impl Shared {
    /// An empty model of what the options ask for.
    pub fn new(options: &AttachOptions) -> Self {
        let mut model = Model::default();
        model.set_prefixes(Prefixes {
            v4: options.server_v4_prefix,
            v6: options.server_v6_prefix,
        });
        Self {
            model: Mutex::new(model),
            generation: AtomicU64::new(0),
        }
    }

    /// The model. A panic elsewhere does not take it away: every fold leaves it whole.
    pub fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Readings between two looks at the listening sockets.
const LISTENERS_EVERY: u64 = 5;

impl Shared {
    fn is_listener_turn(&self) -> bool {
        self.generation
            .load(Ordering::Relaxed)
            .is_multiple_of(LISTENERS_EVERY)
    }
}

impl tui::Feed for Shared {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }
}

impl Shared {
    /// This instant.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }
}

/// Starts the thread; it ends when asked to, and raises the flag when the source fails.
pub fn spawn(
    mut source: Box<dyn Source>,
    interval: Duration,
    shared: Arc<Shared>,
    stop: Stop,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            let result = read(&mut *source, interval, &shared, &stop);
            stop.raise();
            result
        })
        .context("start the reader thread")
}

fn read(source: &mut dyn Source, interval: Duration, shared: &Shared, stop: &Stop) -> anyhow::Result<()> {
    tick(source, shared)?;
    let mut next = Instant::now() + interval;
    while !stop.raised() {
        source
            .wait(next.saturating_duration_since(Instant::now()).min(POLL))
            .context("wait for records")?;
        drain(source, shared);
        let now = Instant::now();
        if now >= next {
            tick(source, shared)?;
            // After a stall (a suspended machine) the rhythm starts anew instead of catching up.
            next = (next + interval).max(now);
        }
    }
    Ok(())
}

/// Folds the records there are.
pub fn drain(source: &mut dyn Source, shared: &Shared) {
    let mut chunk = Vec::new();
    source.drain(&mut |record| {
        chunk.push(*record);
        if chunk.len() == CHUNK {
            let mut model = shared.lock();
            chunk.drain(..).for_each(|record| model.fold(&record));
        }
    });
    let mut model = shared.lock();
    for record in &chunk {
        model.fold(record);
    }
}

/// Reads every counter, and names the cgroups met since.
pub fn tick(source: &mut dyn Source, shared: &Shared) -> anyhow::Result<()> {
    let reading = source.read(true).context("read the counters")?;
    let host = source.host().context("read the host's settings")?;
    // Walking every socket of every namespace is not free, and listeners rarely change.
    let listeners = shared.is_listener_turn().then(|| source.listeners());
    let wanted = {
        let mut model = shared.lock();
        model.read(reading);
        model.read_host(host);
        // A list that could not be read leaves the one before.
        if let Some(Ok(listeners)) = listeners {
            model.read_listeners(listeners);
        }
        model.describe(source.attached(), source.degradations(), source.wall_offset_ns());
        model.wanted()
    };
    let names: Vec<_> = wanted.into_iter().map(|id| (id, source.cgroup(id))).collect();
    let mut model = shared.lock();
    for (id, name) in names {
        model.name(id, name);
    }
    drop(model);
    shared.generation.fetch_add(1, Ordering::Release);
    Ok(())
}
