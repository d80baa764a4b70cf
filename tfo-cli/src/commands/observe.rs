//! Reading a source, the same for every command that observes: records are drained, cgroups named once, readings taken;
//! and all of it goes into a recording, where one is wanted.

use std::{path::Path, time::Duration};

use anyhow::Context as _;
use tfo_common::{event::Record, listener::ListenerRecord};

use super::{attach, record};
use crate::{
    exit::Failure,
    model::{
        diagnosis::Looked,
        names,
        source::{CgroupName, Host, Lookup, Reading, Source},
    },
    options::AttachOptions,
    recording::{Recorder, RecordingError, Tick},
};

/// Cgroups and what they are called; `None` when one is gone.
pub type Names = Vec<(u64, Option<CgroupName>)>;

/// A source, and the recording it goes to.
pub struct Observer {
    source: Box<dyn Source>,
    recorder: Option<Recorder>,
    /// Cgroups that were asked for by [`Observer::new_names`].
    asked: names::Names,
    /// Names that are not in the recording yet.
    unrecorded: Names,
}

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
            source,
            asked: names::Names::default(),
            unrecorded: Names::new(),
        })
    }

    /// The source, for what is asked of it directly.
    pub fn source(&mut self) -> &mut dyn Source {
        &mut *self.source
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

    /// Reads every counter and the host. `all`: the kernel's counters of every network namespace.
    pub fn read(&mut self, all: bool) -> anyhow::Result<(Reading, Host)> {
        let reading = self.counters(true)?;
        let host = self.source.host(all).context("read the host's settings")?;
        Ok((reading, host))
    }

    /// Records a reading with the names found since the one before; nothing where no recording is written.
    pub fn record(
        &mut self,
        reading: &Reading,
        host: &Host,
        listeners: Option<&[ListenerRecord]>,
        looked: Option<&Looked>,
    ) -> Result<(), RecordingError> {
        let Some(recorder) = &mut self.recorder else {
            return Ok(());
        };
        recorder.tick(&Tick {
            reading: reading.clone(),
            host: Some(host.clone()),
            listeners: listeners.map(<[ListenerRecord]>::to_vec),
            looked: looked.cloned(),
            names: std::mem::take(&mut self.unrecorded),
            records: Vec::new(),
        })
    }
}
