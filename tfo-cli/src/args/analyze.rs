//! `tfo-cli analyze`.

use std::path::PathBuf;

use clap::Args;

use super::filters::PacketFilterArgs;
use crate::{addr::Prefix, exit::Failure, model::filter::Filter, output::TraceFormat};

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
    /// Which connections.
    #[command(flatten)]
    pub filters: PacketFilterArgs,
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
        self.filters.check_reported(self.all)?;
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
            filter: self.filters.resolve()?,
            files: self.files,
            all: self.all,
            format: self.format,
        })
    }
}
