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

/// Rows a recording may have at once: beyond it the file is damaged or hostile.
const MOST_ROWS: usize = 1 << 20;
/// Records one tick may have: twenty seconds at the fastest rate measured.
const MOST_RECORDS: usize = 1 << 22;

/// An open recording.
pub struct Recording {
    file: Box<dyn Read + Send>,
    path: PathBuf,
    preamble: Preamble,
    checksum: Checksum,
    block: u64,
    entries: Vec<u8>,
    at: usize,
    rows: HashMap<DestKey, SparseRow>,
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
            entries: Vec::new(),
            at: 0,
            rows: HashMap::new(),
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
    /// is zero.
    pub fn next_tick(&mut self) -> Result<Option<Tick>, RecordingError> {
        let mut tick = Tick::default();
        let mut with_rows = false;
        loop {
            let mut rest = &self.entries[self.at..];
            if rest.is_empty() {
                if self.next_block()? {
                    continue;
                }
                let loose = !tick.records.is_empty();
                return Ok(loose.then_some(Tick {
                    records: tick.records,
                    names: tick.names,
                    ..Tick::default()
                }));
            }
            let Some((tag, payload)) = take_entry(&mut rest) else {
                return Err(self.damaged("torn entry"));
            };
            let payload = payload.to_vec();
            self.at = self.entries.len() - rest.len();
            match tag {
                tag::RECORD => tick.records.push(self.record(&payload)?),
                tag::NAME => tick.names.push(self.json::<(u64, Option<CgroupName>)>(&payload)?),
                tag::READING => tick.reading = self.json::<Counters>(&payload)?.reading(),
                tag::ROWS => {
                    self.change_rows(&payload)?;
                    with_rows = true;
                }
                tag::GONE => self.remove_rows(&payload)?,
                tag::HOST => tick.host = Some(self.json::<Host>(&payload)?),
                tag::LISTENERS => tick.listeners = Some(self.listeners(&payload)?),
                tag::LISTENER_FACTS => self.listener_facts(&payload, &mut tick)?,
                tag::LOOKED => tick.looked = Some(self.json::<Stored>(&payload)?.looked()),
                tag::TICK => {
                    if with_rows {
                        tick.reading.dests = self.rows.iter().map(|(key, row)| (*key, row.stats())).collect();
                    }
                    return Ok(Some(tick));
                }
                _ => {}
            }
            if tick.records.len() > MOST_RECORDS {
                return Err(self.damaged("too many records in one interval"));
            }
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
            Block::Whole(entries) => self.entries = entries,
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
        serde_json::from_slice(payload).map_err(|_| self.damaged("unreadable entry"))
    }

    fn record(&self, mut payload: &[u8]) -> Result<Record, RecordingError> {
        take_record(&mut payload).ok_or_else(|| self.damaged("unreadable record"))
    }

    fn listeners(&self, mut payload: &[u8]) -> Result<Vec<ListenerRecord>, RecordingError> {
        let mut listeners = Vec::new();
        while !payload.is_empty() {
            listeners.push(take_listener(&mut payload).ok_or_else(|| self.damaged("unreadable listener"))?);
        }
        Ok(listeners)
    }

    fn listener_facts(&self, mut payload: &[u8], tick: &mut Tick) -> Result<(), RecordingError> {
        for listener in tick.listeners.iter_mut().flatten() {
            take_listener_facts(&mut payload, listener).ok_or_else(|| self.damaged("unreadable listener"))?;
        }
        Ok(())
    }

    fn change_rows(&mut self, mut payload: &[u8]) -> Result<(), RecordingError> {
        while !payload.is_empty() {
            let change = take_key(&mut payload).zip(RowDelta::take(&mut payload));
            let (key, difference) = change.ok_or_else(|| self.damaged("unreadable row"))?;
            self.rows.entry(key).or_default().add(&difference);
            if self.rows.len() > MOST_ROWS {
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
