//! `cargo xtask lab`: builds and runs `tfo-lab`, the real traffic in its own network namespaces.

use std::process::Command;

use anyhow::Result;

use super::build;
use crate::{packages, process};

#[derive(clap::Args)]
pub struct Args {
    /// What to tell tfo-lab: `up`, `run SCENARIO`, `down`, `--help` ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    args: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&packages::TEST_TOOLS)?;
    build::everything()?;
    process::run_on_terminal(as_root("tfo-lab").args(&args.args))
}

/// One of our programs with the rights to make namespaces and attach programs.
pub fn as_root(program: &str) -> Command {
    let path = build::program_path(program);
    if process::is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("sudo");
    command.arg("--").arg(path);
    command
}
