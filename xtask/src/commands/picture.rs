//! `cargo xtask picture`: makes the picture of the dashboard in the README, from the shipped recording.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{process, workspace};

/// The recording whose end is shown.
const RECORDING: &str = "tfo-cli/recordings/lab.tfo";
/// The file of the picture.
const PICTURE: &str = "docs/dashboard.svg";

/// Builds an unoptimised tfo-cli and writes the picture that it prints.
pub fn run() -> Result<()> {
    process::run(workspace::cargo("build").args(["--quiet", "--package", "tfo-cli"]))
        .context("cannot build tfo-cli")?;
    let program = workspace::target("debug").join("tfo-cli");
    let recording = workspace::root().join(RECORDING);
    let picture = process::output(
        process::command(&program.to_string_lossy())
            .args(["debug", "picture"])
            .arg(recording),
    )?;
    let path = workspace::root().join(PICTURE);
    fs::write(&path, picture).with_context(|| format!("cannot write {}", path.display()))?;
    println!("==> {}", path.display());
    Ok(())
}
