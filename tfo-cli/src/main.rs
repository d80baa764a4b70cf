//! Thin binary: everything lives in the library, where tests reach it.

use std::process::ExitCode;

fn main() -> ExitCode {
    tfo_cli::run()
}
