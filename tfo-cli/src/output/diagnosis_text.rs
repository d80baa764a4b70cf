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
                place(finding, snapshot),
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

/// What it is about, and what its network is called.
fn place(finding: &Finding, snapshot: &Snapshot) -> String {
    let place = diagnosis::place(finding);
    match snapshot.network_of(finding) {
        Some(label) => format!("{place} {label}"),
        None => place,
    }
}

/// What could not be looked at, one line each.
pub fn write_unlooked(snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    for (id, why) in &snapshot.diagnosis.unlooked {
        writeln!(out, "not looked at: {}: {why}", id.name())?;
    }
    Ok(())
}
