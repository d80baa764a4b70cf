//! The thread that owns the source of `top` and folds it into the model. It never waits for the terminal:
//! whoever draws takes a snapshot and lets go of the lock.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tfo_common::DestKey;

use crate::{
    model::{
        Model, Snapshot,
        feed::{Guarded, Host, Reading, Source},
        history::History,
        snapshot::Prefixes,
    },
    options::AttachOptions,
    own_cost,
    recording::{Recorder, RecordingError, Tick},
    signals::Stop,
    tui,
};

/// Longest sleep: how late a signal is noticed.
pub const POLL: Duration = Duration::from_millis(100);
/// Records folded under one lock.
const CHUNK: usize = 4_096;
/// Readings taken until two agree; on a host that is never still the last one counts.
const SETTLE_TRIES: u32 = 5;
/// Readings between two looks at the listening sockets and the policy: walking every socket of every namespace, and
/// every rule, is not free.
const SELDOM: u64 = 5;

/// The model, how often it was read, and remarks about where it comes from.
#[derive(Debug)]
pub struct Shared {
    model: Mutex<Model>,
    generation: AtomicU64,
    status: Mutex<Vec<String>>,
    open: Mutex<Option<DestKey>>,
    is_asked: AtomicBool,
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
            status: Mutex::default(),
            open: Mutex::default(),
            is_asked: AtomicBool::new(false),
        }
    }

    /// The model. A panic elsewhere does not take it away: every fold leaves it whole.
    pub fn lock(&self) -> MutexGuard<'_, Model> {
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says that there is something new.
    pub fn advance(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// Says something about the source.
    pub fn set_status(&self, status: Vec<String>) {
        *self.status.lock().unwrap_or_else(PoisonError::into_inner) = status;
        self.advance();
    }

    /// This instant.
    pub fn snapshot(&self) -> Snapshot {
        self.lock().snapshot()
    }

    fn is_seldom_turn(&self) -> bool {
        self.generation.load(Ordering::Relaxed).is_multiple_of(SELDOM)
    }
}

impl tui::Feed for Shared {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn history(&self) -> (Snapshot, History) {
        let model = self.lock();
        (model.snapshot(), model.history())
    }

    fn clear(&self) {
        self.lock().clear();
        self.advance();
    }

    fn look_at(&self, open: Option<DestKey>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.is_asked.store(true, Ordering::Release);
    }

    fn status(&self) -> Vec<String> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A source, and the recording it goes to.
pub struct Reader {
    /// Where records and readings come from.
    pub source: Box<dyn Source>,
    /// Where they go besides the model.
    pub recorder: Option<Recorder>,
}

/// Starts the thread; it ends when asked to, and raises the flag when the source fails.
pub fn spawn(
    mut reader: Reader,
    interval: Duration,
    shared: Arc<Shared>,
    stop: Stop,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || {
            let _held = stop.on_panic();
            let result = reader.run(interval, &shared, &stop);
            stop.raise();
            result
        })
        .context("start the reader thread")
}

impl Reader {
    fn run(&mut self, interval: Duration, shared: &Shared, stop: &Stop) -> anyhow::Result<()> {
        if self.recorder.is_some() {
            shared.set_status(vec![" REC ".to_owned()]);
        }
        self.settled_tick(shared)?;
        let mut next = Instant::now() + interval;
        while !stop.raised() {
            let sleep = next.saturating_duration_since(Instant::now()).min(POLL);
            self.source.wait(sleep).context("wait for records")?;
            self.drain(shared);
            if shared.is_asked.swap(false, Ordering::Acquire) {
                self.look(shared, true);
                shared.advance();
            }
            let now = Instant::now();
            if now >= next {
                self.tick(shared)?;
                // After a stall (a suspended machine) the rhythm starts anew instead of catching up.
                next = (next + interval).max(now);
            }
        }
        if self.recorder.is_some() {
            self.tick(shared)?;
        }
        Ok(())
    }

