//! Captures: packets somebody else recorded, through the same classifier into the same flow records.
//!
//! ```text
//! input ─> format ─> link ─> ip ─> tcp ─> table of connections ─> verdict (tfo_common::classify) ─> Judged
//! ```
//!
//! All but `input` is pure: bytes and the capture's own times in, verdicts out. What a capture cannot say is a
//! named [`Unknown`] or an absent value, never a guess.

pub mod connection;
pub mod format;
pub mod input;
pub mod ip;
pub mod link;
pub mod reader;
pub mod table;
pub mod tally;
pub mod tcp;
pub mod unknown;
pub mod verdict;

use std::{io, path::PathBuf};

pub use self::{
    reader::{Analyzer, Counts},
    unknown::Unknown,
    verdict::Judged,
};

/// Name of the degradation that stands for all a capture does not have.
pub const DEGRADATION: &str = "capture";

/// Why a capture cannot be read at all. A capture that is cut or damaged later on is read up to there
/// ([`format::Ending`]).
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or read.
    #[error("{operation} {path}: {error}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: String,
        /// What the system said.
        error: io::Error,
    },
    /// It is something else.
    #[error("{}: not a capture: neither pcap nor pcapng, nor one of them in gzip", .0.display())]
    Foreign(PathBuf),
    /// It has no byte.
    #[error("{}: empty", .0.display())]
    Empty(PathBuf),
}

#[cfg(test)]
pub(crate) mod tests;
