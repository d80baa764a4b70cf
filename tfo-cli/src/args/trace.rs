//! `tfo-cli trace`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{AttachArgs, filters::FilterArgs, overhead::OverheadArgs, recordings::RecordingArgs, value};
use crate::{exit::Failure, model::filter::Filter, options::AttachOptions, output::TraceFormat};

/// The options of `tfo-cli trace`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct TraceArgs {
    /// Print connections without Fast Open too.
    #[arg(long)]
    pub all: bool,
    /// Format of the output.
    #[arg(long, value_enum, default_value_t = TraceFormat::Text)]
    pub format: TraceFormat,
    /// End after this time.
    #[arg(long, value_name = "TIME", conflicts_with = "replay")]
    pub duration: Option<String>,
    /// End after this many printed connections.
    #[arg(long, value_name = "N")]
    pub count: Option<u64>,
    /// At the end, print findings with evidence, cost and fix, as `diagnose` does.
    #[arg(long)]
    pub summary: bool,
    /// Add the hash of the cookie that the kernel keeps for a client's pair of addresses when its record is read, as `cookies`
    /// shows it. It asks the kernel for each pair, once a second and after each new cookie.
    #[arg(long, conflicts_with = "replay")]
    pub cookies: bool,
    /// Longest wait for a connection's time to first byte before it is printed; 0 prints at once, without a time that
    /// is not known yet.
    #[arg(long, value_name = "TIME", default_value = "1s")]
    pub ttfb_wait: String,
    /// Which connections.
    #[command(flatten)]
    pub filters: FilterArgs,
    /// Recordings.
    #[command(flatten)]
    pub recordings: RecordingArgs,
    /// Where to look.
    #[command(flatten)]
    pub attach: AttachArgs,
    /// What it may cost.
    #[command(flatten)]
    pub overhead: OverheadArgs,
}

/// The checked options of `tfo-cli trace`.
#[derive(Clone, Debug, PartialEq)]
pub struct TraceConfig {
    /// How to attach.
    pub attach: AttachOptions,
    /// Format of the output.
    pub format: TraceFormat,
    /// Time after which to end; `None` for no limit.
    pub duration: Option<Duration>,
    /// Number of printed connections after which to end; `None` for no limit.
    pub count: Option<u64>,
    /// Whether to print findings at the end.
    pub summary: bool,
    /// Whether to look up the hashes of cookies.
    pub cookies: bool,
    /// How long a connection is held back for its time to first byte.
    pub ttfb_wait: Duration,
    /// The connections to print.
    pub filter: Filter,
    /// File that names networks.
    pub networks: Option<PathBuf>,
    /// File to record into.
    pub record: Option<PathBuf>,
    /// Recording to print.
    pub replay: Option<PathBuf>,
}

impl TraceArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<TraceConfig, Failure> {
        if self.count == Some(0) {
            return Err(Failure::usage("--count", 0, "nothing would be printed"));
        }
        self.filters.check_reported(self.all)?;
        Ok(TraceConfig {
            filter: self.filters.resolve()?,
            networks: self.filters.packet.networks,
            format: self.format,
            record: self.recordings.record,
            replay: self.recordings.replay,
            duration: self
                .duration
                .map(|text| value::duration("--duration", &text))
                .transpose()?,
            count: self.count,
            summary: self.summary,
            cookies: self.cookies,
            ttfb_wait: value::duration("--ttfb-wait", &self.ttfb_wait)?,
            attach: self.overhead.resolve(self.attach.resolve(self.all)?)?,
        })
    }
}
