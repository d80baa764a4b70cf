//! `tfo-lab`: the test lab of tfo-cli by hand.

use std::process::ExitCode;

fn main() -> ExitCode {
    tfo_lab::cli::main()
}
