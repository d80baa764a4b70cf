//! Findings for programs: one object per line, schema 1, `type` `diagnosis`; at the end one with `type` `summary`.

use std::{
    collections::BTreeMap,
    io::{self, Write},
    net::IpAddr,
};

use serde::Serialize;

use super::{
    FlowLine, diagnosis,
    flow_record::FlowRecord,
    json::{SCHEMA, write_line},
    snapshot_json::{SumOf, networks},
    time,
};
use crate::model::{
    DestRow, Snapshot,
    diagnosis::{CostKind, Finding, Severity, Subject},
};

/// A finding. Absent values are `null`, never left out. Times that end in `_us` are whole microseconds.
#[derive(Clone, Debug, Serialize)]
pub struct FindingRecord<'a> {
    /// [`SCHEMA`].
    pub schema: u32,
    /// `diagnosis`.
    pub r#type: &'static str,
    /// Wall clock of the latest reading, RFC 3339, UTC.
    pub ts: String,
    /// Which diagnosis; the names are stable.
    pub id: &'static str,
    /// `info`, `warn` or `fail`.
    pub severity: &'static str,
    /// `destination`, `service`, `listener` or `host`.
    pub scope: &'static str,
    /// What it is about, in words: `192.0.2.1:443`, `listener *:443`, `this host`.
    pub destination: String,
    /// Which end this host is, where that is a question.
    pub role: Option<&'static str>,
    /// The other end.
    pub remote_addr: Option<IpAddr>,
    /// Port of the service; `null` where it is about all of them.
    pub port: Option<u16>,
    /// Inode of the network namespace.
    pub netns: Option<u32>,
    /// cgroup v2 id of the service.
    pub cgroup_id: Option<u64>,
    /// Its path below the cgroup2 mount.
    pub cgroup: Option<&'a str>,
    /// systemd unit named by the path.
    pub unit: Option<&'a str>,
    /// Container id named by the path.
    pub container: Option<&'a str>,
    /// What is the matter, with the numbers of this case.
    pub sentence: &'a str,
    /// What was counted, by name.
    pub counts: BTreeMap<&'static str, u64>,
    /// The evidence in words.
    pub evidence: &'a [String],
    /// How long was counted.
    pub window_us: u64,
    /// One connection that shows it.
    pub example: Option<FlowRecord<'a>>,
    /// Other explanations that do not hold.
    pub excluded: &'a [String],
    /// Other explanations that could not be ruled out.
    pub or_else: &'a [String],
    /// `low`, `medium` or `high`.
    pub confidence: &'static str,
    /// `lost`, or `not-saved` for what Fast Open would save.
    pub cost_kind: Option<&'static str>,
    /// Cost of each connection it happens to.
    pub cost_us_per_connection: Option<u64>,
    /// Cost of an hour at the rate seen; `null` where too little time was watched.
    pub cost_us_per_hour: Option<u64>,
    /// The command that mends it.
    pub fix: Option<&'a str>,
    /// What that does, or what to do.
    pub fix_what: Option<&'a str>,
    /// How to take it back.
    pub undo: Option<&'a str>,
    /// It did not happen in the latest attempts any more.
    pub is_over: bool,
    /// Where the documentation has it.
    pub docs: String,
    /// What the network of the other end is called (`--networks`).
    pub network: Option<&'a str>,
}

impl<'a> FindingRecord<'a> {
    /// The record of a finding.
    pub fn new(finding: &'a Finding, snapshot: &'a Snapshot) -> Self {
        let (remote_addr, port, netns) = match finding.subject {
            Subject::Destination { remote, port, .. } => (Some(remote), port, None),
            Subject::Service { .. } => (None, None, None),
            Subject::Listener { port, netns, .. } => (None, Some(port), netns),
            Subject::Host { netns } => (None, None, netns),
        };
        let cgroup_id = finding.subject.cgroup_id();
        let name = cgroup_id.and_then(|id| snapshot.names.get(id));
        let fix = finding.fix.as_ref();
        Self {
            schema: SCHEMA,
            r#type: "diagnosis",
            ts: time::rfc3339(snapshot.wall_ns(snapshot.at_ns)),
            id: finding.id.name(),
            severity: finding.severity.name(),
            scope: finding.id.entry().scope.name(),
            destination: diagnosis::place(finding),
            role: finding.subject.role().map(tfo_common::Role::name),
            remote_addr,
            port,
            netns,
            cgroup_id,
            cgroup: name.map(|name| name.path.as_str()),
            unit: name.and_then(|name| name.unit.as_deref()),
            container: name.and_then(|name| name.container.as_deref()),
            sentence: &finding.sentence,
            counts: finding.evidence.counts.iter().copied().collect(),
            evidence: &finding.evidence.lines,
            window_us: finding.evidence.window_ns / 1_000,
            example: finding.evidence.example.as_ref().map(|flow| {
                FlowRecord::new(&FlowLine {
                    cookie: None,
                    flow,
                    cgroup: snapshot.names.get(flow.event().cgroup_id),
                    wall_offset_ns: snapshot.wall_offset_ns,
                    network: snapshot.networks.label(flow.remote_ip()).map(|label| &**label),
                })
            }),
            excluded: &finding.excluded,
            or_else: &finding.or_else,
            confidence: finding.confidence.name(),
            cost_kind: finding.cost.map(|cost| CostKind::name(cost.kind)),
            cost_us_per_connection: finding.cost.map(|cost| cost.per_connection_us),
            cost_us_per_hour: finding.cost.and_then(|cost| cost.per_hour_us),
            fix: finding.command(),
            fix_what: fix.map(|fix| fix.what.as_str()),
            undo: fix.map(|fix| fix.undo.as_str()).filter(|undo| !undo.is_empty()),
            is_over: finding.is_over,
            docs: finding.id.anchor(),
            network: snapshot.network_of(finding),
        }
    }
}

/// The last line.
#[derive(Clone, Debug, Serialize)]
struct SummaryRecord {
    schema: u32,
    r#type: &'static str,
    fail: usize,
    warn: usize,
    info: usize,
    window_us: u64,
    /// Diagnoses that could not be made, with the reason.
    not_looked_at: BTreeMap<&'static str, &'static str>,
    /// What did not arrive, all reasons together: findings may be missing.
    lost: u64,
    /// Destinations that pass the filter, by network (`--networks`).
    networks: Vec<SumOf>,
}

/// Writes one of them.
pub fn write_finding(finding: &Finding, snapshot: &Snapshot, out: &mut dyn Write) -> io::Result<()> {
    write_line(&FindingRecord::new(finding, snapshot), out)
}

/// Writes them and the summary.
pub fn write(
    findings: &[&Finding],
    rows: &[&DestRow],
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> io::Result<()> {
    for finding in findings {
        write_finding(finding, snapshot, out)?;
    }
    let count = |severity| {
        let all = findings.iter();
        all.filter(|finding| finding.severity == severity).count()
    };
    let report = &snapshot.diagnosis;
    write_line(
        &SummaryRecord {
            schema: SCHEMA,
            r#type: "summary",
            fail: count(Severity::Fail),
            warn: count(Severity::Warn),
            info: count(Severity::Info),
            window_us: report.window_ns / 1_000,
            not_looked_at: report
                .unlooked
                .iter()
                .map(|(id, why)| (id.name(), *why))
                .collect(),
            lost: snapshot.lost(),
            networks: networks(snapshot, rows),
        },
        out,
    )
}
