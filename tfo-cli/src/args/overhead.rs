//! `--max-overhead`, for commands that run for long.

use clap::Args;

use crate::{
    exit::Failure,
    options::{AttachOptions, CpuShare, MEASURE_OFTEN},
};

/// The limit on what observing costs.
#[derive(Args, Clone, Debug, Default)]
pub struct OverheadArgs {
    /// Cost this part of the host's CPU (all cores together) at most: above it give up times to first byte, then plain
    /// connections, then detach, and say so.
    #[arg(
        long,
        value_name = "PERCENT",
        conflicts_with = "replay",
        help_heading = "Kernel side"
    )]
    pub max_overhead: Option<String>,
}

impl OverheadArgs {
    /// Adds the limit, if there is one.
    pub fn resolve(self, attach: AttachOptions) -> Result<AttachOptions, Failure> {
        let Some(text) = self.max_overhead else {
            return Ok(attach);
        };
        let limit = CpuShare::parse(&text).map_err(|why| Failure::usage("--max-overhead", &text, why))?;
        Ok(AttachOptions {
            max_overhead: Some(limit),
            measure_every: MEASURE_OFTEN,
            ..attach
        })
    }
}
