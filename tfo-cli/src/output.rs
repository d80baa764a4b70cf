//! Everything the program writes: one file per format, all from the same flow lines and snapshots.

pub mod aligned;
pub mod column;
pub mod cookies_json;
pub mod cookies_text;
pub mod csv;
pub mod diagnosis;
pub mod diagnosis_json;
pub mod diagnosis_markdown;
pub mod diagnosis_text;
pub mod doctor_json;
pub mod doctor_text;
pub mod export;
pub mod flow_fields;
pub mod flow_line;
pub mod flow_record;
pub mod flow_text;
pub mod format;
pub mod json;
pub mod judged;
pub mod judged_summary;
pub mod keys_json;
pub mod keys_text;
pub mod listeners_json;
pub mod listeners_text;
pub mod names;
pub mod ndjson;
pub mod number;
pub mod policy_json;
pub mod policy_text;
pub mod probe_json;
pub mod probe_raw;
pub mod probe_text;
pub mod report;
pub mod run_json;
pub mod run_report;
pub mod run_text;
pub mod snapshot_json;
pub mod stderr;
pub mod table;
pub mod text;
pub mod time;

#[cfg(test)]
mod hostile_tests;

use std::io;

pub use crate::clean::clean;
use crate::clean::clean_lines;

pub use self::{
    flow_line::{FlowLine, Summary, TraceWriter},
    format::TraceFormat,
    stderr::complain,
};

/// Writes text to stdout, without what names of others in it could do to a terminal.
#[cfg(not(test))]
pub fn print(text: &str) -> io::Result<()> {
    use std::io::Write as _;

    let mut out = io::stdout().lock();
    out.write_all(clean_lines(text).as_bytes())?;
    out.flush()
}

/// The same where the test harness shows it only when a test fails.
#[cfg(test)]
pub fn print(text: &str) -> io::Result<()> {
    print!("{}", clean_lines(text));
    Ok(())
}
