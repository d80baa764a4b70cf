//! `tfo-cli top`.

use std::{path::PathBuf, time::Duration};

use clap::{Args, ValueEnum};

use super::{AttachArgs, value};
use crate::{
    exit::Failure,
    model::{SortKey, filter::Filter},
    options::AttachOptions,
};

/// Shorter intervals would read the whole destination table more often than a person can look.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(100);

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct TopArgs {
    /// Print the table after one interval and end.
    #[arg(long)]
    pub once: bool,
    /// Format of --once.
    #[arg(long, value_enum, default_value_t = TopFormat::Text)]
    pub format: TopFormat,
    /// Time between two readings.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub interval: String,
    /// What to sort by: lost, hit, failures, attempts, net, saved, rtt, syn, last or remote.
    #[arg(long, value_name = "ORDER", default_value = "lost")]
    pub sort: String,
    /// Show only what satisfies the expression: 'outcome:failure lost>100ms !unit:nginx'.
    #[arg(long, value_name = "EXPRESSION")]
    pub filter: Option<String>,
    /// Write what is seen into this file too, to be played back with --replay; it must not exist.
    #[arg(long, value_name = "FILE", conflicts_with = "replay")]
    pub record: Option<PathBuf>,
    /// Show a recording instead of this host; needs no root.
    #[arg(long, value_name = "FILE")]
    pub replay: Option<PathBuf>,
    /// Play it that many times as fast.
    #[arg(long, value_name = "FACTOR", default_value_t = 1.0, requires = "replay")]
    pub speed: f64,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
}

/// Formats of `top --once`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum TopFormat {
    /// A table for people.
    Text,
    /// One JSON object, schema 1.
    Json,
}

/// What it means.
#[derive(Clone, Debug, PartialEq)]
pub struct TopConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// Print once and end.
    pub once: bool,
    /// How to print.
    pub format: TopFormat,
    /// Time between two readings.
    pub interval: Duration,
    /// What to sort by.
    pub sort: SortKey,
    /// What to show.
    pub filter: Filter,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to show.
    pub replay: Option<PathBuf>,
    /// How fast.
    pub speed: f64,
}

impl TopArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<TopConfig, Failure> {
        let sort = SortKey::from_name(&self.sort).ok_or_else(|| {
            let names = SortKey::ALL.map(|(name, _)| name).join(", ");
            Failure::usage("--sort", &self.sort, format!("not one of {names}"))
        })?;
        if !(0.01..=1_000.0).contains(&self.speed) {
            return Err(Failure::usage("--speed", self.speed, "must be 0.01 to 1000"));
        }
        Ok(TopConfig {
            record: self.record,
            replay: self.replay,
            speed: self.speed,
            // A machine-readable dashboard makes no sense: json is one object.
            once: self.once || self.format == TopFormat::Json,
            format: self.format,
            interval: value::duration_at_least("--interval", &self.interval, SHORTEST_INTERVAL)?,
            sort,
            filter: value::filter(self.filter.as_deref())?,
            attach: self.attach.resolve(false)?,
        })
    }
}
