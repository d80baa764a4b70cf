//! What the user typed, and one file per subcommand.

mod build;
mod setup;
mod test;
mod vm_test;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Chores of the tfo-cli repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Find or install the eBPF toolchain (and what tests need)
    Setup(setup::Args),
    /// Build target/release/tfo-cli with the BPF object inside, one static file
    Build(build::Args),
    /// Run every test and check
    Test(test::Args),
    /// What continuous integration runs: the same as `test`
    Ci,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Ci => test::run(&test::Args::default()),
    }
}
