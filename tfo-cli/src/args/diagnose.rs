//! `tfo-cli diagnose`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{AttachArgs, filters::FilterArgs, recordings::RecordingArgs, value};
use crate::{exit::Failure, model::filter::Filter, options::AttachOptions};

/// The options of `tfo-cli diagnose`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct DiagnoseArgs {
    /// Watch for this time.
    #[arg(long, value_name = "TIME", default_value = "30s", conflicts_with = "replay")]
    pub duration: String,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = DiagnoseFormat::Text)]
    pub format: DiagnoseFormat,
    /// Below each finding, print evidence, an example, what was excluded, cost, fix and how to undo the fix.
    #[arg(long)]
    pub details: bool,
    /// Tell the fingerprints of the Fast Open keys in use, too, made with this word: the same on every server of a pool, so
    /// that they can be compared.
    #[arg(long, value_name = "WORD", conflicts_with = "replay")]
    pub salt: Option<String>,
    /// Findings about which connections.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Recordings.
    #[command(flatten)]
    pub recordings: RecordingArgs,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Formats of `diagnose`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum DiagnoseFormat {
    /// Aligned lines for people.
    Text,
    /// A document for a ticket.
    Markdown,
    /// One JSON object per line, schema 1.
    Json,
}

/// The checked options of `tfo-cli diagnose`.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagnoseConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// How long to watch.
    pub duration: Duration,
    /// Format of the output.
    pub format: DiagnoseFormat,
    /// Whether text has details.
    pub details: bool,
    /// What the fingerprints of keys are made with; `None` not to read any key.
    pub salt: Option<String>,
    /// Which findings to show.
    pub filter: Filter,
    /// File that names networks.
    pub networks: Option<PathBuf>,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to diagnose.
    pub replay: Option<PathBuf>,
}

impl DiagnoseArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<DiagnoseConfig, Failure> {
        Ok(DiagnoseConfig {
            attach: self.attach.resolve(false)?,
            duration: value::duration_at_least("--duration", &self.duration, Duration::from_millis(100))?,
            format: self.format,
            details: self.details,
            salt: self.salt,
            filter: self.filters.resolve()?,
            networks: self.filters.packet.networks,
            record: self.recordings.record,
            replay: self.recordings.replay,
        })
    }
}
