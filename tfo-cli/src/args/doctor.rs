//! `tfo-cli doctor`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{policy::ListFormat, scope::PinArgs, value};
use crate::exit::Failure;

/// The options of `tfo-cli doctor`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct DoctorArgs {
    /// Format of the output; json is one object per check.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    /// Also show checks that pass.
    #[arg(long)]
    details: bool,
    /// How long to watch the kernel's counters; 0 does not wait.
    #[arg(long, value_name = "TIME", default_value = "2s")]
    watch: String,
    #[command(flatten)]
    pins: PinArgs,
}

/// The checked options of `tfo-cli doctor`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DoctorConfig {
    /// Format of the output.
    pub format: ListFormat,
    /// Whether to print checks that pass, too.
    pub details: bool,
    /// How long the kernel's counters are observed; zero for not at all.
    pub watch: Duration,
    /// The pin directory of the policy.
    pub bpffs: PathBuf,
}

impl DoctorArgs {
    /// Checks every value; an error names the option.
    pub fn resolve(self) -> Result<DoctorConfig, Failure> {
        Ok(DoctorConfig {
            format: self.format,
            details: self.details,
            watch: value::duration("--watch", &self.watch)?,
            bpffs: self.pins.bpffs,
        })
    }
}
