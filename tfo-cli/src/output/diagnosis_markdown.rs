//! Findings for a ticket: a table, then a section for each.

use std::io::{self, Write};

use super::{diagnosis, table};
use crate::model::{DestRow, Snapshot, diagnosis::Finding};

/// Writes them.
pub fn write(
    findings: &[&Finding],
    rows: &[&DestRow],
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> io::Result<()> {
    writeln!(out, "# TCP Fast Open: findings\n")?;
    for line in table::header(snapshot) {
        writeln!(out, "- {}", escaped(&line))?;
    }
    writeln!(
        out,
        "\n{}\n",
        diagnosis::totals(findings, snapshot.diagnosis.window_ns)
    )?;
    if !snapshot.networks.is_empty() {
        let mut text = Vec::new();
        table::write_networks(snapshot, rows, &mut text)?;
        for line in String::from_utf8_lossy(&text).lines().skip(1) {
            writeln!(out, "    {line}")?;
        }
        writeln!(out)?;
    }
    if findings.is_empty() {
        return Ok(());
    }
    writeln!(out, "| severity | diagnosis | where | service | what |")?;
    writeln!(out, "| --- | --- | --- | --- | --- |")?;
    for finding in findings {
        let cells = [
            finding.severity.name().to_owned(),
            finding.id.name().to_owned(),
            diagnosis::place(finding),
            diagnosis::service(finding, snapshot),
            finding.sentence.clone(),
        ];
        writeln!(out, "| {} |", cells.map(|cell| escaped(&cell)).join(" | "))?;
    }
    for finding in findings {
        writeln!(
            out,
            "\n## {}: {}\n\n{}\n",
            finding.id.name(),
            escaped(&diagnosis::place(finding)),
            escaped(&finding.sentence)
        )?;
        for (heading, text) in diagnosis::details(finding, snapshot) {
            match heading {
                "" => writeln!(out, "{}\n", escaped(&text))?,
                "fix" if finding.command().is_some() => writeln!(out, "- fix:\n\n      {text}\n")?,
                _ => writeln!(out, "- {heading}: {}", escaped(&text))?,
            }
        }
    }
    Ok(())
}

/// Text that stays text: what others chose must not become markup.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in super::clean(text).chars() {
        if "|*_<>[]`\\".contains(character) {
            safe.push('\\');
        }
        safe.push(character);
    }
    safe
}
