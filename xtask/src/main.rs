//! `cargo xtask`: one command for every chore around the product. Depends on no workspace member.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a build tool talks to its user"
)]

mod bench;
mod bpf_object;
mod commands;
mod elevate;
mod install;
mod interrupt;
mod packages;
mod process;
mod steps;
mod test_log;
mod toolchain;
mod verification;
mod vm;
mod workspace;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let args = commands::Args::parse();
    match interrupt::install().and_then(|()| commands::run(args)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            // 130 is what a shell reports for a command that Ctrl-C ended.
            if error.is::<interrupt::Interrupted>() {
                ExitCode::from(130)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}
