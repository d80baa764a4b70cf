//! Writes a recording.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use serde::Serialize;
use tfo_common::{DestKey, event::Record};

use super::{
    FORMAT, MAGIC, Preamble, RecordingError, Tick, block,
    entry::{Counters, put_entry, tag},
    flow::{put_listener, put_listener_facts, put_record},
    host_facts::Stored,
};
use crate::model::{
    packed::Packed,
    row_delta::{SparseRow, put_key},
    source::CgroupName,
};

/// Bytes of entries at which a block is written before its reading is complete.
const FLUSH_LEN: usize = 8 << 20;
/// Rows in one entry, at most.
const ROWS_PER_ENTRY: usize = 4_096;

/// A recording that is being written.
#[derive(Debug)]
pub struct Recorder {
    file: File,
    path: PathBuf,
    /// Entries of the block that is not written yet.
    entries: Vec<u8>,
    /// The destination table of the last reading.
    rows: HashMap<DestKey, SparseRow>,
}

impl Recorder {
    /// Begins a recording in a new file. A file that exists is an error: it may be the evidence of another day.
    pub fn create(path: &Path, preamble: &Preamble) -> Result<Self, RecordingError> {
        let failed = |error| RecordingError::Io {
            operation: "create",
            path: path.to_owned(),
            error,
        };
        // Only the owner may read the addresses and process names in it.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(failed)?;
        let mut recorder = Self {
            file,
            path: path.to_owned(),
            entries: Vec::new(),
            rows: HashMap::new(),
        };
        recorder.write(&MAGIC)?;
        recorder.write(&[FORMAT])?;
        recorder.put_json(tag::PREAMBLE, preamble);
        recorder.flush()?;
        Ok(recorder)
    }

    /// Adds a record.
    pub fn record(&mut self, record: &Record) -> Result<(), RecordingError> {
        let mut payload = Vec::with_capacity(128);
        put_record(record, &mut payload);
        put_entry(tag::RECORD, &payload, &mut self.entries);
        if self.entries.len() >= FLUSH_LEN {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Adds the name of a cgroup; `None` when the cgroup is gone.
    pub fn name(&mut self, id: u64, name: Option<&CgroupName>) {
        self.put_json(tag::NAME, &(id, name));
    }

    /// Adds a reading with everything that was read with it, and writes the block to the file.
    pub fn tick(&mut self, tick: &Tick) -> Result<(), RecordingError> {
        for record in &tick.records {
            self.record(record)?;
        }
        for (id, name) in &tick.names {
            self.name(*id, name.as_ref());
        }
        self.put_json(tag::READING, &Counters::of(&tick.reading));
        if !tick.reading.dests.is_empty() {
            self.rows(&tick.reading.dests)?;
        }
        if let Some(host) = &tick.host {
            self.put_json(tag::HOST, host);
        }
        if let Some(listeners) = &tick.listeners {
            let mut payload = Vec::new();
            for listener in listeners {
                put_listener(listener, &mut payload);
            }
            put_entry(tag::LISTENERS, &payload, &mut self.entries);
            let mut payload = Vec::new();
            for listener in listeners {
                put_listener_facts(listener, &mut payload);
            }
            put_entry(tag::LISTENER_FACTS, &payload, &mut self.entries);
        }
        if let Some(host_facts) = &tick.host_facts {
            self.put_json(tag::LOOKED, &Stored::of(host_facts));
        }
        if let Some(degradations) = &tick.degradations {
            self.put_json(tag::DEGRADED, degradations);
        }
        put_entry(tag::TICK, &[], &mut self.entries);
        self.flush()
    }

    /// Adds the rows that changed since the last reading, and the keys of those that are gone.
    fn rows(&mut self, dests: &[(DestKey, Packed)]) -> Result<(), RecordingError> {
        let mut gone: HashMap<DestKey, SparseRow> = std::mem::take(&mut self.rows);
        for chunk in dests.chunks(ROWS_PER_ENTRY) {
            let mut payload = Vec::new();
            for (key, stats) in chunk {
                let (before, now) = (
                    gone.remove(key).unwrap_or_default(),
                    SparseRow::of(&stats.stats()),
                );
                if before != now {
                    put_key(key, &mut payload);
                    now.put_difference(&before, &mut payload);
                }
                self.rows.insert(*key, now);
            }
            put_entry(tag::ROWS, &payload, &mut self.entries);
            if self.entries.len() >= FLUSH_LEN {
                self.flush()?;
            }
        }
        let mut payload = Vec::new();
        for key in gone.keys() {
            put_key(key, &mut payload);
        }
        put_entry(tag::GONE, &payload, &mut self.entries);
        Ok(())
    }

    fn put_json(&mut self, tag: u8, value: &impl Serialize) {
        // Our own types have no value that JSON cannot hold.
        let payload = serde_json::to_vec(value).unwrap_or_default();
        put_entry(tag, &payload, &mut self.entries);
    }

    fn flush(&mut self) -> Result<(), RecordingError> {
        let block = block::pack(&self.entries);
        self.entries.clear();
        self.write(&block)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), RecordingError> {
        let failed = |error| RecordingError::Io {
            operation: "write",
            path: self.path.clone(),
            error,
        };
        self.file.write_all(bytes).map_err(failed)
    }
}
