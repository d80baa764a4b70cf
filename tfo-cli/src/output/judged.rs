//! `analyze`: the records of `trace`, with what only a capture knows behind them, and `null` for what it cannot
//! know. One writer per format.

use std::io::{self, Write};

use serde_json::{Map, Value};

use super::{FlowLine, csv, flow_record::FlowRecord, flow_text, time};
use crate::{
    capture::{Judged, carried::Carried},
    clean,
    model::Flow,
};

/// What a capture adds, in this order.
pub const MORE_COLUMNS: [&str; 6] = [
    "unknown",
    "syn_data",
    "cookie_sent",
    "cookie_granted",
    "file",
    "frame",
];

/// One end of a connection, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct JudgedLine<'a> {
    /// What is known.
    pub judged: &'a Judged,
    /// Its record.
    pub flow: &'a Flow,
    /// The file its SYN is in.
    pub file: &'a str,
}

impl JudgedLine<'_> {
    fn line(&self) -> FlowLine<'_> {
        FlowLine {
            flow: self.flow,
            cgroup: None,
            wall_offset_ns: 0,
        }
    }

    /// Every field by its name: those of `trace` and [`MORE_COLUMNS`].
    fn fields(&self) -> serde_json::Result<Map<String, Value>> {
        let Value::Object(mut fields) = serde_json::to_value(FlowRecord::new(&self.line()))? else {
            return Ok(Map::new());
        };
        let judged = self.judged;
        let hash = |hash: Option<u32>| hash.map(|hash| format!("{hash:08x}"));
        let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
        if let Err(reason) = judged.outcome {
            set("type", "unclassified".into());
            set("outcome", Value::Null);
            set("unknown", reason.name().into());
        } else {
            set("unknown", Value::Null);
        }
        set("tfo_requested", judged.requested.into());
        set(
            "option_sent",
            judged.option.map(tfo_common::TfoOption::name).into(),
        );
        set("syn_data_len", judged.data_len.into());
        set("syn_data_acked", judged.data_acked.into());
        set("cookie_received", judged.cookie_received.into());
        set("syn_data", judged.carried.map(Carried::name).into());
        set("cookie_sent", hash(judged.cookie_sent_hash).into());
        set("cookie_granted", hash(judged.cookie_received_hash).into());
        set("file", self.file.into());
        set("frame", judged.place.1.into());
        Ok(fields)
    }
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
}

/// One JSON object per line.
#[derive(Clone, Copy, Debug, Default)]
pub struct Json;

impl JudgedWriter for Json {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn line(&mut self, line: &JudgedLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        let fields = line.fields()?;
        // In the order of `trace`, which a map does not keep.
        let mut separator = '{';
        for name in ["schema", "type"].into_iter().chain(columns()) {
            write!(out, "{separator}\"{name}\":")?;
            let text = serde_json::to_string(&fields.get(name))?;
            out.write_all(clean::json(&text).as_bytes())?;
            separator = ',';
        }
        out.write_all(b"}\n")
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
        let fields = line.fields()?;
        let cell = |name| match fields.get(name) {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        csv::write_rows([columns().map(cell).collect::<Vec<_>>()], out)
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
}
