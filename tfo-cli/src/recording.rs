//! Recordings: everything that the kernel side reported, in a file that can be replayed on another host without root.
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
//! A block is written with every reading, and earlier when it is full. A recorder that is killed loses what it had since
//! the last block.

mod block;
mod entry;
mod flow;
mod host_facts;
mod reader;
mod writer;

use std::{io, path::PathBuf};

use serde::{Deserialize, Serialize};

pub use self::{reader::Recording, writer::Recorder};
use crate::model::{
    diagnosis::HostFacts,
    snapshot::Prefixes,
    source::{CgroupName, Host, Reading},
};
use tfo_common::{event::Record, listener::ListenerRecord};

/// First bytes of every recording. The byte after them is the number of the format.
pub const MAGIC: [u8; 7] = *b"tfo-rec";
/// Number of the format that is written.
pub const FORMAT: u8 = 2;

/// The first entry of a recording: what does not change while it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preamble {
    /// Version of tfo-cli that made the recording.
    pub version: String,
    /// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`, in ns.
    pub wall_offset_ns: i64,
    /// Bits to which remote addresses of the server role were cut: of IPv4 and of IPv6.
    pub server_prefixes: (u8, u8),
    /// Names of the BPF programs that were attached.
    pub attached: Vec<String>,
    /// What could not be observed on the host: name and reason.
    pub degradations: Vec<(String, String)>,
}

impl Preamble {
    /// The lengths to which remote addresses of the server role were cut.
    pub fn prefixes(&self) -> Prefixes {
        Prefixes {
            v4: self.server_prefixes.0,
            v6: self.server_prefixes.1,
        }
    }
}

/// A reading, and everything that was recorded since the one before.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Records, in the order in which they arrived.
    pub records: Vec<Record>,
    /// Cgroups that were seen for the first time, by id; `None` for one that is gone.
    pub names: Vec<(u64, Option<CgroupName>)>,
    /// The reading at the end of this time. Its `at_ns` is 0 where the recording ends before it.
    pub reading: Reading,
    /// Settings and counters of the host, read right after the reading.
    pub host: Option<Host>,
    /// The listening sockets, where they were read with this reading.
    pub listeners: Option<Vec<ListenerRecord>>,
    /// What else was looked at, if it was.
    pub host_facts: Option<HostFacts>,
    /// What could not be observed from here on, name and reason, where that is not what it was before.
    pub degradations: Option<Vec<(String, String)>>,
}

/// Why a recording cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    /// The file cannot be opened, read or written.
    #[error("{operation} {}: {error}", .path.display())]
    Io {
        /// The operation that failed.
        operation: &'static str,
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        error: io::Error,
    },
    /// The file is not a recording.
    #[error("{}: not a recording of tfo-cli", .0.display())]
    Foreign(PathBuf),
    /// The recording was made by a later version of tfo-cli.
    #[error("{}: recording format {found}; this tfo-cli reads 1 to {FORMAT}", .path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// The number of its format.
        found: u8,
    },
    /// A block has a wrong checksum or unreadable contents.
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
