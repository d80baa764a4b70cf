//! The thread that owns the source of `trace`.

use std::{
    sync::mpsc::SyncSender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tfo_common::{event::Record, flags::Shed, listener::ListenerRecord};

use super::cookies::Cookies;
use crate::{
    commands::observe::{Names, Observer},
    fingerprint::{Fingerprint, Salt},
    model::source::{Host, Reading},
    output,
    signals::Stop,
};

/// Longest sleep of either side: how late a signal is noticed.
pub const POLL: Duration = Duration::from_millis(50);
/// Batches between the threads.
pub const QUEUE: usize = 16;

/// What one look at the ring brought.
pub struct Batch {
    /// When.
    pub at: Instant,
    /// Records in the order of the ring.
    pub records: Vec<Record>,
    /// Cgroups not met before.
    pub names: Names,
    /// Hashes of cookies by the numbers of their flows.
    pub cookies: Vec<(u64, Fingerprint)>,
}

/// Records of one batch: what waits in the queue is bounded by it.
const BATCH: usize = 4_096;
/// Records that may wait for the name of a cgroup; beyond it they are judged without.
const MOST_HELD: usize = 1 << 16;
/// How long the last records wait for names: a walk of the tree is due every half second.
const LAST_NAMES: Duration = Duration::from_secs(2);

/// How often a recording gets a reading.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// What is known when the trace ends.
#[derive(Debug, Default)]
pub struct Last {
    /// `CLOCK_MONOTONIC` ns of the beginning; only under `--summary`, as everything below the reading.
    pub began_ns: u64,
    /// The counters; their tables only under `--summary`.
    pub reading: Reading,
    /// Settings of the host.
    pub host: Option<Host>,
    /// Listening sockets.
    pub listeners: Option<Vec<ListenerRecord>>,
    /// Cgroups of the tables that no flow had.
    pub names: Names,
    /// The most that was given up to keep within `--max-overhead`.
    pub shed: Shed,
}

/// What is asked for beyond the records.
#[derive(Clone, Copy, Debug)]
pub struct Wants {
    /// Everything a diagnosis needs, at the end.
    pub summary: bool,
    /// The name of its cgroup before a record is handed over: a filter asks for it.
    pub names: bool,
    /// Hashes of cookies, with this salt.
    pub cookies: Option<Salt>,
}

/// Starts the thread. It ends when asked to, or when nobody takes its batches; its result is the last reading: with a summary
/// everything a diagnosis needs.
pub fn spawn(
    observer: Observer,
    batches: SyncSender<Batch>,
    stop: Stop,
    wants: Wants,
) -> anyhow::Result<JoinHandle<anyhow::Result<Last>>> {
    let mut reader = Reader {
        observer,
        unsent: Names::new(),
        held: Vec::new(),
        recorded: Instant::now(),
        cookies: wants.cookies.map(Cookies::new),
        wants,
        shed: Shed::Nothing,
    };
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || reader.run(&batches, &stop))
        .context("start the reader thread")
}

struct Reader {
    observer: Observer,
    /// Names that were found for the recording, and go with the next batch.
    unsent: Names,
    /// Records that wait for the names of their cgroups.
    held: Vec<Record>,
    /// When the recording got its latest reading.
    recorded: Instant,
    wants: Wants,
    cookies: Option<Cookies>,
    /// The most that was given up so far.
    shed: Shed,
}

impl Reader {
    fn run(&mut self, batches: &SyncSender<Batch>, stop: &Stop) -> anyhow::Result<Last> {
        // The first reading has every namespace: one that comes later began at zero.
        self.tick(Observer::read_settled)?;
        let began_ns = if self.wants.summary {
            self.observer.counters(false)?.at_ns
        } else {
            0
        };
        while !stop.raised() && self.observer.shed() != Shed::Detached {
            self.observer.wait(POLL)?;
            if let Some(decided) = self.observer.keep_within()? {
                self.shed = self.shed.max(decided.step);
                output::complain(&format_args!(
                    "tfo-cli: given up: {}: {}",
                    decided.step.name(),
                    decided.why
                ))?;
            }
            if !self.send(batches)? {
                break;
            }
            if self.recorded.elapsed() >= RECORD_EVERY {
                self.tick(|observer| observer.read(false))?;
            }
        }
        // First the counters, then the records: what was counted has its record in the ring by then.
        let reading = self.observer.counters(self.wants.summary)?;
        let deadline = Instant::now() + LAST_NAMES;
        while self.send(batches)? && !self.held.is_empty() {
            if Instant::now() >= deadline {
                // They have no name that anybody can tell: judged without.
                self.hand_over(batches);
                break;
            }
            thread::sleep(POLL);
        }
        self.tick(Observer::read_settled)?;
        self.last(began_ns, reading)
    }

    fn last(&mut self, began_ns: u64, reading: Reading) -> anyhow::Result<Last> {
        if !self.wants.summary {
            return Ok(Last {
                reading,
                shed: self.shed,
                ..Last::default()
            });
        }
        let (names, _) = self
            .observer
            .new_names(reading.dests.iter().map(|(key, _)| key.cgroup_id));
        let source = self.observer.source();
        Ok(Last {
            began_ns,
            reading,
            host: Some(source.host(false).context("read the host's settings")?),
            // Without the list findings about listeners are less precise, and the trace is none the worse.
            listeners: source.listeners().ok(),
            names,
            shed: self.shed,
        })
    }

    /// Hands over what there is and need not wait; false when nobody is there to take it.
    fn send(&mut self, batches: &SyncSender<Batch>) -> anyhow::Result<bool> {
        let Self { observer, held, .. } = self;
        observer.drain(&mut |record| held.push(*record))?;
        if held.is_empty() {
            return Ok(true);
        }
        let cgroups = held.iter().filter_map(|record| match record {
            Record::Flow(event) => Some(event.cgroup_id),
            Record::FirstByte(_) => None,
        });
        let (names, later) = observer.new_names(cgroups);
        self.unsent.extend(names);
        if self.wants.names && !later.is_empty() && self.held.len() < MOST_HELD {
            return Ok(true);
        }
        Ok(self.hand_over(batches))
    }

    /// Hands over every record; false when nobody is there to take them.
    fn hand_over(&mut self, batches: &SyncSender<Batch>) -> bool {
        let mut taken = true;
        for records in self.held.chunks(BATCH) {
            let cookies = match &mut self.cookies {
                Some(cookies) => cookies.of(records, self.observer.source(), Instant::now()),
                None => Vec::new(),
            };
            taken = taken
                && batches
                    .send(Batch {
                        at: Instant::now(),
                        records: records.to_vec(),
                        names: std::mem::take(&mut self.unsent),
                        cookies,
                    })
                    .is_ok();
        }
        self.held.clear();
        taken
    }

    /// Writes a reading into the recording, so that `top --replay` has tables to show.
    fn tick(
        &mut self,
        read: impl FnOnce(&mut Observer) -> anyhow::Result<(Reading, Host)>,
    ) -> anyhow::Result<()> {
        self.recorded = Instant::now();
        if self.observer.is_recording() {
            let (reading, host) = read(&mut self.observer)?;
            let cgroups = reading.dests.iter().map(|(key, _)| key.cgroup_id);
            self.unsent.extend(self.observer.new_names(cgroups).0);
            self.observer.record(&reading, &host, None, None)?;
        } else {
            self.observer.source().upkeep();
        }
        Ok(())
    }
}
