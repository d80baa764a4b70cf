//! `tfo-cli bench-model`: hidden, for `cargo xtask bench` and for making recordings without a kernel.

use std::path::PathBuf;

use clap::Args;

use crate::exit::Failure;

/// The options of `tfo-cli bench`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct BenchArgs {
    /// Records to fold.
    #[arg(long, default_value_t = 5_000_000)]
    pub events: u64,
    /// Rows of the destination table.
    #[arg(long, default_value_t = tfo_common::limits::DESTS)]
    pub destinations: u32,
    /// Frames to draw.
    #[arg(long, default_value_t = 50)]
    pub frames: u32,
    /// Instead of measuring, record the made-up host of the tests into this file.
    #[arg(long, value_name = "FILE")]
    pub recording: Option<PathBuf>,
    /// Seconds of that recording.
    #[arg(long, default_value_t = 120)]
    pub seconds: u64,
}

impl BenchArgs {
    /// Checks that the numbers are in their ranges.
    pub fn resolve(self) -> Result<Self, Failure> {
        if self.events == 0 || self.frames == 0 {
            return Err(Failure::usage(
                "--events --frames",
                0,
                "there is nothing to measure",
            ));
        }
        Ok(self)
    }
}
