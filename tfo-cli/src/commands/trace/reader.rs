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

/// Starts the thread. It ends when asked to, or when nobody takes its batches; its result is the last reading.
pub fn spawn(
    source: Box<dyn Source>,
    batches: SyncSender<Batch>,
    stop: Stop,
) -> anyhow::Result<JoinHandle<anyhow::Result<Reading>>> {
    thread::Builder::new()
        .name("reader".into())
        .spawn(move || read(source, &batches, &stop))
        .context("start the reader thread")
}

fn read(mut source: Box<dyn Source>, batches: &SyncSender<Batch>, stop: &Stop) -> anyhow::Result<Reading> {
    let mut asked = Names::default();
    while !stop.raised() {
        source.wait(POLL).context("wait for records")?;
        if !send(&mut *source, &mut asked, batches) {
            break;
        }
    }
    // First the counters, then the records: what was counted has its record in the ring by then.
    let reading = source.read(false).context("read the counters")?;
    send(&mut *source, &mut asked, batches);
    Ok(reading)
}

/// Hands over what there is; false when nobody is there to take it.
fn send(source: &mut dyn Source, asked: &mut Names, batches: &SyncSender<Batch>) -> bool {
    let mut records = Vec::new();
    source.drain(&mut |record| records.push(*record));
    if records.is_empty() {
        return true;
    }
    let mut names = Vec::new();
    for record in &records {
        if let Record::Flow(event) = record
            && !asked.asked(event.cgroup_id)
        {
            asked.insert(event.cgroup_id, None);
            names.push((event.cgroup_id, source.cgroup(event.cgroup_id)));
        }
    }
    batches
        .send(Batch {
            at: Instant::now(),
            records,
            names,
        })
        .is_ok()
}
