//! `cargo xtask soak`: traffic, policy changes and kills at the same time on the live kernel, for any length of time
//! (`tfo-cli/tests/soak`).

use std::time::Duration;

use anyhow::{Result, ensure};

use super::{duration, test};
use crate::bpf_object::{self, Log, Warnings};
use crate::install;
use crate::packages::{self, User};
use crate::test_log::TestLog;

#[derive(clap::Args)]
pub struct Args {
    /// How long: 90s, 10m
    #[arg(long, default_value = "2m", value_parser = duration::parse)]
    time: Duration,
}

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&[User::Lab])?;
    bpf_object::build(&install::ensure_toolchain()?, Warnings::Show, Log::No)?;
    let mut log = TestLog::default();
    soak(args.time, &mut log)?;
    ensure!(log.failed == 0, "something did not hold");
    Ok(())
}

/// Runs the soak as a step of `cargo xtask test`.
pub fn soak(time: Duration, log: &mut TestLog) -> Result<()> {
    test::privileged(
        "tfo-cli",
        test::SOAK,
        &[("TFO_SOAK_SECONDS", time.as_secs())],
        log,
    )
}
