//! `top --once --format json`: one object, schema 1. Durations are whole microseconds.

use std::{
    io::{self, Write},
    net::IpAddr,
};

use serde::Serialize;
use tfo_common::Outcome;

use super::{
    json::{SCHEMA, write_line},
    names::{ByOutcome, ByReason, ByRole},
    time,
};
use crate::model::{DestRow, Snapshot, networks::Sum};

#[derive(Serialize)]
struct Whole<'a> {
    schema: u32,
    r#type: &'static str,
    ts: String,
    elapsed_us: u64,
    host: Host<'a>,
    totals: ByRole<'a>,
    lost: ByReason<'a>,
    cross_check: Vec<Cross>,
    degradations: Vec<Degraded<'a>>,
    attached: &'a [String],
    destinations: Vec<Row<'a>>,
    unjudged: usize,
    networks: Vec<SumOf>,
}

/// The destinations of a network, added up.
#[derive(Clone, Debug, Serialize)]
pub struct SumOf {
    network: Option<String>,
    destinations: usize,
    attempts: u64,
    accepted: u64,
    failures: u64,
    plain: u64,
    saved_us: u64,
    lost_us: u64,
}

#[derive(Serialize)]
struct Host<'a> {
    name: &'a str,
    kernel: &'a str,
    tcp_fastopen: Option<u32>,
    blackhole_timeout_sec: Option<u32>,
}

#[derive(Serialize)]
struct Cross {
    netns: u32,
    counter: &'static str,
    kernel: u64,
    seen: u64,
    difference: i64,
}

#[derive(Serialize)]
struct Degraded<'a> {
    name: &'a str,
    why: &'a str,
}

#[derive(Serialize)]
struct Row<'a> {
    role: &'static str,
    family: u8,
    remote_addr: IpAddr,
    port: u16,
    cgroup_id: u64,
    cgroup: Option<&'a str>,
    unit: Option<&'a str>,
    container: Option<&'a str>,
    verdict: Option<&'static str>,
    attempts: u64,
    hit_rate: Option<f64>,
    failures: u64,
    outcomes: serde_json::Value,
    syn_bytes: u64,
    syn_bytes_acked: u64,
    cookies: u32,
    rtt_us: Option<u64>,
    saved_us: u64,
    lost_us: u64,
    network: Option<&'a str>,
}

/// Writes the snapshot with these rows, and how many more the filter could not judge.
pub fn write(snapshot: &Snapshot, rows: &[&DestRow], unjudged: usize, out: &mut dyn Write) -> io::Result<()> {
    let whole = Whole {
        schema: SCHEMA,
        r#type: "snapshot",
        ts: time::rfc3339(snapshot.wall_ns(snapshot.at_ns)),
        elapsed_us: snapshot.elapsed_ns / 1_000,
        host: Host {
            name: &snapshot.host.name,
            kernel: &snapshot.host.kernel,
            tcp_fastopen: snapshot.host.tcp_fastopen,
            blackhole_timeout_sec: snapshot.host.blackhole_timeout_sec,
        },
        totals: ByRole(&snapshot.totals),
        lost: ByReason(&snapshot.losses),
        cross_check: cross_check(snapshot),
        degradations: snapshot
            .degradations
            .iter()
            .map(|one| Degraded {
                name: one.name,
                why: &one.why,
            })
            .collect(),
        attached: &snapshot.attached,
        destinations: rows
            .iter()
            .map(|row| destination(row, snapshot))
            .collect::<io::Result<_>>()?,
        unjudged,
        networks: networks(snapshot, rows),
    };
    write_line(&whole, out)
}

/// None where no file names any.
pub fn networks(snapshot: &Snapshot, rows: &[&DestRow]) -> Vec<SumOf> {
    if snapshot.networks.is_empty() {
        return Vec::new();
    }
    let sums = snapshot
        .networks
        .sums(rows.iter().copied(), snapshot.server_prefixes);
    let network = |sum: Sum| SumOf {
        network: sum.label.as_deref().map(str::to_owned),
        destinations: sum.destinations,
        attempts: sum.attempts,
        accepted: sum.accepted,
        failures: sum.failures,
        plain: sum.plain,
        saved_us: sum.saved_us,
        lost_us: sum.lost_us,
    };
    sums.into_iter().map(network).collect()
}

fn cross_check(snapshot: &Snapshot) -> Vec<Cross> {
    let line = |line: &crate::model::crosscheck::CrossLine| Cross {
        netns: line.netns,
        counter: line.counter,
        kernel: line.kernel,
        seen: line.seen,
        difference: line.difference(),
    };
    snapshot.cross.iter().map(line).collect()
}

fn destination<'a>(row: &'a DestRow, snapshot: &'a Snapshot) -> io::Result<Row<'a>> {
    let name = snapshot.names.get(row.key.cgroup_id);
    let counts = row.outcomes.map(u64::from);
    Ok(Row {
        role: row.role().name(),
        family: row.key.family,
        remote_addr: row.remote(),
        port: row.key.port,
        cgroup_id: row.key.cgroup_id,
        cgroup: name.map(|name| name.path.as_str()),
        unit: name.and_then(|name| name.unit.as_deref()),
        container: name.and_then(|name| name.container.as_deref()),
        verdict: row.verdict().map(Outcome::name),
        attempts: row.attempts(),
        hit_rate: row.hit_rate(),
        failures: row.failures(),
        outcomes: serde_json::to_value(ByOutcome {
            role: row.role(),
            counts: &counts,
        })?,
        syn_bytes: row.syn_bytes,
        syn_bytes_acked: row.syn_bytes_acked,
        cookies: row.cookies,
        rtt_us: row.rtt_us(),
        saved_us: row.saved_us,
        lost_us: row.lost_us,
        network: snapshot.network(row),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake::Scenario;

    #[test]
    fn the_object_can_be_read_back() {
        let snapshot = Scenario::default().with_losses().model(3).snapshot();
        let rows: Vec<_> = snapshot.rows.iter().take(1).collect();
        let mut out = Vec::new();
        write(&snapshot, &rows, 0, &mut out).expect("memory takes it");
        let value: serde_json::Value = serde_json::from_slice(&out).expect("it is JSON");
        assert_eq!(value["schema"], 1);
        assert_eq!(value["lost"]["ring-full"], 1_204);
        assert_eq!(value["destinations"][0]["outcomes"]["syn-timeout"], 9);
        assert_eq!(value["destinations"][0]["unit"], "checkout.service");
        assert_eq!(value["cross_check"][1]["difference"], 1);
    }
}
