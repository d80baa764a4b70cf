//! Recordings: what the kernel side said, in a file that can be played back on another host without root.
//!
//! ```text
//! file  = magic block*                     appended to, never rewritten
//! block = length:u32 raw_length:u32 checksum:u32 packed       packed = lz4(entry*)
//! entry = tag:u8 length:varint payload     a tag this version does not know is skipped
//! ```
//!
//! Numbers of fixed size are little-endian. The checksum is the CRC-32 of IEEE 802.3 over length, raw length and the packed
//! entries; in format 1, which is still read, it was the Adler-32 of the packed entries.
//!
//! A block is written once per reading, so a recorder that is killed loses at most the last one.

mod block;
mod entry;
mod flow;
mod looked;
mod reader;
mod writer;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{reader::Recording, writer::Recorder};
use crate::model::{
    diagnosis::Looked,
    snapshot::Prefixes,
    source::{CgroupName, Host, Reading},
};
use tfo_common::{event::Record, listener::ListenerRecord};

/// First bytes of every recording; the byte behind them is the format.
pub const MAGIC: [u8; 7] = *b"tfo-rec";
/// The format that is written.
pub const FORMAT: u8 = 2;

/// What is said once, at the beginning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preamble {
    /// Version of the recorder.
    pub version: String,
    /// ns of wall clock minus monotonic clock.
    pub wall_offset_ns: i64,
    /// Bits remote addresses of servers were cut to: IPv4, IPv6.
    pub server_prefixes: (u8, u8),
    /// Programs that were attached.
    pub attached: Vec<String>,
    /// What the host could not do: name, why.
    pub degradations: Vec<(String, String)>,
}

impl Preamble {
    /// How remote addresses of servers were cut.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes {
            v4: self.server_prefixes.0,
            v6: self.server_prefixes.1,
        }
    }
}

/// What happened between two readings.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Records in the order they came.
    pub records: Vec<Record>,
    /// Cgroups not met before.
    pub names: Vec<(u64, Option<CgroupName>)>,
    /// The reading at the end.
    pub reading: Reading,
    /// The host, read right after it.
    pub host: Option<Host>,
    /// Listening sockets, if they were read.
    pub listeners: Option<Vec<ListenerRecord>>,
    /// What else was looked at, if it was.
    pub looked: Option<Looked>,
}

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be opened, read or written.
    #[error("{operation} {}: {error}", .path.display())]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// It is something else.
    #[error("{}: not a recording of tfo-cli", .0.display())]
    Foreign(PathBuf),
    /// It was made by a later version.
    #[error("{}: recording format {found}; this tfo-cli reads 1 to {FORMAT}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u8,
    },
    /// A block does not have its checksum, or does not say what it should.
    #[error("{}: damaged in block {block}: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Number of the block, from 1.
        block: u64,
        /// What is wrong.
        why: &'static str,
    },
}

#[cfg(test)]
mod tests;
