//! `trace --format json`: one object per line, schema 1 (DESIGN.md section 5). Fields may be added in later
//! versions, none is renamed or removed.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use serde::Serialize;

use super::{
    FlowLine, Summary, TraceWriter,
    names::{ByReason, ByRole},
    time,
};

/// Version of the record.
pub const SCHEMA: u32 = 1;

/// A flow. Absent values are `null`, never left out. Times that end in `_us` are whole microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct FlowRecord<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `flow`.
    pub r#type: &'static str,
    /// Wall clock of the verdict, RFC 3339, UTC, microseconds. The SYN was sent `handshake_us` earlier.
    pub ts: String,
    /// `client` or `server`: which end this host is.
    pub role: &'static str,
    /// What became of Fast Open.
    pub outcome: &'static str,
    /// 4 or 6, on the wire.
    pub family: u8,
    /// This host's end.
    pub local_addr: IpAddr,
    /// Its port.
    pub local_port: u16,
    /// The other end.
    pub remote_addr: IpAddr,
    /// Its port.
    pub remote_port: u16,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// cgroup v2 id.
    pub cgroup_id: Option<u64>,
    /// Its path below the cgroup2 mount.
    pub cgroup: Option<&'a str>,
    /// systemd unit named by the path.
    pub unit: Option<&'a str>,
    /// Container id named by the path.
    pub container: Option<&'a str>,
    /// Process id (tgid) of the client, in the initial PID namespace.
    pub pid: Option<u32>,
    /// Its name.
    pub comm: Option<String>,
    /// The application asked for Fast Open.
    pub tfo_requested: bool,
    /// Option in the first SYN: `none`, `request` or `cookie`.
    pub option_sent: &'static str,
    /// 34, or 254 for the experimental one.
    pub option_kind: Option<u8>,
    /// Payload bytes of the SYN.
    pub syn_data_len: u32,
    /// How many of them the SYN-ACK acked (client) or the listener took (server).
    pub syn_data_acked: u32,
    /// The SYN-ACK brought a cookie.
    pub cookie_received: bool,
    /// SYN (client) or SYN-ACK (server) retransmissions.
    pub syn_retrans: u32,
    /// First SYN to the end of the handshake.
    pub handshake_us: Option<u32>,
    /// First SYN to the first byte of the server's answer.
    pub ttfb_us: Option<u32>,
    /// Time Fast Open saved: one round trip for `accepted`.
    pub saved_us: u32,
    /// Time it lost: from the first SYN to the one that was answered.
    pub lost_us: u32,
    /// Policy that withheld the SYN data: `no-data`, `strip` or `observe`.
    pub policy: Option<&'static str>,
    /// Round-trip time: from the SYN that was answered to its answer.
    pub rtt_us: Option<u32>,
}

impl<'a> FlowRecord<'a> {
    /// The record of a flow.
    pub fn new(line: &FlowLine<'a>) -> Self {
        let flow = line.flow;
        let event = flow.event();
        Self {
            schema: SCHEMA,
            r#type: "flow",
            ts: time::rfc3339(line.wall_ns()),
            role: flow.role().name(),
            outcome: flow.outcome().name(),
            family: event.family,
            local_addr: flow.local_ip(),
            local_port: event.local_port,
            remote_addr: flow.remote_ip(),
            remote_port: event.remote_port,
            netns: Some(event.netns).filter(|inode| *inode != 0),
            cgroup_id: Some(event.cgroup_id).filter(|id| *id != 0),
            cgroup: line.cgroup.map(|name| name.path.as_str()),
            unit: line.cgroup.and_then(|name| name.unit.as_deref()),
            container: line.cgroup.and_then(|name| name.container.as_deref()),
            pid: flow.pid(),
            comm: flow.comm().map(std::borrow::Cow::into_owned),
            tfo_requested: flow.requested(),
            option_sent: flow.option().name(),
            option_kind: flow.option_kind(),
            syn_data_len: event.syn_data_len,
            syn_data_acked: event.syn_data_acked,
            cookie_received: flow.cookie_received(),
            syn_retrans: event.syn_retrans,
            handshake_us: flow.handshake_us(),
            ttfb_us: flow.ttfb_us(),
            saved_us: event.saved_us,
            lost_us: event.lost_us,
            policy: flow.policy().map(tfo_common::PolicyAction::name),
            rtt_us: flow.rtt_us(),
        }
    }
}

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
    /// What did not arrive, by reason.
    pub lost: ByReason<'a>,
    /// Handshakes counted in the kernel, by role and outcome; exact also when records were lost.
    pub totals: ByRole<'a>,
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

    fn end(&mut self, summary: &Summary, out: &mut dyn Write) -> io::Result<()> {
        let record = SummaryRecord {
            schema: SCHEMA,
            r#type: "summary",
            events: summary.events,
            printed: summary.printed,
            lost: ByReason(&summary.losses),
            totals: ByRole(&summary.totals),
        };
        write_line(&record, out)
    }
}

/// One object on one line.
pub fn write_line(record: &impl Serialize, out: &mut dyn Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, record)?;
    out.write_all(b"\n")
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
            flow: &flow,
            cgroup: Some(&name),
            wall_offset_ns: fake::EPOCH_NS,
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
        let mut out = Vec::new();
        Ndjson.end(&summary, &mut out).expect("memory takes it");
        insta::assert_snapshot!(String::from_utf8(out).expect("JSON is UTF-8"));
    }
}
