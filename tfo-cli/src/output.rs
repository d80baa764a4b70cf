//! Everything the program writes: one file per format, all from the same flow lines and snapshots.

pub mod column;
pub mod csv;
pub mod export;
pub mod flow_line;
pub mod flow_text;
pub mod names;
pub mod ndjson;
pub mod number;
pub mod policy_json;
pub mod policy_text;
pub mod snapshot_json;
pub mod table;
pub mod text;
pub mod time;

use std::{
    fmt,
    io::{self, Write},
};

pub use self::flow_line::{FlowLine, Summary, TraceWriter};

/// Writes text to stdout.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Writes an error or a remark to stderr, as one write.
pub fn complain(what: &dyn fmt::Display) -> io::Result<()> {
    io::stderr().lock().write_all(format!("{what}\n").as_bytes())
}

/// Text of unknown origin (process names, paths) without what could steer a terminal.
pub fn clean(text: &str) -> String {
    text.chars()
        .map(|character| if character.is_control() { '?' } else { character })
        .collect()
}
