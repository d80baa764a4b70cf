//! Findings for people: one aligned line each, details on demand.

use std::io::{self, Write};

use super::diagnosis;
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
                finding.sentence.clone(),
            ]
        })
        .collect();
    let width = |column: usize| {
        let cells = lines.iter().map(|line| line[column].chars().count());
        cells.max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..4).map(width).collect();
    for (line, finding) in lines.iter().zip(findings) {
        let padded = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let head: Vec<String> = padded.collect();
        writeln!(out, "{}  {}", head.join("  "), super::clean(&line[4]))?;
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
