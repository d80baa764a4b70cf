//! `trace --format json`: one object per line, schema 1. Fields may be added in later
//! versions, none is renamed or removed.

use std::io::{self, Write};

use serde::Serialize;

use super::{
    FlowLine, Summary, TraceWriter,
    diagnosis_json::FindingRecord,
    flow_record::FlowRecord,
    json::{SCHEMA, write_line},
    names::{ByReason, ByRole, ByStat},
};
use crate::model::{Snapshot, diagnosis::Finding};

/// The last line of a clean end.
#[derive(Clone, Debug, Serialize)]
pub struct SummaryRecord<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `summary`.
    pub r#type: &'static str,
    /// Flow records that arrived; with `lost.ring-full` the number of flows there were.
    pub events: u64,
    /// Flows that passed the filters and were printed.
    pub printed: u64,
    /// Flows the filter could not judge: it asks for the name of a cgroup that was gone before it was known.
    pub unjudged: u64,
    /// The most that was given up to keep within `--max-overhead`: `nothing`, `first-bytes`, `plain` or `detached`.
    pub shed: &'static str,
    /// What did not arrive, by reason.
    pub lost: ByReason<'a>,
    /// Handshakes counted in the kernel, by role and outcome; exact also when records were lost.
    pub totals: ByRole<'a>,
    /// Bookkeeping of the BPF programs; absent for recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stats: Option<ByStat<'a>>,
}

/// Writes the records.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ndjson;

impl TraceWriter for Ndjson {
    fn begin(&mut self, _: &mut dyn Write) -> io::Result<()> {
        Ok(())
    }

    fn flow(&mut self, line: &FlowLine<'_>, out: &mut dyn Write) -> io::Result<()> {
        write_line(&FlowRecord::new(line), out)
    }

    fn findings(&mut self, found: &[&Finding], snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
        let mut records = found.iter().map(|finding| FindingRecord::new(finding, snapshot));
        records.try_for_each(|record| write_line(&record, out))
    }

    fn end(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        let record = SummaryRecord {
            schema: SCHEMA,
            r#type: "summary",
            events: summary.events,
            printed: summary.printed,
            unjudged: summary.unjudged,
            shed: summary.shed.name(),
            lost: ByReason(&summary.losses),
            totals: ByRole(&summary.totals),
            stats: summary.stats.as_ref().map(ByStat),
        };
        write_line(&record, out)
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::Outcome;

    use super::*;
    use crate::model::{Flow, cgroup, fake};

    #[test]
    fn a_record_has_every_field_of_schema_1() {
        let flow = Flow::new(&fake::flow(Outcome::SynTimeout)).expect("codes are known");
        let name = cgroup::parse("/system.slice/web.service");
        let line = FlowLine {
            cookie: None,
            flow: &flow,
            cgroup: Some(&name),
            wall_offset_ns: fake::EPOCH_NS,
            network: None,
        };
        let mut out = Vec::new();
        Ndjson.flow(&line, &mut out).expect("memory takes it");
        insta::assert_snapshot!(String::from_utf8(out).expect("JSON is UTF-8"));
    }

    #[test]
    fn the_summary_names_every_reason_and_outcome() {
        let mut summary = Summary {
            events: 7,
            printed: 5,
            ..Summary::default()
        };
        summary.losses[0] = 2;
        summary.totals[0][Outcome::Accepted as usize] = 9;
        summary.stats = Some(std::array::from_fn(|index| index as u64));
        let mut out = Vec::new();
        Ndjson.end(&summary, &mut out).expect("memory takes it");
        insta::assert_snapshot!(String::from_utf8(out).expect("JSON is UTF-8"));
    }
}
