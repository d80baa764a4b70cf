//! Reading a source, the same for every command that observes: records are drained, cgroups named once, readings taken;
//! and all of it goes into a recording, where one is wanted.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tfo_common::{event::Record, flags::Shed, listener::ListenerRecord};

use super::{
    attach,
    overhead::{Decided, Overhead},
    record,
};
use crate::{
    exit::Failure,
    model::{
        diagnosis::HostFacts,
        names,
        source::{CgroupName, Degradation, Host, Lookup, ProgramRuns, Reading, Source},
    },
    options::AttachOptions,
    recording::{Recorder, RecordingError, Tick},
};

/// Cgroups and what they are called; `None` when one is gone.
pub type Names = Vec<(u64, Option<CgroupName>)>;

/// Readings taken until two agree; on a host that is never still the last one counts.
const SETTLE_TRIES: u32 = 5;

/// A source, and the recording it goes to.
pub struct Observer {
    source: Box<dyn Source>,
    recorder: Option<Recorder>,
    /// Cgroups that were asked for by [`Observer::new_names`].
    asked: names::Names,
    /// Names that are not in the recording yet.
    unrecorded: Names,
    table: Table,
    /// The limit on what observing costs, where there is one.
    overhead: Option<Overhead>,
    /// Run time of the programs, as of the latest look under a limit.
    runs: Vec<ProgramRuns>,
    /// What was recorded last of what this host cannot do.
    recorded: Vec<Degradation>,
}

/// When the table of destinations was read, and what it had counted then.
#[derive(Default)]
struct Table {
    /// [`Reading::row_changes`] of the latest reading of the table.
    changes: Option<u64>,
    /// The reading before that had the same number: what was counted has also reached the rows.
    is_settled: bool,
    /// Readings since then that left it out.
    left_out: u32,
}

/// Readings after which the table is read though nothing has changed: a program that stood still between counting and the
/// row, on a machine that was suspended, is found then.
const LEFT_OUT_AT_MOST: u32 = 60;

impl Observer {
    /// Attaches to the kernel.
    pub fn attach(options: &AttachOptions, record: Option<&Path>) -> Result<Self, Failure> {
        Self::new(attach::attach(options)?, options, record)
    }

    /// An observer of this source. A recording that cannot be begun is an error.
    pub fn new(
        source: Box<dyn Source>,
        options: &AttachOptions,
        record: Option<&Path>,
    ) -> Result<Self, Failure> {
        let begin = |path| record::begin(path, &*source, options);
        Ok(Self {
            recorder: record.map(begin).transpose()?,
            overhead: options.max_overhead.map(Overhead::new),
            runs: Vec::new(),
            recorded: source.degradations().to_vec(),
            source,
            asked: names::Names::default(),
            unrecorded: Names::new(),
            table: Table::default(),
        })
    }

    /// The source, for what is asked of it directly.
    pub fn source(&mut self) -> &mut dyn Source {
        &mut *self.source
    }

    /// Run time of the BPF programs.
    pub fn program_runs(&mut self) -> Vec<ProgramRuns> {
        if self.overhead.is_some() {
            // Asking begins and ends samples, and the limit asks as often as it needs to.
            self.runs.clone()
        } else {
            self.source.program_runs()
        }
    }

    /// Keeps within `--max-overhead`, where that was asked for: to be called all the time, looks once a second. What it
    /// decided, if anything.
    pub fn keep_within(&mut self) -> anyhow::Result<Option<Decided>> {
        let Some(overhead) = self.overhead.as_mut().filter(|one| one.is_due()) else {
            return Ok(None);
        };
        self.runs = self.source.program_runs();
        overhead
            .look(&mut *self.source, &self.runs)
            .context("keep within --max-overhead")
    }

    /// What is given up to keep within it.
    pub fn shed(&self) -> Shed {
        self.overhead.as_ref().map_or(Shed::Nothing, Overhead::step)
    }

    /// Whether a recording is written.
    pub fn is_recording(&self) -> bool {
        self.recorder.is_some()
    }

    /// Ends the recording; observing goes on.
    pub fn stop_recording(&mut self) {
        self.recorder = None;
    }

