//! `analyze`: the records of `trace`, with what only a capture knows behind them, and `null` for what it cannot
//! know. One writer per format.

use std::io::{self, Write};

use serde::Serialize;
use tfo_common::{Carried, Outcome, TfoOption};

use super::{
    FlowLine, csv, diagnosis, diagnosis_json, diagnosis_text, flow_fields::FlowFields,
    flow_record::FlowRecord, flow_text, json, judged_summary::JudgedSummary, snapshot_json, table, time,
};
use crate::{
    capture::{Judged, Unknown},
    clean,
    model::{DestRow, Flow, Snapshot, diagnosis::Finding},
};

/// What a capture adds, in this order.
pub const MORE_COLUMNS: [&str; 5] = ["unknown", "cookie_sent", "cookie_granted", "file", "frame"];

/// One end of a connection, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct JudgedLine<'a> {
    /// What is known.
    pub judged: &'a Judged,
    /// Its record.
    pub flow: &'a Flow,
    /// The file its SYN is in.
    pub file: &'a str,
    /// What the network of the other end is called.
    pub network: Option<&'a str>,
}

impl JudgedLine<'_> {
    pub(super) fn line(&self) -> FlowLine<'_> {
        FlowLine {
            cookie: None,
            flow: self.flow,
            cgroup: None,
            wall_offset_ns: 0,
            network: self.network,
        }
    }

    /// The fields of `trace`, with `None` for what the capture does not tell.
    pub(super) fn fields(&self) -> FlowFields<'_> {
        let judged = self.judged;
        FlowFields {
            outcome: judged.outcome.ok().map(Outcome::name),
            tfo_requested: judged.requested,
            option_sent: judged.option.map(TfoOption::name),
            syn_data_len: judged.data_len,
            syn_data_acked: judged.data_acked,
            cookie_received: judged.cookie_received,
            syn_data: judged.carried.map(Carried::name),
            ..FlowFields::of(&self.line())
        }
    }

    /// Those of captures.
    pub(super) fn more(&self) -> MoreFields<'_> {
        let judged = self.judged;
        let hash = |hash: Option<u32>| hash.map(|hash| format!("{hash:08x}"));
        MoreFields {
            unknown: judged.outcome.err().map(Unknown::name),
            cookie_sent: hash(judged.cookie_sent_hash),
            cookie_granted: hash(judged.cookie_received_hash),
            file: self.file,
            frame: judged.place.1,
        }
    }
}

/// What only a capture tells, named as in [`MORE_COLUMNS`].
#[derive(Clone, Debug, Serialize)]
pub(super) struct MoreFields<'a> {
    unknown: Option<&'static str>,
    cookie_sent: Option<String>,
    cookie_granted: Option<String>,
    file: &'a str,
    frame: u64,
}

/// A line of JSON.
#[derive(Clone, Debug, Serialize)]
struct JudgedRecord<'a> {
    #[serde(flatten)]
    flow: FlowRecord<'a>,
    #[serde(flatten)]
    more: MoreFields<'a>,
}

/// Names of all fields in order, without `schema` and `type`.
fn columns() -> impl Iterator<Item = &'static str> {
    csv::COLUMNS.iter().map(String::as_str).chain(MORE_COLUMNS)
}

/// A format of `analyze`.
pub trait JudgedWriter {
    /// Written before the first line.
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()>;
    /// One end of a connection.
    fn line(&mut self, line: &JudgedLine<'_>, out: &mut dyn Write) -> io::Result<()>;
    /// The end: what the capture had, and what was found in it.
    fn end(&mut self, summary: &JudgedSummary, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()>;
}

/// One JSON object per line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl JudgedWriter for Json {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn line(&mut self, line: &JudgedLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let r#type = if line.judged.outcome.is_ok() {
            "flow"
        } else {
            "unclassified"
        };
        let record = JudgedRecord {
            flow: FlowRecord {
                schema: json::SCHEMA,
                r#type,
                fields: line.fields(),
            },
            more: line.more(),
        };
        json::write_line(&record, out)
    }

    fn end(&mut self, summary: &JudgedSummary, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        for finding in &snapshot.diagnosis.findings {
            diagnosis_json::write_finding(finding, snapshot, out)?;
        }
        let rows: Vec<&DestRow> = snapshot.rows.iter().collect();
        summary.write_json(snapshot_json::networks(snapshot, &rows), out)
    }
}

/// RFC 4180, with a header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Csv;

impl JudgedWriter for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        csv::write_rows([columns()], out)
    }

    fn line(&mut self, line: &JudgedLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let file = clean::cell(line.file);
        let more = MoreFields {
            file: &file,
            ..line.more()
        };
        csv::write_record(&(line.fields().in_cells(), more), out)
    }

    /// A table has no place for either; `diagnose --replay` has the findings.
    fn end(&mut self, _: &JudgedSummary, _: &Snapshot, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// Aligned lines for people.
#[derive(Clone, Debug)]
pub struct Text {
    local: usize,
    remote: usize,
}

impl Default for Text {
    fn default() -> Self {
        // 255.255.255.255:65535
        Self {
            local: 21,
            remote: 21,
        }
    }
}

impl JudgedWriter for Text {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let (local, remote) = (self.local, self.remote);
        writeln!(
            out,
            "{:<15} {:>7} {:<6} {:<local$}    {:<remote$} {:<17} {:>9} {:<9} {:>8} {:>8} {:>8} DATA",
            "TIME (UTC)",
            "FRAME",
            "ROLE",
            "LOCAL",
            "REMOTE",
            "OUTCOME",
            "SYN",
            "OPTION",
            "SHAKE",
            "TTFB",
            "GAIN"
        )
    }

    fn line(&mut self, line: &JudgedLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let (judged, flow) = (line.judged, line.flow);
        let (local, remote) = (flow.local().to_string(), flow.remote().to_string());
        self.local = self.local.max(local.len());
        self.remote = self.remote.max(remote.len());
        let arrow = if flow.role() == tfo_common::Role::Client {
            "->"
        } else {
            "<-"
        };
        let outcome = match judged.outcome {
            Ok(outcome) => outcome.name().to_owned(),
            Err(reason) => format!("?{}", reason.name()),
        };
        writeln!(
            out,
            "{:<15} {:>7} {:<6} {:<local_width$} {arrow} {:<remote_width$} {:<17} {:>9} {:<9} {:>8} {:>8} {:>8} {}",
            time::of_day(line.line().wall_ns()),
            judged.place.1,
            flow.role().name(),
            local,
            remote,
            outcome,
            flow_text::syn(flow),
            flow_text::option(flow),
            flow_text::optional(flow.handshake_us()),
            flow_text::optional(flow.ttfb_us()),
            flow_text::gain(flow),
            judged.carried.map_or("-", Carried::name),
            local_width = self.local,
            remote_width = self.remote,
        )
    }

    fn end(&mut self, summary: &JudgedSummary, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        writeln!(out)?;
        summary.write_text(out)?;
        let rows: Vec<&DestRow> = snapshot.rows.iter().collect();
        table::write_networks(snapshot, &rows, out)?;
        let found: Vec<&Finding> = snapshot.diagnosis.findings.iter().collect();
        let totals = diagnosis::totals(&found, snapshot.diagnosis.window_ns);
        writeln!(out, "\nfound: {totals}")?;
        diagnosis_text::write(&found, snapshot, true, out)
    }
}
