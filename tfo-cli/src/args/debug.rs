//! `tfo-cli debug`: hidden, for `cargo xtask verify-cost` and the machines of `cargo xtask vm-test`.

use clap::{Args, Subcommand};

/// What the user typed.
#[derive(Args, Clone, Debug)]
pub struct DebugArgs {
    /// What to look at.
    #[command(subcommand)]
    pub what: DebugWhat,
}

/// What to look at.
#[derive(Clone, Copy, Debug, Subcommand)]
pub enum DebugWhat {
    /// Loads every BPF program, attaches none, and prints what the verifier did with it on this kernel.
    Programs {
        /// One JSON object per program instead of a table.
        #[arg(long)]
        json: bool,
    },
}
