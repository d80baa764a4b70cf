//! `tfo-cli analyze`.

use std::path::PathBuf;

use clap::Args;
use tfo_common::Outcome;

use super::{TraceFormat, value};
use crate::{addr::Prefix, exit::Failure, model::filter::Filter};

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct AnalyzeArgs {
    /// Captures, pcap or pcapng, also in gzip; `-` is standard input, also a live pipe of `tcpdump -w -`. Files that
    /// follow on each other in time are read as one.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Print connections without Fast Open too.
    #[arg(long)]
    pub all: bool,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = TraceFormat::Text)]
    pub format: TraceFormat,
    /// Addresses of our side, to report its end of each connection: `10.0.0.0/8`, `2001:db8::1`. Without it both ends
    /// are reported.
    #[arg(long, value_name = "PREFIX")]
    pub local: Vec<String>,
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
    /// Only this address family: 4 or 6.
    #[arg(long, value_name = "4|6", help_heading = "Filters")]
    pub family: Option<String>,
    /// All of it in one expression: 'outcome:failure lost>100ms'.
    #[arg(long, value_name = "EXPRESSION", help_heading = "Filters")]
    pub filter: Option<String>,
}

/// What it means.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzeConfig {
    /// Captures, in order.
    pub files: Vec<PathBuf>,
    /// Plain connections too.
    pub all: bool,
    /// Format of the output.
    pub format: TraceFormat,
    /// Our side; nobody's where it is empty.
    pub local: Vec<Prefix>,
    /// Which flows to print.
    pub filter: Filter,
}

impl AnalyzeArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<AnalyzeConfig, Failure> {
        if !self.all && self.outcome.iter().any(|name| name == Outcome::Plain.name()) {
            let why = "connections without Fast Open are not reported";
            return Err(Failure::usage("--outcome", Outcome::Plain.name(), why).hint("add --all"));
        }
        let stdin = self.files.iter().filter(|file| file.as_os_str() == "-").count();
        if stdin > 1 {
            return Err(Failure::usage(
                "FILE",
                "-",
                "standard input can be read once only",
            ));
        }
        let prefix = |text: &String| {
            text.parse::<Prefix>()
                .map_err(|why| Failure::usage("--local", text, why))
        };
        Ok(AnalyzeConfig {
            local: self.local.iter().map(prefix).collect::<Result<_, _>>()?,
            filter: self.filters()?,
            files: self.files,
            all: self.all,
            format: self.format,
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
