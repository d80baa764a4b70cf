//! `tfo-cli top`.

use std::time::Duration;

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
}

impl TopArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<TopConfig, Failure> {
        let sort = SortKey::from_name(&self.sort).ok_or_else(|| {
            let names = SortKey::ALL.map(|(name, _)| name).join(", ");
            Failure::usage("--sort", &self.sort, format!("not one of {names}"))
        })?;
        Ok(TopConfig {
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
