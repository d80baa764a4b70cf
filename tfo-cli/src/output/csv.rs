//! `trace --format csv`: the fields of the JSON record as columns, RFC 4180. Absent values are empty.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use super::{FlowLine, Summary, TraceWriter, ndjson::FlowRecord};

/// Names of the columns: those of the JSON record, without `schema` and `type`.
pub const COLUMNS: [&str; 28] = [
    "ts",
    "role",
    "outcome",
    "family",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
    "netns",
    "cgroup_id",
    "cgroup",
    "unit",
    "container",
    "pid",
    "comm",
    "tfo_requested",
    "option_sent",
    "option_kind",
    "syn_data_len",
    "syn_data_acked",
    "cookie_received",
    "syn_retrans",
    "handshake_us",
    "ttfb_us",
    "saved_us",
    "lost_us",
    "policy",
    "rtt_us",
];

/// Writes the rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Csv;

impl TraceWriter for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write_row(COLUMNS.map(Cow::from), out)
    }

    fn flow(&mut self, line: &FlowLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        write_row(cells(&FlowRecord::new(line)), out)
    }

    fn end(&mut self, _: &Summary, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

fn cells<'a>(record: &'a FlowRecord<'_>) -> [Cow<'a, str>; COLUMNS.len()] {
    let text = |text: &'a str| Cow::from(text);
    let number = |number: &dyn ToString| Cow::from(number.to_string());
    [
        text(&record.ts),
        text(record.role),
        text(record.outcome),
        number(&record.family),
        number(&record.local_addr),
        number(&record.local_port),
        number(&record.remote_addr),
        number(&record.remote_port),
        maybe(record.netns),
        maybe(record.cgroup_id),
        text(record.cgroup.unwrap_or_default()),
        text(record.unit.unwrap_or_default()),
        text(record.container.unwrap_or_default()),
        maybe(record.pid),
        text(record.comm.as_deref().unwrap_or_default()),
        number(&record.tfo_requested),
        text(record.option_sent),
        maybe(record.option_kind),
        number(&record.syn_data_len),
        number(&record.syn_data_acked),
        number(&record.cookie_received),
        number(&record.syn_retrans),
        maybe(record.handshake_us),
        maybe(record.ttfb_us),
        number(&record.saved_us),
        number(&record.lost_us),
        text(record.policy.unwrap_or_default()),
        maybe(record.rtt_us),
    ]
}

fn maybe<T: ToString>(value: Option<T>) -> Cow<'static, str> {
    value.map(|value| value.to_string()).unwrap_or_default().into()
}

/// One row; RFC 4180 ends it with CR LF.
pub fn write_row<'a>(cells: impl IntoIterator<Item = Cow<'a, str>>, out: &mut dyn Write) -> io::Result<()> {
    for (index, cell) in cells.into_iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        out.write_all(quoted(&cell).as_bytes())?;
    }
    out.write_all(b"\r\n")
}

fn quoted(cell: &str) -> Cow<'_, str> {
    if cell.contains([',', '"', '\r', '\n']) {
        format!("\"{}\"", cell.replace('"', "\"\"")).into()
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::Outcome;

    use super::*;
    use crate::model::{Flow, cgroup, fake};

    #[test]
    fn columns_are_the_fields_of_the_json_record_in_its_order() {
        let flow = Flow::new(&fake::flow(Outcome::Accepted)).expect("codes are known");
        let record = FlowRecord::new(&FlowLine {
            flow: &flow,
            cgroup: None,
            wall_offset_ns: 0,
        });
        let json = serde_json::to_string(&record).expect("it is JSON");
        let mut rest = json.as_str();
        for column in COLUMNS {
            let key = format!("\"{column}\":");
            let place = rest
                .find(&key)
                .unwrap_or_else(|| panic!("{column} is missing or out of order"));
            rest = &rest[place + key.len()..];
        }
        assert_eq!(json.matches("\":").count(), COLUMNS.len() + 2);
    }

    #[test]
    fn rows_are_quoted_where_they_must() {
        let mut event = fake::flow(Outcome::SynTimeout);
        event.comm = *b"a \"b\",\nc\0\0\0\0\0\0\0\0";
        let flow = Flow::new(&event).expect("codes are known");
        let name = cgroup::parse("/batch/x,y");
        let mut out = Vec::new();
        Csv.flow(
            &FlowLine {
                flow: &flow,
                cgroup: Some(&name),
                wall_offset_ns: fake::EPOCH_NS,
            },
            &mut out,
        )
        .expect("memory takes it");
        insta::assert_snapshot!(String::from_utf8(out).expect("it is UTF-8").escape_debug());
    }
}
