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
use tfo_common::{DestKey, flags::Shed};

use crate::{
    commands::observe::Observer,
    model::{
        Model, Snapshot,
        snapshot::Prefixes,
        source::{Guarded, Host, Reading},
    },
    options::AttachOptions,
    own_cost,
    recording::RecordingError,
    signals::Stop,
    tui,
};

/// Longest sleep: how late a signal is noticed.
pub const POLL: Duration = Duration::from_millis(100);
/// Records folded under one lock: few, so that who draws does not wait long.
const CHUNK: usize = 256;
/// Every so many readings the listening sockets and the policy are read as well: walking every socket of every
/// namespace, and every rule, costs too much to do each time.
const READINGS_PER_FULL_REFRESH: u64 = 5;
/// A walk over every socket of every namespace is not repeated before so many times its own length has passed: half a
/// percent of one CPU, however many sockets there are.
const WALKS_APART: u32 = 200;
/// Rows up to which findings are looked for after every reading; a longer table is judged as seldom as listeners are
/// read.
const FEW_ROWS: usize = 2_048;

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

    fn is_full_refresh(&self) -> bool {
        self.generation
            .load(Ordering::Relaxed)
            .is_multiple_of(READINGS_PER_FULL_REFRESH)
    }
}

impl tui::ModelHandle for Shared {
    fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn state(&self) -> tui::ModelState {
        let model = self.lock();
        let (snapshot, history) = (model.snapshot(), model.history());
        drop(model);
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        tui::ModelState {
            snapshot,
            history,
            status: status.clone(),
        }
    }

    fn clear(&self) {
        self.lock().clear();
        self.advance();
    }

    fn set_open_destination(&self, open: Option<DestKey>) {
        *self.open.lock().unwrap_or_else(PoisonError::into_inner) = open;
        self.is_asked.store(true, Ordering::Release);
    }
}

/// Folds what is observed into a model.
pub struct Reader {
    /// Where records and readings come from.
    pub observer: Observer,
    /// The latest connection whose dropper was looked for.
    dropped: Option<u64>,
    /// When the sockets may be walked over again.
    next_walk: Instant,
}

impl Reader {
    /// Of this observer.
    pub fn new(observer: Observer) -> Self {
        Self {
            observer,
            dropped: None,
            next_walk: Instant::now(),
        }
    }
}

