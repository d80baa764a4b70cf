//! Reads a recording, one reading after the other.

use std::{
    collections::HashMap,
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
};

use serde::de::DeserializeOwned;
use tfo_common::{DestKey, event::Record, listener::ListenerRecord};

use super::{
    MAGIC, Preamble, RecordingError, Tick,
    block::{self, Block, Checksum},
    entry::{Counters, tag, take_entry},
    flow::{take_listener, take_listener_facts, take_record},
    host_facts::Stored,
};
use crate::model::{
    packed::Packed,
    row_delta::{RowDelta, SparseRow, take_key},
    source::{CgroupName, Host},
};

// Limits of what a file may ask for. A few megabytes can be unpacked to gigabytes, so everything that is kept in memory is
// limited: by a number, or by the length of the file.

/// Rows that a recording may have at a time: as many as the largest table.
const MAX_ROWS: usize = 1 << 20;
/// Rows that any file may have; for more, the file has to be long enough.
const FREE_ROWS: usize = 1 << 16;
/// Bytes of the file that each further row needs. A real row, an address with its counters, takes more.
const BYTES_PER_ROW: u64 = 8;
/// Records and names that are returned at a time. Where there are more before a reading, they come first, as ticks
/// without a reading.
const MAX_PER_TICK: usize = 1 << 16;
/// Listening sockets that a reading may have.
const MAX_LISTENERS: usize = 1 << 17;
/// Bytes that an entry in JSON may have: twenty times as many as the counters and settings of 1,024 namespaces.
const MAX_JSON_LEN: usize = 4 << 20;

/// A recording that is being read.
pub struct Recording {
    file: Box<dyn Read + Send>,
    path: PathBuf,
    preamble: Preamble,
    checksum: Checksum,
    /// Number of the block that was read last, from 1.
    block: u64,
    /// Bytes of the file that were read.
    packed: u64,
    /// The entries of the block.
    entries: Vec<u8>,
    /// Bytes of the entries that were taken already.
    taken: usize,
    /// The destination table as of the entries taken.
    rows: HashMap<DestKey, SparseRow>,
    /// The tick that is not complete yet.
    tick: Tick,
    /// Whether the destination table is part of it.
    has_rows: bool,
    is_truncated: bool,
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recording")
            .field("path", &self.path)
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

impl Recording {
    /// Opens a file and reads its preamble.
    pub fn open(path: &Path) -> Result<Self, RecordingError> {
        let file = File::open(path).map_err(|error| RecordingError::Io {
            operation: "open",
            path: path.to_owned(),
            error,
        })?;
        Self::read(Box::new(BufReader::new(file)), path)
    }

    /// Reads a recording from any source; errors call it `path`.
    pub fn read(mut file: Box<dyn Read + Send>, path: &Path) -> Result<Self, RecordingError> {
        let mut beginning = Vec::new();
        let failed = |error| RecordingError::Io {
            operation: "read",
            path: path.to_owned(),
            error,
        };
        (&mut file)
            .take(MAGIC.len() as u64 + 1)
            .read_to_end(&mut beginning)
            .map_err(failed)?;
        let Some(&[format]) = beginning.strip_prefix(&MAGIC) else {
            return Err(RecordingError::Foreign(path.to_owned()));
        };
        let checksum = Checksum::of(format).ok_or_else(|| RecordingError::Version {
            path: path.to_owned(),
            found: format,
        })?;
        let mut recording = Self {
            file,
            path: path.to_owned(),
            preamble: Preamble::default(),
            checksum,
            block: 0,
            packed: 0,
            entries: Vec::new(),
            taken: 0,
            rows: HashMap::new(),
            tick: Tick::default(),
            has_rows: false,
            is_truncated: false,
        };
        if recording.next_block()? {
            let mut rest = &recording.entries[..];
            match take_entry(&mut rest) {
                Some((tag::PREAMBLE, payload)) => recording.preamble = recording.json(payload)?,
                _ => return Err(recording.damaged("no preamble")),
            }
            recording.taken = recording.entries.len() - rest.len();
        }
        Ok(recording)
    }

    /// The first entry of the recording.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// Whether the file ended within a block, as that of a killed recorder does.
    pub fn is_truncated(&self) -> bool {
        self.is_truncated
    }

