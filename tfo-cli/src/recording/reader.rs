//! Reads a recording, one tick after the other.

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
    looked::Stored,
};
use crate::model::{
    row_delta::{RowDelta, SparseRow, take_key},
    source::{CgroupName, Host},
};

// What a file may ask for. Packed, a few megabytes can say gigabytes: whatever is kept is bounded, by a number or by the
// length of the file itself.

/// Rows a recording may have at once, with the largest table there is.
const MOST_ROWS: usize = 1 << 20;
/// Rows that any file may have; beyond them each has to have taken some bytes of it. A real one, an address and what was
/// counted for it, takes more.
const FREE_ROWS: usize = 1 << 16;
const BYTES_PER_ROW: u64 = 8;
/// Records and names handed over at once. Where a reading has more, they come as ticks without one before it.
const MOST_AT_ONCE: usize = 1 << 16;
/// Listening sockets of one reading.
const MOST_LISTENERS: usize = 1 << 17;
/// Bytes of an entry that is JSON: counters and settings of 1,024 namespaces take a twentieth.
const MOST_JSON: usize = 4 << 20;

/// An open recording.
pub struct Recording {
    file: Box<dyn Read + Send>,
    path: PathBuf,
    preamble: Preamble,
    checksum: Checksum,
    block: u64,
    /// Bytes of the file that were read.
    packed: u64,
    entries: Vec<u8>,
    at: usize,
    rows: HashMap<DestKey, SparseRow>,
    /// What was read of the tick that is not complete yet, and whether the rows are part of it.
    tick: Tick,
    with_rows: bool,
    truncated: bool,
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

    /// Reads a recording from anywhere; `path` is what it is called in messages.
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
            at: 0,
            rows: HashMap::new(),
            tick: Tick::default(),
            with_rows: false,
            truncated: false,
        };
        if recording.next_block()? {
            let mut rest = &recording.entries[..];
            match take_entry(&mut rest) {
                Some((tag::PREAMBLE, payload)) => recording.preamble = recording.json(payload)?,
                _ => return Err(recording.damaged("no preamble")),
            }
            recording.at = recording.entries.len() - rest.len();
        }
        Ok(recording)
    }

    /// What is said at the beginning.
    pub fn preamble(&self) -> &Preamble {
        &self.preamble
    }

    /// Whether the file ended in the middle of a block, as that of a killed recorder does.
    pub fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// The next tick; `None` at the end. Records after the last reading come as a tick without one: its time
    /// is zero. So do those before it, where there are too many for one tick.
    pub fn next_tick(&mut self) -> Result<Option<Tick>, RecordingError> {
        loop {
            if self.tick.records.len() + self.tick.names.len() >= MOST_AT_ONCE {
                return Ok(Some(self.loose()));
            }
            let mut rest = &self.entries[self.at..];
            if rest.is_empty() {
                if self.next_block()? {
                    continue;
                }
                let loose = !self.tick.records.is_empty();
                return Ok(loose.then(|| self.loose()));
            }
            let Some((tag, payload)) = take_entry(&mut rest) else {
                return Err(self.damaged("torn entry"));
            };
            let payload = payload.to_vec();
            self.at = self.entries.len() - rest.len();
            match tag {
                tag::RECORD => self.tick.records.push(self.record(&payload)?),
                tag::NAME => self
                    .tick
                    .names
                    .push(self.json::<(u64, Option<CgroupName>)>(&payload)?),
                tag::READING => self.tick.reading = self.json::<Counters>(&payload)?.reading(),
                tag::ROWS => {
                    self.change_rows(&payload)?;
                    self.with_rows = true;
                }
                tag::GONE => self.remove_rows(&payload)?,
                tag::HOST => self.tick.host = Some(self.json::<Host>(&payload)?),
                tag::LISTENERS => self.tick.listeners = Some(self.listeners(&payload)?),
                tag::LISTENER_FACTS => self.listener_facts(&payload)?,
                tag::LOOKED => self.tick.looked = Some(self.json::<Stored>(&payload)?.looked()),
                tag::TICK => {
                    let mut tick = std::mem::take(&mut self.tick);
                    if std::mem::take(&mut self.with_rows) {
                        tick.reading.dests = self.rows.iter().map(|(key, row)| (*key, row.stats())).collect();
                    }
                    return Ok(Some(tick));
                }
                _ => {}
            }
        }
    }

    /// Records and names without the reading they belong to.
    fn loose(&mut self) -> Tick {
        Tick {
            records: std::mem::take(&mut self.tick.records),
            names: std::mem::take(&mut self.tick.names),
            ..Tick::default()
        }
    }

    fn next_block(&mut self) -> Result<bool, RecordingError> {
        self.block += 1;
        self.at = 0;
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
                self.truncated = true;
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
        if payload.len() > MOST_JSON {
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
            if listeners.len() >= MOST_LISTENERS {
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
            let paid_for = usize::try_from(self.packed / BYTES_PER_ROW).unwrap_or(usize::MAX);
            if self.rows.len() > MOST_ROWS.min(FREE_ROWS + paid_for) {
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
