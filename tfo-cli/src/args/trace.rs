//! `tfo-cli trace`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};
use tfo_common::Outcome;

use super::{AttachArgs, value};
use crate::{exit::Failure, model::filter::Filter, options::AttachOptions};

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Print connections without Fast Open too.
    #[arg(long)]
    pub all: bool,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = TraceFormat::Text)]
    pub format: TraceFormat,
    /// End after this time.
    #[arg(long, value_name = "TIME")]
    pub duration: Option<String>,
    /// End after this many printed connections.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// Hold a connection back so long for its time to first byte; 0 prints at once, without it where it comes
    /// later.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub ttfb_wait: String,
    /// Only these outcomes; `good` and `failure` stand for several.
    #[arg(
        long,
        value_name = "OUTCOME,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub outcome: Vec<String>,
    /// Only this end: client or server.
    #[arg(long, value_name = "ROLE", help_heading = "Filters")]
    pub role: Option<String>,
    /// Only remote addresses in one of these blocks: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`.
    #[arg(
        long,
        value_name = "PREFIX,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub remote: Vec<String>,
    /// Only these service ports (remote of a client, local of a server): 443, 8000-8999.
    #[arg(
        long,
        value_name = "PORT,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub port: Vec<String>,
    /// Only these processes: a process id, or part of a name. Servers have no process.
    #[arg(
        long,
        value_name = "PROCESS,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub process: Vec<String>,
    /// Only these services: part of a systemd unit or container id.
    #[arg(
        long,
        value_name = "UNIT,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    pub unit: Vec<String>,
    /// Only this address family: 4 or 6.
    #[arg(long, value_name = "4|6", help_heading = "Filters")]
    pub family: Option<String>,
    /// All of it in one expression: 'outcome:failure lost>100ms !unit:nginx'.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Filters")]
    pub filter: Option<String>,
    /// Write what is seen into this file too, to be played back with --replay; it must not exist.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Print a recording instead of this host; needs no root.
    #[arg(long, value_name = "FILE", conflicts_with = "duration")]
    pub replay: Option<PathBuf>,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Formats of `trace`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TraceFormat {
    /// Aligned lines for people.
    Text,
    /// One JSON object per line, schema 1.
    Json,
    /// RFC 4180, with a header.
    Csv,
}

/// What it means.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// Format of the output.
    pub format: TraceFormat,
    /// When to end.
    pub duration: Option<Duration>,
    /// After how many printed flows to end.
    pub count: Option<u64>,
    /// How long a flow waits for its first byte.
    pub ttfb_wait: Duration,
    /// Which flows to print.
    pub filter: Filter,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to print.
    pub replay: Option<PathBuf>,
}

impl TraceArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<TraceConfig, Failure> {
        if self.count == Some(0) {
            return Err(Failure::usage("--count", 0, "nothing would be printed"));
        }
        if !self.all && self.outcome.iter().any(|name| name == Outcome::Plain.name()) {
            let why = "connections without Fast Open are not reported";
            return Err(Failure::usage("--outcome", Outcome::Plain.name(), why).hint("add --all"));
        }
        Ok(TraceConfig {
            filter: self.filters()?,
            format: self.format,
            record: self.record,
            replay: self.replay,
            duration: self
                .duration
                .map(|text| value::duration("--duration", &text))
                .transpose()?,
            count: self.count,
            ttfb_wait: value::duration("--ttfb-wait", &self.ttfb_wait)?,
            attach: self.attach.resolve(self.all)?,
        })
    }

    fn filters(&self) -> Result<Filter, Failure> {
        let mut filter = Filter::default();
        let one = |value: &Option<String>| value.iter().cloned().collect::<Vec<_>>();
        for (flag, key, values) in [
            ("--outcome", "outcome", &self.outcome),
            ("--role", "role", &one(&self.role)),
            ("--remote", "dst", &self.remote),
            ("--port", "port", &self.port),
            ("--process", "proc", &self.process),
            ("--unit", "unit", &self.unit),
            ("--family", "fam", &one(&self.family)),
        ] {
            filter
                .require(key, values)
                .map_err(|why| Failure::usage(flag, values.join(","), why))?;
        }
        filter.and(value::filter(self.filter.as_deref())?);
        Ok(filter)
    }
}
