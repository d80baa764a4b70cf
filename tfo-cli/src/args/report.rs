//! `tfo-cli report`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{AttachArgs, value};
use crate::{exit::Failure, options::AttachOptions};

/// The options of `tfo-cli report`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct ReportArgs {
    /// Watch this host for this time.
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub duration: String,
    /// Report a recording or a capture instead of this host; needs no root.
    #[arg(long, value_name = "FILE", conflicts_with = "duration")]
    pub replay: Option<PathBuf>,
    /// Format of the document [default: the one the name given with -o ends with, else markdown].
    #[arg(long, value_enum)]
    pub format: Option<ReportFormat>,
    /// Write into this file, which must not exist, instead of to stdout.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace each address and name by a label, the same one throughout the document.
    #[arg(long)]
    pub redact: bool,
    /// Tell the fingerprints of the Fast Open keys in use, too, made with this word: the same on every server of a pool, so
    /// that they can be compared.
    #[arg(long, value_name = "WORD", conflicts_with = "replay")]
    pub salt: Option<String>,
    /// File that names networks, one per line: `10.0.0.0/8 = office`. The report then has sums by network.
    #[arg(long, value_name = "FILE")]
    pub networks: Option<PathBuf>,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Formats of `report`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ReportFormat {
    /// For tickets and chats.
    Markdown,
    /// One file for a browser, without script and without anything loaded.
    Html,
}

/// The checked options of `tfo-cli report`.
#[derive(Clone, Debug, PartialEq)]
pub struct ReportConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// How long to watch.
    pub duration: Duration,
    /// Recording or capture to report.
    pub replay: Option<PathBuf>,
    /// Format of the document.
    pub format: ReportFormat,
    /// File to write.
    pub output: Option<PathBuf>,
    /// Whether labels replace addresses and names.
    pub redact: bool,
    /// What the fingerprints of keys are made with; `None` not to read any key.
    pub salt: Option<String>,
    /// File that names networks.
    pub networks: Option<PathBuf>,
}

impl ReportArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<ReportConfig, Failure> {
        let is_html = self
            .output
            .as_ref()
            .and_then(|path| path.extension())
            .is_some_and(|end| end.eq_ignore_ascii_case("html") || end.eq_ignore_ascii_case("htm"));
        let by_name = if is_html {
            ReportFormat::Html
        } else {
            ReportFormat::Markdown
        };
        Ok(ReportConfig {
            attach: self.attach.resolve(false)?,
            duration: value::duration_at_least("--duration", &self.duration, Duration::from_millis(100))?,
            replay: self.replay,
            format: self.format.unwrap_or(by_name),
            output: self.output,
            redact: self.redact,
            salt: self.salt,
            networks: self.networks,
        })
    }
}
