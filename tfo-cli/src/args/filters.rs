//! The options that choose connections, which all commands that show connections have in common.

use std::path::PathBuf;

use clap::Args;
use tfo_common::Outcome;

use super::value;
use crate::{exit::Failure, model::filter::Filter};

/// The filters on what packets alone tell about a connection.
#[derive(Args, Clone, Debug, Default)]
pub struct PacketFilterArgs {
    /// Only these outcomes; `good` and `failure` are groups of outcomes.
    #[arg(
        long,
        value_name = "OUTCOME,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    outcome: Vec<String>,
    /// Only this end: client or server.
    #[arg(long, value_name = "ROLE", help_heading = "Filters")]
    role: Option<String>,
    /// Only remote addresses in one of these blocks: `10.0.0.0/8`, `2001:db8::/32`, `192.0.2.1`.
    #[arg(
        long,
        value_name = "PREFIX,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    remote: Vec<String>,
    /// Only these service ports (remote of a client, local of a server): 443, 8000-8999.
    #[arg(
        long,
        value_name = "PORT,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    port: Vec<String>,
    /// Only this address family: 4 or 6.
    #[arg(long, value_name = "4|6", help_heading = "Filters")]
    family: Option<String>,
    /// An expression that combines conditions: 'outcome:failure lost>100ms !port:443'.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Filters")]
    filter: Option<String>,
    /// File that names networks, one per line: `10.0.0.0/8 = office`. The filter `network:office` then selects by name.
    #[arg(long, value_name = "FILE", help_heading = "Filters")]
    pub networks: Option<PathBuf>,
}

/// All filters: those on packets, and those on what only this host knows.
#[derive(Args, Clone, Debug, Default)]
pub struct FilterArgs {
    /// Those on packets.
    #[command(flatten)]
    pub packet: PacketFilterArgs,
    /// Only these processes: a process id, or part of a name. Servers have no process.
    #[arg(
        long,
        value_name = "PROCESS,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    process: Vec<String>,
    /// Only these services: part of a systemd unit or container id.
    #[arg(
        long,
        value_name = "UNIT,...",
        value_delimiter = ',',
        help_heading = "Filters"
    )]
    unit: Vec<String>,
}

/// A flag, its key in the filter language, and its values.
type Flag = (&'static str, &'static str, Vec<String>);

impl PacketFilterArgs {
    /// Fails when the filter chooses only connections that are not reported without `--all`.
    pub fn check_reported(&self, all: bool) -> Result<(), Failure> {
        if all || self.outcome.iter().all(|name| name != Outcome::Plain.name()) {
            return Ok(());
        }
        let why = "connections without Fast Open are not reported";
        Err(Failure::usage("--outcome", Outcome::Plain.name(), why).hint("add --all"))
    }

    /// The filter.
    pub fn resolve(&self) -> Result<Filter, Failure> {
        resolve(&self.flags(), self.filter.as_deref())
    }

    fn flags(&self) -> Vec<Flag> {
        let one = |value: &Option<String>| value.iter().cloned().collect();
        vec![
            ("--outcome", "outcome", self.outcome.clone()),
            ("--role", "role", one(&self.role)),
            ("--remote", "dst", self.remote.clone()),
            ("--port", "port", self.port.clone()),
            ("--family", "fam", one(&self.family)),
        ]
    }
}

impl FilterArgs {
    /// See [`PacketFilterArgs::check_reported`].
    pub fn check_reported(&self, all: bool) -> Result<(), Failure> {
        self.packet.check_reported(all)
    }

    /// The filter.
    pub fn resolve(&self) -> Result<Filter, Failure> {
        resolve(&self.flags(), self.packet.filter.as_deref())
    }

    /// The filter, and its text for editing. `usual` is the expression that applies where the user typed none.
    pub fn resolve_with_text(&self, usual: Option<&str>) -> Result<(Filter, String), Failure> {
        let expression = self.packet.filter.as_deref().or(usual);
        let filter = resolve(&self.flags(), expression)?;
        let flags = self.flags();
        let written = flags.iter().filter(|(_, _, values)| !values.is_empty());
        let mut terms: Vec<String> = written
            .map(|(_, key, values)| {
                let term = format!("{key}:{}", values.join(","));
                if term.contains(char::is_whitespace) {
                    format!("{key}:\"{}\"", values.join(","))
                } else {
                    term
                }
            })
            .collect();
        terms.extend(expression.map(str::to_owned));
        let text = terms.join(" ");
        if text.parse().ok().as_ref() != Some(&filter) {
            let why = "this cannot be written as one filter";
            return Err(Failure::usage("--filter", &text, why).hint("say all of it in --filter"));
        }
        Ok((filter, text))
    }

    fn flags(&self) -> Vec<Flag> {
        let mut flags = self.packet.flags();
        flags.push(("--process", "proc", self.process.clone()));
        flags.push(("--unit", "unit", self.unit.clone()));
        flags
    }
}

fn resolve(flags: &[Flag], expression: Option<&str>) -> Result<Filter, Failure> {
    let mut filter = Filter::default();
    for (flag, key, values) in flags {
        filter
            .require(key, values)
            .map_err(|why| Failure::usage(flag, values.join(","), why))?;
    }
    filter.and(value::filter(expression)?);
    Ok(filter)
}
