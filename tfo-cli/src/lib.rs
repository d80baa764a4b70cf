//! `tfo-cli`: what TCP Fast Open does on this host, and what it costs when it does not work.
//!
//! ```text
//! args ─> commands ─> (kernel | recording) ─> model ─> snapshot ─> output, tui
//! ```
//!
//! Invariants: `model` and `policy` never do I/O and get the time passed in; only `kernel` knows aya; only `tui` knows
//! ratatui. Which module uses which is drawn in ARCHITECTURE.md and checked by a test.

pub mod addr;
pub mod args;
#[cfg(test)]
mod arrows;
pub mod capture;
mod clean;
pub mod commands;
pub mod config;
mod duration;
pub mod exit;
pub mod fingerprint;
pub mod inspect;
pub mod kernel;
pub mod model;
pub mod options;
pub mod output;
mod own_cost;
pub mod policy;
pub mod probe;
pub mod recording;
mod resolver;
pub mod runtime;
pub mod signals;
pub mod tui;

use std::process::ExitCode;

/// Parses the command line, runs the command, reports what went wrong on stderr.
pub fn run() -> ExitCode {
    let result = match args::parse(std::env::args_os(), config::load) {
        Ok(args::Parsed::Run(command)) => commands::dispatch(*command),
        Ok(args::Parsed::Print(text)) => output::print(&text)
            .map(|()| exit::DONE)
            .map_err(exit::Failure::from),
        Err(failure) => Err(failure),
    };
    ExitCode::from(match result {
        Ok(code) => code,
        Err(failure) => report(&failure),
    })
}

/// Writes an error to stderr and gives its exit code. A closed pipe is a clean end and says nothing.
fn report(failure: &exit::Failure) -> u8 {
    if failure.code != exit::DONE {
        // Nothing is left to do when stderr is closed too.
        let _ = output::complain(failure);
    }
    failure.code
}
