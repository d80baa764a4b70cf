//! `tfo-cli completions SHELL`.

use crate::{args, exit, exit::Failure, output};

/// Prints the script.
pub fn run(shell: clap_complete::Shell) -> Result<u8, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut args::parser(), "tfo-cli", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(exit::DONE)
}
