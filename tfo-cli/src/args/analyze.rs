//! `tfo-cli analyze`.

use std::{fmt::Display, path::PathBuf};

use clap::Args;

use super::filters::PacketFilterArgs;
use crate::{addr::Prefix, exit::Failure, model::filter::Filter, output::TraceFormat};

/// The options of `tfo-cli analyze`, as the user typed them.
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
    /// Which connections.
    #[command(flatten)]
    pub filters: PacketFilterArgs,
    /// Here only to say why it is not.
    #[arg(long, hide = true, value_name = "PROCESS,...")]
    process: Option<String>,
    /// The same.
    #[arg(long, hide = true, value_name = "UNIT,...")]
    unit: Option<String>,
}

/// The checked options of `tfo-cli analyze`.
#[derive(Clone, Debug, PartialEq)]
pub struct AnalyzeConfig {
    /// Captures, in the order of the command line.
    pub files: Vec<PathBuf>,
    /// Whether to print connections without Fast Open, too.
    pub all: bool,
    /// Format of the output.
    pub format: TraceFormat,
    /// Addresses of our side; empty to report both ends of each connection.
    pub local: Vec<Prefix>,
    /// The connections to print.
    pub filter: Filter,
    /// File that names networks.
    pub networks: Option<PathBuf>,
}

impl AnalyzeArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<AnalyzeConfig, Failure> {
        self.filters.check_reported(self.all)?;
        for (flag, value) in [("--process", &self.process), ("--unit", &self.unit)] {
            if let Some(value) = value {
                return Err(not_in_packets(flag, value));
            }
        }
        let filter = self.filters.resolve()?;
        check_filter(&filter)?;
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
            filter,
            networks: self.filters.networks,
            files: self.files,
            all: self.all,
            format: self.format,
        })
    }
}

/// Refuses to look in packets for what only the host they came from knows: nothing would pass.
pub fn check_filter(filter: &Filter) -> Result<(), Failure> {
    match filter.key_of_host() {
        Some(key) => Err(not_in_packets("filter", format!("{key}:..."))),
        None => Ok(()),
    }
}

fn not_in_packets(flag: &str, value: impl Display) -> Failure {
    let why = "a capture has packets only: nothing in them names a process, a service or a cgroup";
    Failure::usage(flag, value, why).hint(
        "choose connections by --remote, --port, --role, --family or --outcome; sides by `analyze --local`",
    )
}
