//! `tfo-cli debug`: hidden, for `cargo xtask verify-cost`, `cargo xtask picture` and the machines of
//! `cargo xtask vm-test`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// The options of `tfo-cli debug`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct DebugArgs {
    /// What to look at.
    #[command(subcommand)]
    pub what: DebugWhat,
}

/// What to look at.
#[derive(Clone, Debug, Subcommand)]
pub enum DebugWhat {
    /// Loads every BPF program, attaches none, and prints what the verifier did with it on this kernel.
    Programs {
        /// One JSON object per program instead of a table.
        #[arg(long)]
        json: bool,
    },
    /// Prints the dashboard at the end of a recording as a picture (SVG).
    Picture {
        /// The recording.
        replay: PathBuf,
        /// Characters in a row.
        #[arg(long, default_value_t = 120)]
        columns: u16,
        /// Rows.
        #[arg(long, default_value_t = 24)]
        rows: u16,
    },
}
