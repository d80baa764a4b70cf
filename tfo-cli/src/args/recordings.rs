//! The options that every command has which records, or replays a recording.

use std::path::PathBuf;

use clap::Args;

/// The file to record into, and the one to replay.
#[derive(Args, Clone, Debug, Default)]
pub struct RecordingArgs {
    /// Write what is seen into this file too, to be played back with --replay; it must not exist.
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "replay",
        help_heading = "Recordings"
    )]
    pub record: Option<PathBuf>,
    /// Read a recording, or a capture, instead of this host; needs no root.
    #[arg(long, value_name = "FILE", help_heading = "Recordings")]
    pub replay: Option<PathBuf>,
}
