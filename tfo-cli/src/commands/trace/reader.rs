//! The thread that owns the source of `trace`.

use std::{
    sync::mpsc::SyncSender,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use tfo_common::event::Record;

use crate::{
    model::{
        feed::{CgroupName, Reading, Source},
        names::Names,
    },
    recording::{Recorder, Tick},
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
    pub names: Vec<(u64, Option<CgroupName>)>,
}

/// How often a recording gets a reading.
const RECORD_EVERY: Duration = Duration::from_secs(1);

/// A source, and the recording it goes to.
pub struct Reader {
    source: Box<dyn Source>,
    recorder: Option<Recorder>,
    asked: Names,
    names: Vec<(u64, Option<CgroupName>)>,
    recorded: Instant,
}

/// Starts the thread. It ends when asked to, or when nobody takes its batches; its result is the last reading.
pub fn spawn(
    mut reader: Reader,
    batches: SyncSender<Batch>,
    stop: Stop,
) -> anyhow::Result<JoinHandle<anyhow::Result<Reading>>> {
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || reader.run(&batches, &stop))
        .context("start the reader thread")
}

impl Reader {
    /// A reader of this source.
    pub fn new(source: Box<dyn Source>, recorder: Option<Recorder>) -> Self {
        Self {
            source,
            recorder,
            asked: Names::default(),
            names: Vec::new(),
            recorded: Instant::now(),
        }
    }

    fn run(&mut self, batches: &SyncSender<Batch>, stop: &Stop) -> anyhow::Result<Reading> {
        self.tick()?;
        while !stop.raised() {
            self.source.wait(POLL).context("wait for records")?;
            if !self.send(batches)? {
                break;
            }
            if self.recorded.elapsed() >= RECORD_EVERY {
                self.tick()?;
            }
        }
        // First the counters, then the records: what was counted has its record in the ring by then.
        let reading = self.source.read(false).context("read the counters")?;
        self.send(batches)?;
        self.tick()?;
        Ok(reading)
    }

    /// Hands over what there is; false when nobody is there to take it.
    fn send(&mut self, batches: &SyncSender<Batch>) -> anyhow::Result<bool> {
        let mut records = Vec::new();
        self.source.drain(&mut |record| records.push(*record));
        if records.is_empty() {
            return Ok(true);
        }
        let mut names = Vec::new();
        for record in &records {
            if let Record::Flow(event) = record
                && !self.asked.asked(event.cgroup_id)
            {
                self.asked.insert(event.cgroup_id, None);
                names.push((event.cgroup_id, self.source.cgroup(event.cgroup_id)));
            }
        }
        if let Some(recorder) = &mut self.recorder {
            self.names.extend(names.iter().cloned());
            for record in &records {
                recorder.record(record)?;
            }
        }
        Ok(batches
            .send(Batch {
                at: Instant::now(),
                records,
                names,
            })
            .is_ok())
    }

    /// Writes a reading into the recording, so that `top --replay` has tables to show.
    fn tick(&mut self) -> anyhow::Result<()> {
        self.recorded = Instant::now();
        let Some(recorder) = &mut self.recorder else {
            return Ok(());
        };
        let reading = self.source.read(true).context("read the counters")?;
        for (key, _) in &reading.dests {
            if !self.asked.asked(key.cgroup_id) {
                self.asked.insert(key.cgroup_id, None);
                self.names
                    .push((key.cgroup_id, self.source.cgroup(key.cgroup_id)));
            }
        }
        let host = self.source.host(false).context("read the host's settings")?;
        let names = std::mem::take(&mut self.names);
        recorder.tick(&Tick {
            reading,
            names,
            host: Some(host),
            listeners: None,
            records: Vec::new(),
        })?;
        Ok(())
    }
}