    /// The next tick; `None` at the end. Records after the last reading come as a tick with an empty one, whose `at_ns` is
    /// 0; so do records before a reading, where there are too many for one tick.
    pub fn next_tick(&mut self) -> Result<Option<Tick>, RecordingError> {
        loop {
            if self.tick.records.len() + self.tick.names.len() >= MAX_PER_TICK {
                return Ok(Some(self.take_records()));
            }
            let mut rest = &self.entries[self.taken..];
            if rest.is_empty() {
                if self.next_block()? {
                    continue;
                }
                let has_records = !self.tick.records.is_empty();
                return Ok(has_records.then(|| self.take_records()));
            }
            let Some((tag, payload)) = take_entry(&mut rest) else {
                return Err(self.damaged("torn entry"));
            };
            let payload = payload.to_vec();
            self.taken = self.entries.len() - rest.len();
            match tag {
                tag::RECORD => self.tick.records.push(self.record(&payload)?),
                tag::NAME => self
                    .tick
                    .names
                    .push(self.json::<(u64, Option<CgroupName>)>(&payload)?),
                tag::READING => self.tick.reading = self.json::<Counters>(&payload)?.reading(),
                tag::ROWS => {
                    self.change_rows(&payload)?;
                    self.has_rows = true;
                }
                tag::GONE => self.remove_rows(&payload)?,
                tag::HOST => self.tick.host = Some(self.json::<Host>(&payload)?),
                tag::LISTENERS => self.tick.listeners = Some(self.listeners(&payload)?),
                tag::LISTENER_FACTS => self.listener_facts(&payload)?,
                tag::LOOKED => self.tick.host_facts = Some(self.json::<Stored>(&payload)?.host_facts()),
                tag::DEGRADED => self.tick.degradations = Some(self.json(&payload)?),
                tag::TICK => {
                    let mut tick = std::mem::take(&mut self.tick);
                    if std::mem::take(&mut self.has_rows) {
                        tick.reading.dests = self
                            .rows
                            .iter()
                            .map(|(key, row)| (*key, Packed::from(&row.stats())))
                            .collect();
                    }
                    return Ok(Some(tick));
                }
                _ => {}
            }
        }
    }

    /// Takes the records and names that have been read, as a tick without a reading.
    fn take_records(&mut self) -> Tick {
        Tick {
            records: std::mem::take(&mut self.tick.records),
            names: std::mem::take(&mut self.tick.names),
            ..Tick::default()
        }
    }

    fn next_block(&mut self) -> Result<bool, RecordingError> {
        self.block += 1;
        self.taken = 0;
        self.entries.clear();
        let failed = |error| RecordingError::Io {
            operation: "read",
            path: self.path.clone(),
            error,
        };
        match block::read(&mut self.file, self.checksum).map_err(failed)? {
            Block::Whole(entries, packed) => {
                self.entries = entries;
                self.packed += packed;
            }
            Block::End => return Ok(false),
            Block::Truncated => {
                self.is_truncated = true;
                return Ok(false);
            }
            Block::Damaged(why) => return Err(self.damaged(why)),
        }
        Ok(true)
    }

    fn damaged(&self, why: &'static str) -> RecordingError {
        RecordingError::Damaged {
            path: self.path.clone(),
            block: self.block,
            why,
        }
    }

    fn json<T: DeserializeOwned>(&self, payload: &[u8]) -> Result<T, RecordingError> {
        if payload.len() > MAX_JSON_LEN {
            return Err(self.damaged("impossible length"));
        }
        serde_json::from_slice(payload).map_err(|_| self.damaged("unreadable entry"))
    }

    fn record(&self, mut payload: &[u8]) -> Result<Record, RecordingError> {
        take_record(&mut payload).ok_or_else(|| self.damaged("unreadable record"))
    }

    fn listeners(&self, mut payload: &[u8]) -> Result<Vec<ListenerRecord>, RecordingError> {
        let mut listeners = Vec::new();
        while !payload.is_empty() {
            if listeners.len() >= MAX_LISTENERS {
                return Err(self.damaged("too many listeners"));
            }
            listeners.push(take_listener(&mut payload).ok_or_else(|| self.damaged("unreadable listener"))?);
        }
        Ok(listeners)
    }

    fn listener_facts(&mut self, mut payload: &[u8]) -> Result<(), RecordingError> {
        let mut listeners = self.tick.listeners.iter_mut().flatten();
        if listeners.any(|listener| take_listener_facts(&mut payload, listener).is_none()) {
            return Err(self.damaged("unreadable listener"));
        }
        Ok(())
    }

    fn change_rows(&mut self, mut payload: &[u8]) -> Result<(), RecordingError> {
        while !payload.is_empty() {
            let change = take_key(&mut payload).zip(RowDelta::take(&mut payload));
            let (key, difference) = change.ok_or_else(|| self.damaged("unreadable row"))?;
            self.rows.entry(key).or_default().add(&difference);
            let more_rows = usize::try_from(self.packed / BYTES_PER_ROW).unwrap_or(usize::MAX);
            if self.rows.len() > MAX_ROWS.min(FREE_ROWS + more_rows) {
                return Err(self.damaged("too many rows"));
            }
        }
        Ok(())
    }

    fn remove_rows(&mut self, mut payload: &[u8]) -> Result<(), RecordingError> {
        while !payload.is_empty() {
            let key = take_key(&mut payload).ok_or_else(|| self.damaged("unreadable row"))?;
            self.rows.remove(&key);
        }
        Ok(())
    }
}
