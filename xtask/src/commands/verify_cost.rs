//! `cargo xtask verify-cost`: how many instructions the verifier of this kernel processes for each program.

use anyhow::{Context as _, Result};

use crate::bpf_object::{self, Log, Warnings};
use crate::{elevate, install, process, workspace};

/// Builds both objects and an unoptimised tfo-cli with them, which loads each program and attaches none.
pub fn run() -> Result<()> {
    if !elevate::is_second_run() {
        bpf_object::build(&install::ensure_toolchain()?, Warnings::Show, Log::No)?;
        process::run(workspace::cargo("build").args(["--quiet", "--package", "tfo-cli"]))
            .context("cannot build tfo-cli")?;
    }
    if elevate::run_again_as_root()? {
        return Ok(());
    }
    let program = workspace::target("debug").join("tfo-cli");
    process::run(process::command(&program.to_string_lossy()).args(["debug", "programs"]))
        .context("a program is refused, or the verifier processed too many instructions for it")
}
