//! Findings for people: one aligned line each, details on demand.

use std::io::{self, Write};

use super::{aligned, diagnosis};
use crate::model::{Snapshot, diagnosis::Finding};

/// Writes them.
pub fn write(
    findings: &[&Finding],
    snapshot: &Snapshot,
    details: bool,
    out: &mut dyn Write,
) -> io::Result<()> {
    let lines: Vec<[String; 5]> = findings
        .iter()
        .map(|finding| {
            [
                finding.severity.name().to_owned(),
                finding.id.name().to_owned(),
                diagnosis::place(finding),
                diagnosis::service(finding, snapshot),
                super::clean(&finding.sentence),
            ]
        })
        .collect();
    for (line, finding) in aligned::rows(&lines).zip(findings) {
        writeln!(out, "{line}")?;
        if details {
            for (heading, text) in diagnosis::details(finding, snapshot) {
                writeln!(out, "      {heading:<10}  {text}")?;
            }
            writeln!(out)?;
        }
    }
    Ok(())
}

/// What could not be looked at, one line each.
pub fn write_unlooked(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    for (id, why) in &snapshot.diagnosis.unlooked {
        writeln!(out, "not looked at: {}: {why}", id.name())?;
    }
    Ok(())
}
