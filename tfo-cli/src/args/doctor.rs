//! `tfo-cli doctor`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{policy::ListFormat, scope::PinArgs, value};
use crate::exit::Failure;

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Format of the output; json is one object per check.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    /// Show what passes, too.
    #[arg(long)]
    details: bool,
    /// How long the kernel's counters are watched; 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    watch: String,
    #[command(flatten)]
    pins: PinArgs,
}

/// What it means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorConfig {
    /// Format.
    pub format: ListFormat,
    /// Also what passes.
    pub details: bool,
    /// How long the counters are watched.
    pub watch: Duration,
    /// Pin directory.
    pub bpffs: PathBuf,
}

impl DoctorArgs {
    /// Checks every value.
    pub fn resolve(self) -> Result<DoctorConfig, Failure> {
        Ok(DoctorConfig {
            format: self.format,
            details: self.details,
            watch: value::duration("--watch", &self.watch)?,
            bpffs: self.pins.bpffs,
        })
    }
}
