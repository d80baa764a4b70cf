//! A table of the dashboard in a file: for a ticket, a spreadsheet or a script.

use std::{
    fs::OpenOptions,
    io::{self, BufWriter, Write},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use anyhow::Context as _;

use super::{csv, table};
use crate::{
    clean::{self, clean},
    model::Snapshot,
};

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table below the lines about the host.
    Markdown,
    /// RFC 4180.
    Csv,
    /// An array of objects.
    Json,
}

/// What is written.
#[derive(Clone, Debug)]
pub struct Table {
    /// Names of the columns.
    pub names: Vec<&'static str>,
    /// Their contents.
    pub rows: Vec<Vec<String>>,
}

/// Writes a new file in the current directory; returns its whole path. A file that exists is left alone.
pub fn to_file(name: &str, snapshot: &Snapshot, table: &Table, format: Format) -> anyhow::Result<String> {
    let path = std::env::current_dir().unwrap_or_default().join(name);
    new_file(&path, |out| write(snapshot, table, format, out))?;
    Ok(shown(&path))
}

/// Writes a new file that only its owner can read. A file that exists is left alone.
pub fn new_file(path: &Path, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> anyhow::Result<()> {
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .with_context(|| format!("create {}", path.display()))?;
    let mut out = BufWriter::new(file);
    write(&mut out)
        .and_then(|()| out.flush())
        .with_context(|| format!("write {}", path.display()))
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// Writes it.
pub fn write(snapshot: &Snapshot, table: &Table, format: Format, out: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Markdown => markdown(snapshot, table, out),
        Format::Csv => {
            csv::write_rows([&table.names], out)?;
            csv::write_rows(&table.rows, out)
        }
        Format::Json => {
            let object = |row: &Vec<String>| -> serde_json::Map<String, serde_json::Value> {
                table
                    .names
                    .iter()
                    .map(|name| (*name).to_owned())
                    .zip(row.iter().cloned().map(Into::into))
                    .collect()
            };
            let rows: Vec<_> = table.rows.iter().map(object).collect();
            writeln!(out, "{}", clean::json(&serde_json::to_string_pretty(&rows)?))
        }
    }
}

fn markdown(snapshot: &Snapshot, table: &Table, out: &mut dyn Write) -> io::Result<()> {
    for line in table::header(snapshot) {
        writeln!(out, "- {}", clean(&line).replace('|', "\\|"))?;
    }
    writeln!(out)?;
    writeln!(out, "| {} |", table.names.join(" | "))?;
    writeln!(out, "|{}", " --- |".repeat(table.names.len()))?;
    for row in &table.rows {
        let cells: Vec<String> = row
            .iter()
            .map(|cell| clean::clean_lines(cell).replace('|', "\\|").replace('\n', "<br>"))
            .collect();
        writeln!(out, "| {} |", cells.join(" | "))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::Scenario;

    fn exported(format: Format) -> String {
        let table = Table {
            names: vec!["service", "lost"],
            rows: vec![vec!["a|b".into(), "1.02s".into()], vec!["c,d".into(), "0".into()]],
        };
        let mut out = Vec::new();
        write(&Scenario::default().model(3).snapshot(), &table, format, &mut out).expect("memory takes it");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn markdown_has_the_host_above_the_table() {
        insta::assert_snapshot!(exported(Format::Markdown));
    }

    #[test]
    fn csv_and_json_can_be_read_back() {
        assert_eq!(
            exported(Format::Csv),
            "service,lost\r\na|b,1.02s\r\n\"c,d\",0\r\n"
        );
        let value: serde_json::Value = serde_json::from_str(&exported(Format::Json)).expect("it is JSON");
        assert_eq!(value[0]["service"], "a|b");
    }
}
