//! `cargo xtask setup`: finds or installs what the other subcommands need. It is fast when everything is installed.

use anyhow::Result;
use clap::ValueEnum;

use crate::toolchain::Toolchain;
use crate::{install, packages};

#[derive(clap::Args)]
pub struct Args {
    /// What to set up for
    #[arg(long = "for", value_enum, default_value_t = Purpose::Build)]
    purpose: Purpose,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Purpose {
    /// The eBPF toolchain
    Build,
    /// The eBPF toolchain, and every program that tests, demo and benchmarks run
    Tests,
}

pub fn run(args: &Args) -> Result<()> {
    let toolchain = install::ensure_toolchain()?;
    report(&toolchain);
    if args.purpose == Purpose::Tests {
        packages::ensure(&packages::ALL_USERS)?;
        println!("==> programs that tests, demo and benchmarks run: all there");
    }
    Ok(())
}

fn report(toolchain: &Toolchain) {
    println!("==> eBPF compiler: {}", toolchain.compiler);
    println!("==> eBPF linker: {}", toolchain.linker.display());
}
