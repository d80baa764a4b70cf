//! `trace --format csv`: the fields of the JSON record as columns, RFC 4180. Absent values are empty.

use std::{
    io::{self, Write},
    sync::LazyLock,
};

use csv::{Terminator, Writer, WriterBuilder};
use serde::Serialize;
use tfo_common::FlowEvent;

use super::{FlowLine, Summary, TraceWriter, flow_fields::FlowFields};
use crate::{
    clean::cell,
    model::{Flow, Snapshot, diagnosis::Finding},
};

/// Names of the columns: the fields of [`FlowFields`].
pub static COLUMNS: LazyLock<Vec<String>> = LazyLock::new(|| columns().unwrap_or_default());

/// Writes the rows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Csv;

impl TraceWriter for Csv {
    fn begin(&mut self, out: &mut dyn Write) -> io::Result<()> {
        write_rows([&*COLUMNS], out)
    }

    fn flow(&mut self, line: &FlowLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        write_record(&FlowFields::of(line).in_cells(), out)
    }

    /// A table has no place for them.
    fn findings(&mut self, _: &[&Finding], _: &Snapshot, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &Summary, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }
}

/// serde tells the names of fields only with a record: one is written, with its header.
fn columns() -> csv::Result<Vec<String>> {
    let any = FlowEvent {
        family: 4,
        ..FlowEvent::default()
    };
    let Some(flow) = Flow::new(&any) else {
        return Ok(Vec::new());
    };
    let line = FlowLine {
        cookie: None,
        flow: &flow,
        cgroup: None,
        wall_offset_ns: 0,
        network: None,
    };
    let mut text = Vec::new();
    let mut writer = writer(true, &mut text);
    writer.serialize(FlowFields::of(&line))?;
    writer.flush()?;
    drop(writer);
    let mut reader = csv::Reader::from_reader(&*text);
    Ok(reader.headers()?.iter().map(str::to_owned).collect())
}

/// Writes one row: the fields of a structure, or of several in a tuple. What others chose must be a `cell` already.
pub fn write_record(record: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    let mut writer = writer(false, out);
    writer.serialize(record).map_err(io_error)?;
    writer.flush()
}

/// Writes rows of text, cleaned and without formulas.
pub fn write_rows<R>(rows: impl IntoIterator<Item = R>, out: &mut dyn Write) -> io::Result<()>
where
    R: IntoIterator<Item: AsRef<str>>,
{
    let mut writer = writer(false, out);
    for row in rows {
        let cells = row.into_iter().map(|text| cell(text.as_ref()).into_owned());
        writer.write_record(cells.collect::<Vec<_>>()).map_err(io_error)?;
    }
    writer.flush()
}

/// RFC 4180 ends a row with CR LF.
fn writer<W: Write>(has_headers: bool, out: W) -> Writer<W> {
    WriterBuilder::new()
        .has_headers(has_headers)
        .terminator(Terminator::CRLF)
        .from_writer(out)
}

/// A closed pipe must be known as one.
fn io_error(error: csv::Error) -> io::Error {
    match error.into_kind() {
        csv::ErrorKind::Io(error) => error,
        other => io::Error::other(format!("{other:?}")),
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::Outcome;

    use super::*;
    use crate::{
        model::{cgroup, fake},
        output::ndjson::Ndjson,
    };

    fn text(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> String {
        let mut out = Vec::new();
        write(&mut out).expect("memory takes it");
        String::from_utf8(out).expect("it is UTF-8")
    }

    #[test]
    fn columns_are_the_fields_of_the_json_record_in_its_order() {
        let flow = Flow::new(&fake::flow(Outcome::Accepted)).expect("codes are known");
        let line = FlowLine {
            cookie: None,
            flow: &flow,
            cgroup: None,
            wall_offset_ns: 0,
            network: None,
        };
        let json = text(|out| Ndjson.flow(&line, out));
        let header = text(|out| Csv.begin(out));
        let columns: Vec<&str> = header
            .strip_suffix("\r\n")
            .expect("it is a row")
            .split(',')
            .collect();
        let mut rest = json.as_str();
        for column in &columns {
            let key = format!("\"{column}\":");
            let place = rest
                .find(&key)
                .unwrap_or_else(|| panic!("{column} is missing or out of order"));
            rest = &rest[place + key.len()..];
        }
        assert_eq!(json.matches("\":").count(), columns.len() + 2);
        let known = "ts,role,outcome,family,local_addr,local_port,remote_addr,remote_port,netns,cgroup_id,cgroup,unit,\
                     container,pid,comm,tfo_requested,option_sent,option_kind,syn_data_len,syn_data_acked,\
                     cookie_received,syn_retrans,handshake_us,ttfb_us,saved_us,lost_us,policy,rtt_us";
        assert!(header.starts_with(known), "schema 1 loses no column: {header}");
    }

    #[test]
    fn rows_are_quoted_where_they_must() {
        let mut event = fake::flow(Outcome::SynTimeout);
        event.comm = *b"a \"b\",\nc\0\0\0\0\0\0\0\0";
        let flow = Flow::new(&event).expect("codes are known");
        let name = cgroup::parse("/batch/x,y");
        let line = FlowLine {
            cookie: None,
            flow: &flow,
            cgroup: Some(&name),
            wall_offset_ns: fake::EPOCH_NS,
            network: None,
        };
        insta::assert_snapshot!(text(|out| Csv.flow(&line, out)).escape_debug());
    }

    #[test]
    fn a_closed_pipe_is_known_as_one() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let error = write_rows([["a"]], &mut Closed).expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}
