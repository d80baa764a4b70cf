//! `tfo-cli diagnose`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{AttachArgs, value};
use crate::{exit::Failure, model::filter::Filter, options::AttachOptions};

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct DiagnoseArgs {
    /// Watch for this time.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub duration: String,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = DiagnoseFormat::Text)]
    pub format: DiagnoseFormat,
    /// Below each line of text: evidence, an example, what was excluded, cost, fix and how to undo it.
    #[arg(long)]
    pub details: bool,
    /// Only these services: part of a systemd unit or container id.
    #[arg(
        long,
        value_name = "UNIT,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub unit: Vec<String>,
    /// Only findings about what satisfies the expression: 'dst:10.0.0.0/8 !unit:nginx'.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Filters")]
    pub filter: Option<String>,
    /// Write what is seen into this file too, to be played back with --replay; it must not exist.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Diagnose a recording instead of this host; needs no root.
    #[arg(long, value_name = "FILE", conflicts_with = "duration")]
    pub replay: Option<PathBuf>,
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

/// What it means.
#[derive(Clone, Debug, PartialEq)]
pub struct DiagnoseConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// How long to watch.
    pub duration: Duration,
    /// Format of the output.
    pub format: DiagnoseFormat,
    /// Text with details.
    pub details: bool,
    /// Which findings to show.
    pub filter: Filter,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to diagnose.
    pub replay: Option<PathBuf>,
}

impl DiagnoseArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<DiagnoseConfig, Failure> {
        let mut filter = Filter::default();
        filter
            .require("unit", &self.unit)
            .map_err(|why| Failure::usage("--unit", self.unit.join(","), why))?;
        filter.and(value::filter(self.filter.as_deref())?);
        Ok(DiagnoseConfig {
            attach: self.attach.resolve(false)?,
            duration: value::duration_at_least("--duration", &self.duration, Duration::from_millis(100))?,
            format: self.format,
            details: self.details,
            filter,
            record: self.record,
            replay: self.replay,
        })
    }
}