    /// Folds the records there are.
    pub fn drain(&mut self, shared: &Shared) {
        let mut chunk = Vec::new();
        let mut failed = None;
        let recorder = &mut self.recorder;
        self.source.drain(&mut |record| {
            chunk.push(*record);
            if let Some(open) = recorder {
                failed = failed.take().or(open.record(record).err());
            }
            if chunk.len() == CHUNK {
                let mut model = shared.lock();
                chunk.drain(..).for_each(|record| model.fold(&record));
            }
        });
        let mut model = shared.lock();
        for record in &chunk {
            model.fold(record);
        }
        drop(model);
        self.stop_recording(failed, shared);
    }

    /// Reads every counter, and names the cgroups met since.
    pub fn tick(&mut self, shared: &Shared) -> anyhow::Result<()> {
        self.drain(shared);
        let read = self.read(false)?;
        self.fold(shared, read);
        Ok(())
    }

    /// The same at an instant when the kernel's counters stood still, so that the cross-check compares like
    /// with like: for the base everything is counted from, and for a table that is printed once.
    pub fn settled_tick(&mut self, shared: &Shared) -> anyhow::Result<()> {
        self.drain(shared);
        let mut read = self.read(true)?;
        for _ in 0..SETTLE_TRIES {
            let again = self.read(true)?;
            let settled = again.0.netns == read.0.netns && again.1.mib == read.1.mib;
            read = again;
            if settled {
                break;
            }
        }
        self.fold(shared, read);
        Ok(())
    }

    fn read(&mut self, all: bool) -> anyhow::Result<(Reading, Host)> {
        let reading = self.source.read(true).context("read the counters")?;
        let host = self.source.host(all).context("read the host's settings")?;
        Ok((reading, host))
    }

    fn fold(&mut self, shared: &Shared, (reading, host): (Reading, Host)) {
        // A list that could not be read leaves the one before.
        let is_seldom = shared.is_seldom_turn();
        let listeners = is_seldom.then(|| self.source.listeners().ok()).flatten();
        let programs = self.source.program_runs();
        let kept = self.recorder.as_ref().map(|_| Tick {
            reading: reading.clone(),
            host: Some(host.clone()),
            listeners: listeners.clone(),
            ..Tick::default()
        });
        let wanted = {
            let mut model = shared.lock();
            model.read(reading);
            model.read_host(host);
            if let Some(listeners) = listeners {
                model.read_listeners(listeners);
            }
            model.read_cost(own_cost::read(), programs);
            let source = &self.source;
            model.describe(source.attached(), source.degradations(), source.wall_offset_ns());
            model.wanted()
        };
        let names: Vec<_> = wanted
            .into_iter()
            .map(|id| (id, self.source.cgroup(id)))
            .collect();
        if let (Some(open), Some(tick)) = (&mut self.recorder, kept) {
            let failed = open
                .tick(&Tick {
                    names: names.clone(),
                    ..tick
                })
                .err();
            self.stop_recording(failed, shared);
        }
        let mut model = shared.lock();
        for (id, name) in names {
            model.name(id, name);
        }
        drop(model);
        self.look(shared, is_seldom);
        shared.advance();
    }

    /// Looks at the policy, all of it or only at what a guard knows of the destination that is open.
    fn look(&mut self, shared: &Shared, all: bool) {
        if all {
            let policy = self.source.policy();
            shared.lock().read_policy(policy);
        }
        let open = *shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = open.and_then(|dest| Some((dest, shared.lock().guard_of(&dest)?)));
        let guarded = asked.and_then(|(dest, guard)| {
            let state = self.source.guard_state(guard, &dest).ok()?;
            Some(Guarded { dest, guard, state })
        });
        shared.lock().read_guarded(guarded);
    }

    /// A full disk ends the recording, not the dashboard.
    fn stop_recording(&mut self, failed: Option<RecordingError>, shared: &Shared) {
        if let Some(error) = failed {
            self.recorder = None;
            shared.set_status(vec![" RECORDING STOPPED ".to_owned(), error.to_string()]);
        }
    }
}
