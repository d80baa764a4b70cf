//! `cargo xtask build`: the BPF objects, then the programs, each a static file that needs only a kernel.

use std::path::PathBuf;

use anyhow::{Context as _, Result};

use crate::bpf_object::{self, Log, Warnings};
use crate::{elevate, install, process, workspace};

/// The programs of user space. Both also run inside VMs without libraries.
const PROGRAMS: [&str; 2] = ["tfo-cli", "tfo-lab"];

#[derive(clap::Args)]
pub struct Args {
    /// User space unoptimised and dynamic, in target/debug: for a quick edit-run cycle
    #[arg(long)]
    debug: bool,
    /// BPF programs that log every callback to the stderr of tfo-cli (aya-log); for debugging them
    #[arg(long)]
    bpf_log: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let log = if args.bpf_log { Log::Yes } else { Log::No };
    bpf_object::build(&install::ensure_toolchain()?, Warnings::Show, log)?;
    if args.debug {
        println!("==> tfo-cli and tfo-lab, unoptimised");
        return process::run(workspace::cargo("build").args(PROGRAMS.map(|name| format!("-p{name}"))))
            .context("cannot build the programs");
    }
    programs()
}

/// Builds everything that is out of date and returns quickly when nothing is.
pub fn everything() -> Result<()> {
    if elevate::is_second_run() {
        return Ok(());
    }
    run(&Args {
        debug: false,
        bpf_log: false,
    })
}

/// Builds the release programs around the BPF object that is there.
pub fn programs() -> Result<()> {
    for program in PROGRAMS {
        println!("==> {}", release(program)?.display());
    }
    Ok(())
}

/// Builds a static release program; returns its path.
fn release(program: &str) -> Result<PathBuf> {
    let host = workspace::host_rustc()?.host;
    let mut command = workspace::cargo("build");
    // With `--target`, even that of the host, the flags do not apply to build scripts and procedural macros.
    command.args(["--release", "--package", program, "--target", &host]);
    command
        .env("RUSTFLAGS", "-C target-feature=+crt-static")
        .env_remove("CARGO_ENCODED_RUSTFLAGS");
    process::run(&mut command).with_context(|| format!("cannot build {program}"))?;
    let built = workspace::target(&host).join("release").join(program);
    let placed = program_path(program);
    workspace::copy_if_changed(&built, &placed)?;
    Ok(placed)
}

/// The path of a built release program.
pub fn program_path(program: &str) -> PathBuf {
    workspace::target("release").join(program)
}
