//! The command line of `cargo xtask`; each subcommand has a file.

mod bench;
mod build;
mod demo;
mod duration;
mod fuzz;
mod lab;
mod page;
mod picture;
mod profile;
mod setup;
mod soak;
mod test;
mod verify;
mod verify_cost;
mod vm_test;

use anyhow::Result;
use clap::{Parser, Subcommand};

pub use self::build::program_path;

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
    /// Run the test lab: up, run SCENARIO, down
    Lab(lab::Args),
    /// Build everything and show `tfo-cli top` on mixed real traffic in the lab
    Demo(demo::Args),
    /// Run every test and check
    Test(test::Args),
    /// Boot Debian's kernels, from 5.10 to the newest, under emulation and check tfo-cli there
    VmTest(vm_test::Args),
    /// Draw the dashboard of the shipped recording anew for the README
    Picture,
    /// Check the example report in a headless browser
    Page,
    /// Feed every parser with inputs that reach ever more of it
    Fuzz(fuzz::Args),
    /// Traffic, copies, kills, policy changes and full maps all at once on this kernel
    Soak(soak::Args),
    /// Everything that takes long, and its report docs/verification.md
    Verify(verify::Args),
    /// Build both BPF objects and print what the verifier of this kernel does with each program
    VerifyCost,
    /// Count which blocks of the BPF programs healthy connections run, for builds to put them together
    Profile,
    /// Measure cost and speed against the budgets, next to libbpf-tools' tcplife
    Bench(bench::Args),
    /// What continuous integration runs: the same as `test`
    Ci,
}

/// Runs the subcommand.
pub fn run(args: Args) -> Result<()> {
    match args.command {
        Command::Setup(args) => setup::run(&args),
        Command::Build(args) => build::run(&args),
        Command::Lab(args) => lab::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::VmTest(args) => vm_test::run(&args),
        Command::Picture => picture::run(),
        Command::Page => page::run(),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Soak(args) => soak::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::VerifyCost => verify_cost::run(),
        Command::Profile => profile::run(),
        Command::Bench(args) => bench::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Ci => test::run(&test::Args::default()),
    }
}
