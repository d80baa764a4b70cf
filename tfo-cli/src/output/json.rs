//! What every JSON record has in common: the number of its schema, one object per line, and names of others that steer no
//! terminal.

use std::io::{self, Write};

use serde::Serialize;

use crate::clean;

/// Number of the schema every record names. Fields may be added to it; none is renamed or gets another meaning.
pub const SCHEMA: u32 = 1;

/// Writes one object on one line.
pub fn write_line(record: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "{}", clean::json(&serde_json::to_string(record)?))
}

/// Objects as text, one per line.
pub fn lines(objects: impl IntoIterator<Item = impl Serialize>) -> anyhow::Result<String> {
    let mut text = String::new();
    for object in objects {
        text.push_str(&clean::json(&serde_json::to_string(&object)?));
        text.push('\n');
    }
    Ok(text)
}