/// When the sockets may be walked over again after a walk from then to then.
fn after_walk(begun: Instant, ended: Instant) -> Instant {
    let rest = ended.duration_since(begun).saturating_mul(WALKS_APART);
    ended.checked_add(rest).unwrap_or(ended)
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
        if self.observer.is_recording() {
            shared.set_status(vec![" REC ".to_owned()]);
        }
        self.settled_tick(shared)?;
        let mut next = Instant::now() + interval;
        while !stop.raised() {
            let sleep = next.saturating_duration_since(Instant::now()).min(POLL);
            self.observer.wait(sleep)?;
            self.drain(shared);
            if shared.is_asked.swap(false, Ordering::Acquire) {
                self.look(shared, true);
                shared.advance();
            }
            let decided = self.observer.keep_within()?.is_some();
            let now = Instant::now();
            // Once detached there is nothing new to read, and reading costs something.
            let is_due = now >= next && self.observer.shed() != Shed::Detached;
            if decided || is_due {
                self.tick(shared)?;
                // After a stall (a suspended machine) the rhythm starts anew instead of catching up.
                next = (next + interval).max(now);
            }
        }
        if self.observer.is_recording() {
            self.tick(shared)?;
        }
        Ok(())
    }

    /// Folds the records there are.
    pub fn drain(&mut self, shared: &Shared) {
        // Folded where they lie, not copied first. A disk may be slow, so
        // nobody waits for the lock while records are written to one.
        let most = if self.observer.is_recording() { 1 } else { CHUNK };
        let (mut model, mut folded) = (None, 0);
        let recorded = self.observer.drain(&mut |record| {
            model.get_or_insert_with(|| shared.lock()).fold(record);
            folded += 1;
            if folded >= most {
                (model, folded) = (None, 0);
            }
        });
        drop(model);
        self.check_recording(recorded, shared);
    }

    /// Reads every counter, and names the cgroups met since.
    pub fn tick(&mut self, shared: &Shared) -> anyhow::Result<()> {
        self.drain(shared);
        let read = self.observer.read(false)?;
        let is_full = shared.is_full_refresh();
        let walks = is_full && Instant::now() >= self.next_walk;
        self.fold(shared, read, is_full, walks);
        Ok(())
    }

    /// The same at an instant when the kernel's counters stood still, so that the cross-check compares like
    /// with like: for the base everything is counted from, and for a table that is printed once.
    pub fn settled_tick(&mut self, shared: &Shared) -> anyhow::Result<()> {
        self.drain(shared);
        let read = self.observer.read_settled()?;
        self.fold(shared, read, true, true);
        Ok(())
    }

    fn fold(&mut self, shared: &Shared, (reading, host): (Reading, Host), is_full: bool, walks: bool) {
        // A list that could not be read leaves the one before.
        let dropped = shared.lock().local_drop().filter(|_| is_full);
        let source = self.observer.source();
        if let Some(flow) = dropped
            && self.dropped != Some(flow.id())
        {
            // It asks nft: once for each new one is enough.
            self.dropped = Some(flow.id());
            source.look_for_droppers(flow.event().netns, flow.event().cgroup_id);
        }
        let begun = Instant::now();
        let listeners = walks.then(|| source.listeners().ok()).flatten();
        if walks {
            self.next_walk = after_walk(begun, Instant::now());
        }
        let host_facts = listeners.is_some().then(|| source.host_facts());
        let programs = self.observer.program_runs();
        let kept = self.observer.is_recording().then(|| {
            (
                reading.clone(),
                host.clone(),
                listeners.clone(),
                host_facts.clone(),
            )
        });
        let source = self.observer.source();
        let wanted = {
            let mut model = shared.lock();
            model.read(reading);
            model.read_host(host);
            if let Some(listeners) = listeners {
                model.read_listeners(listeners);
            }
            if let Some(host_facts) = host_facts {
                model.note_host_facts(host_facts);
            }
            model.read_cost(own_cost::read(), programs);
            model.describe(source.attached(), source.degradations(), source.wall_offset_ns());
            if is_full || model.rows() <= FEW_ROWS {
                model.diagnose();
            }
            model.wanted()
        };
        let (names, later) = self.observer.names(wanted);
        if let Some((reading, host, listeners, host_facts)) = kept {
            let recorded = self
                .observer
                .record(&reading, &host, listeners.as_deref(), host_facts.as_ref());
            self.check_recording(recorded, shared);
        }
        let mut model = shared.lock();
        for (id, name) in names {
            model.name(id, name);
        }
        model.want_again(later);
        drop(model);
        self.look(shared, is_full);
        shared.advance();
    }

    /// Looks at the policy, all of it or only at what a guard knows of the destination that is open.
    fn look(&mut self, shared: &Shared, all: bool) {
        if all {
            let policy = self.observer.source().policy();
            shared.lock().read_policy(policy);
        }
        let open = *shared.open.lock().unwrap_or_else(PoisonError::into_inner);
        let asked = open.and_then(|dest| {
            let model = shared.lock();
            Some((dest, model.guard_of(&dest)?, model.locals_of(&dest)))
        });
        let guarded = asked.and_then(|(dest, guard, locals)| {
            let source = self.observer.source();
            let state = source.guard_state(guard, &dest, &locals).ok()?;
            Some(Guarded { dest, guard, state })
        });
        shared.lock().read_guarded(guarded);
    }

    /// A full disk ends the recording, not the dashboard.
    fn check_recording(&mut self, recorded: Result<(), RecordingError>, shared: &Shared) {
        if let Err(error) = recorded {
            self.observer.stop_recording();
            shared.set_status(vec![" RECORDING STOPPED ".to_owned(), error.to_string()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_walk_is_followed_by_a_long_rest() {
        let begun = Instant::now();
        let after = |took: Duration| after_walk(begun, begun + took) - begun;
        // A million sockets, a few thousand, none.
        assert_eq!(after(Duration::from_millis(500)), Duration::from_millis(100_500));
        assert_eq!(after(Duration::from_millis(2)), Duration::from_millis(402));
        assert_eq!(after(Duration::ZERO), Duration::ZERO);
    }
}