    /// Sleeps until records are worth reading, at most for `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        self.source.wait(timeout).context("wait for records")
    }

    /// Hands over every record there is. All of them are, also where one cannot be recorded.
    pub fn drain(&mut self, sink: &mut dyn FnMut(&Record)) -> Result<(), RecordingError> {
        let Self { source, recorder, .. } = self;
        let mut failed = None;
        source.drain(&mut |record| {
            sink(record);
            if let Some(recorder) = recorder.as_mut().filter(|_| failed.is_none()) {
                failed = recorder.record(record).err();
            }
        });
        failed.map_or(Ok(()), Err)
    }

    /// What those of these cgroups are called that have not been answered for here before; and those for which there is no
    /// answer yet.
    pub fn new_names(&mut self, ids: impl IntoIterator<Item = u64>) -> (Names, Vec<u64>) {
        let mut new: Vec<u64> = ids.into_iter().filter(|id| !self.asked.asked(*id)).collect();
        new.sort_unstable();
        new.dedup();
        let (names, later) = self.names(new);
        for (id, _) in &names {
            self.asked.insert(*id, None);
        }
        (names, later)
    }

    /// What these cgroups are called; and those for which there is no answer yet.
    pub fn names(&mut self, ids: impl IntoIterator<Item = u64>) -> (Names, Vec<u64>) {
        let (mut names, mut later) = (Names::new(), Vec::new());
        for id in ids {
            match self.source.cgroup(id) {
                Lookup::Known(name) => names.push((id, Some(name))),
                Lookup::Gone => names.push((id, None)),
                Lookup::NotYet => later.push(id),
            }
        }
        if self.recorder.is_some() {
            self.unrecorded.extend(names.iter().cloned());
        }
        (names, later)
    }

    /// Reads every counter; the table of destinations only where `dests` is set.
    pub fn counters(&mut self, dests: bool) -> anyhow::Result<Reading> {
        self.source.read(dests).context("read the counters")
    }

    /// Reads every counter and the host. The table of destinations is empty where nothing in it has changed and no recording
    /// wants it: a full one is 10 MB. `all`: the kernel's counters of every network namespace, and the table in any case.
    pub fn read(&mut self, all: bool) -> anyhow::Result<(Reading, Host)> {
        let reading = match self.unchanged(all)? {
            Some(reading) => reading,
            None => self.whole()?,
        };
        let host = self.source.host(all).context("read the host's settings")?;
        Ok((reading, host))
    }

    /// The counters alone, where the table is as it was.
    fn unchanged(&mut self, all: bool) -> anyhow::Result<Option<Reading>> {
        let table = &mut self.table;
        table.left_out += 1;
        if all || self.recorder.is_some() || !table.is_settled || table.left_out > LEFT_OUT_AT_MOST {
            return Ok(None);
        }
        let reading = self.counters(false)?;
        Ok((reading.row_changes == self.table.changes).then_some(reading))
    }

    fn whole(&mut self) -> anyhow::Result<Reading> {
        let reading = self.counters(true)?;
        self.table = Table {
            is_settled: reading.row_changes.is_some() && reading.row_changes == self.table.changes,
            changes: reading.row_changes,
            left_out: 0,
        };
        Ok(reading)
    }

    /// Reads every counter of every network namespace until the kernel's and ours stand still, so that the cross-check
    /// compares like with like.
    pub fn read_settled(&mut self) -> anyhow::Result<(Reading, Host)> {
        let mut read = self.read(true)?;
        for _ in 0..SETTLE_TRIES {
            let again = self.read(true)?;
            let settled = again.0.netns == read.0.netns && again.1.mib == read.1.mib;
            read = again;
            if settled {
                break;
            }
        }
        Ok(read)
    }

    /// Records a reading with the names found since the one before; nothing where no recording is written.
    pub fn record(
        &mut self,
        reading: &Reading,
        host: &Host,
        listeners: Option<&[ListenerRecord]>,
        host_facts: Option<&HostFacts>,
    ) -> Result<(), RecordingError> {
        let Some(recorder) = &mut self.recorder else {
            return Ok(());
        };
        let now = self.source.degradations();
        let degradations = (now != self.recorded).then(|| {
            self.recorded = now.to_vec();
            record::degradations(now)
        });
        recorder.tick(&Tick {
            reading: reading.clone(),
            host: Some(host.clone()),
            listeners: listeners.map(<[ListenerRecord]>::to_vec),
            host_facts: host_facts.cloned(),
            degradations,
            names: std::mem::take(&mut self.unrecorded),
            records: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{
        fake::{FakeSource, dest_key},
        packed::Packed,
    };

    /// Whether each of these readings, by what had changed until then, has the table. A light reading that finds a change
    /// is followed by a whole one, so numbers are there twice.
    fn have_the_table(changes: &[Option<u64>], times: usize) -> Vec<bool> {
        let reading = |row_changes: &Option<u64>| Reading {
            row_changes: *row_changes,
            dests: vec![(dest_key(1), Packed::default())],
            ..Reading::default()
        };
        let source = FakeSource {
            readings: changes.iter().map(reading).collect(),
            ..FakeSource::default()
        };
        let mut observer =
            Observer::new(Box::new(source), &AttachOptions::default(), None).expect("nothing is recorded");
        (0..times)
            .map(|_| !observer.read(false).expect("it reads").0.dests.is_empty())
            .collect()
    }

    #[test]
    fn a_table_that_stands_still_is_read_twice_and_then_left_out() {
        let changes = [
            Some(7),
            Some(7),
            Some(7),
            Some(7),
            Some(8),
            Some(8),
            Some(8),
            Some(8),
        ];
        assert_eq!(
            have_the_table(&changes, 7),
            [true, true, false, false, true, true, false]
        );
    }

    #[test]
    fn it_is_read_once_in_a_while_all_the_same() {
        let read = have_the_table(&[Some(7)], 2 + LEFT_OUT_AT_MOST as usize + 1);
        assert_eq!(read.iter().filter(|has| **has).count(), 3);
        assert_eq!(read.last(), Some(&true));
    }

    #[test]
    fn where_nobody_counts_it_is_always_read() {
        assert_eq!(have_the_table(&[None], 4), [true; 4]);
    }
}
