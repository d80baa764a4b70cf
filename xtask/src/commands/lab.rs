//! `cargo xtask lab`: builds and runs `tfo-lab`.

use std::process::Command;

use anyhow::Result;

use super::build;
use crate::packages::{self, User};
use crate::{elevate, process};

#[derive(clap::Args)]
pub struct Args {
    /// What to tell tfo-lab: `up`, `run SCENARIO`, `down`, `--help` ...
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    args: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&[User::Lab])?;
    build::everything()?;
    if elevate::run_again_as_root()? {
        return Ok(());
    }
    process::run_on_terminal(Command::new(build::program_path("tfo-lab")).args(&args.args))
}
