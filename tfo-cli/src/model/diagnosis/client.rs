//! Faults of this host as a client: settings, the kernel's pause, firewalls, and how applications use Fast Open.

use std::{collections::BTreeMap, net::SocketAddr};

use tfo_common::{Outcome, Role, TfoOption};

use super::{
    Confidence, CostKind, Facts, Finding, Fix, Id, Severity, Subject,
    facts::is_over,
    fix,
    host_facts::Deferred,
    threshold::{
        CAPPED_LEAST, CAPPED_SHARE, DEFERRED_FAIL_US, DEFERRED_WARN_US, TINY_BYTES, TINY_LEAST, TINY_SHARE,
    },
};
use crate::model::{DestRow, Flow};

/// Client side bit of `net.ipv4.tcp_fastopen` (`TFO_CLIENT_ENABLE`).
const CLIENT: u32 = 0x1;

/// Looks at the host, at sockets, and at every destination.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    findings.extend(disabled(facts));
    findings.extend(paused(facts));
    findings.extend(deferred(facts));
    for row in facts.clients().filter(|row| row.attempts() > 0) {
        findings.extend(local_drop(facts, row));
        findings.extend(capped(facts, row));
        findings.extend(tiny(facts, row));
    }
}

/// client-disabled.
fn disabled(facts: &Facts<'_>) -> Vec<Finding> {
    let others = facts.host_facts.sysctls.as_deref().unwrap_or_default();
    let here = facts.host.tcp_fastopen.map(|value| (facts.host.netns, value));
    let off = here.into_iter().chain(others.iter().copied());
    off.filter(|(_, value)| value & CLIENT == 0)
        .map(|(netns, value)| {
            Finding::new(
                facts,
                Id::ClientDisabled,
                Subject::Host {
                    netns: Some(netns).filter(|netns| *netns != facts.host.netns),
                },
                format!(
                    "net.ipv4.tcp_fastopen={value:#x}: sockets cannot connect with Fast Open (EOPNOTSUPP)."
                ),
            )
            .count("sysctl", value.into())
            .line(format!("net.ipv4.tcp_fastopen={value:#x} lacks 0x1"))
            .or_else("nobody here wants Fast Open: whether an application asks in vain is not seen")
            .confidence(Confidence::High)
            .fix(fix::sysctl(facts, netns, value | CLIENT, value))
        })
        .collect()
}

/// blackhole-paused: per network namespace, as the pause is.
fn paused(facts: &Facts<'_>) -> Vec<Finding> {
    let rows: Vec<&DestRow> = facts
        .clients()
        .filter(|row| row.count(Outcome::Paused) > 0)
        .collect();
    let counted: u64 = rows.iter().map(|row| row.count(Outcome::Paused)).sum();
    if counted == 0 {
        return Vec::new();
    }
    let mut by_netns: BTreeMap<u32, Vec<&Flow>> = BTreeMap::new();
    for flow in facts.all_flows.iter().filter(|flow| flow.role() == Role::Client) {
        by_netns.entry(flow.event().netns).or_default().push(flow);
    }
    by_netns.retain(|_, flows| flows.iter().any(|flow| flow.outcome() == Outcome::Paused));
    if by_netns.is_empty() {
        by_netns.insert(0, Vec::new());
    }
    let is_one = by_netns.len() == 1;
    let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
    by_netns
        .into_iter()
        .map(|(netns, flows)| {
            let seen = flows
                .iter()
                .filter(|flow| flow.outcome() == Outcome::Paused)
                .count() as u64;
            let count = if is_one { counted } else { seen };
            pause(facts, netns, &flows, count).rows(keys.clone())
        })
        .collect()
}

fn pause(facts: &Facts<'_>, netns: u32, flows: &[&Flow], count: u64) -> Finding {
    let first = flows.iter().find(|flow| flow.outcome() == Outcome::Paused);
    let latest = flows.iter().rev().find(|flow| flow.outcome() == Outcome::Paused);
    let rtt_us = latest.and_then(|flow| flow.rtt_us()).unwrap_or(0);
    // The third timeout in a row, or giving up (`tcp_fastopen_active_detect_blackhole`).
    let culprit = first.and_then(|first| {
        let before = flows.iter().rev();
        let mut before = before.filter(|flow| flow.event().end_ns <= first.event().end_ns);
        before.find(|flow| {
            flow.outcome() == Outcome::Failed
                || flow.outcome() == Outcome::SynTimeout && flow.event().syn_retrans > 2
        })
    });
    let seconds = facts.host.blackhole_timeout_sec;
    let mut finding = Finding::new(
        facts,
        Id::BlackholePaused,
        Subject::Host {
            netns: Some(netns).filter(|netns| *netns != 0 && *netns != facts.host.netns),
        },
        format!("{count} connections asked for Fast Open and got a plain SYN: the kernel pauses it for all destinations."),
    )
    .count("paused", count)
    .line(format!("bare SYNs in spite of Fast Open {count}"))
    .confidence(Confidence::High)
    .cost(facts, CostKind::NotSaved, rtt_us.into(), count)
    .fix(Fix {
        command: Some("sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec=0".into()),
        what: "run in the namespace concerned it ends the pause, and there is never another one; then add a rule for the \
               destination that tripped it"
            .into(),
        undo: format!(
            "`sysctl -w net.ipv4.tcp_fastopen_blackhole_timeout_sec={}`",
            seconds.filter(|seconds| *seconds > 0).unwrap_or(3_600)
        ),
        is_rule: false,
    })
    .over(is_over(flows, |flow| flow.outcome() == Outcome::Paused));
    match culprit {
        Some(flow) => {
            finding = finding
                .line(format!(
                    "tripped by the connection to {} that ended {} after {} retransmissions",
                    flow.remote(),
                    flow.outcome().name(),
                    flow.event().syn_retrans
                ))
                .example(Some(flow));
        }
        None => {
            finding = finding
                .line("the connection that tripped it is not among those still known")
                .example(latest.copied());
        }
    }
    finding
}

/// deferred-never-sent: by service and destination.
fn deferred(facts: &Facts<'_>) -> Vec<Finding> {
    let sockets = facts.host_facts.deferred.as_deref().unwrap_or_default();
    let mut by_destination: BTreeMap<(u64, SocketAddr), Vec<&Deferred>> = BTreeMap::new();
    for socket in sockets.iter().filter(|socket| socket.age_us >= DEFERRED_WARN_US) {
        let key = (socket.cgroup_id, socket.remote);
        by_destination.entry(key).or_default().push(socket);
    }
    by_destination
        .into_iter()
        .filter_map(|((cgroup_id, remote), sockets)| never_sent(facts, cgroup_id, remote, &sockets))
        .collect()
}

fn never_sent(
    facts: &Facts<'_>,
    cgroup_id: u64,
    remote: SocketAddr,
    sockets: &[&Deferred],
) -> Option<Finding> {
    let oldest = sockets.iter().max_by_key(|socket| socket.age_us)?;
    let seconds = oldest.age_us / 1_000_000;
    let owner = match (&oldest.comm, oldest.pid) {
        (Some(comm), Some(pid)) => format!("{comm}/{pid}"),
        _ => "a process that was not found".to_owned(),
    };
    let count = sockets.len();
    Some(
        Finding::new(
            facts,
            Id::DeferredNeverSent,
            Subject::Destination {
                cgroup_id: Some(cgroup_id),
                remote: remote.ip(),
                port: Some(remote.port()),
            },
            format!("{count} connects wait for a first write to send their SYN, the oldest for {seconds} s."),
        )
        .severity(if oldest.age_us >= DEFERRED_FAIL_US {
            Severity::Fail
        } else {
            Severity::Warn
        })
        .count("deferred", count as u64)
        .count("oldest-us", oldest.age_us)
        .line(format!("connects put off {count}; the oldest by {owner}, first seen {seconds} s ago"))
        .excluded(format!("a write that comes within {} s", DEFERRED_WARN_US / 1_000_000))
        .or_else("a connection opened ahead of time, to be used later")
        .fix(Fix::advice(
            "switch Fast Open off in the application for protocols where the server speaks first (FTP, SMTP, SSH, \
             MySQL): connect() then sends the SYN",
        )),
    )
}

/// local-drop.
fn local_drop(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let count = row.count(Outcome::LocalDrop);
    let flows = facts.flows(&row.key);
    let latest = flows
        .iter()
        .rev()
        .find(|flow| flow.outcome() == Outcome::LocalDrop);
    let finding = (count > 0).then(|| {
        Finding::new(
            facts,
            Id::LocalDrop,
            destination(row),
            format!("{count} SYNs with data were dropped on this host, and not by a policy of tfo-cli."),
        )
        .rows(vec![row.key])
        .count("local-drop", count)
        .line(format!("SYN data built and dropped before it left {count}"))
        .example(latest.copied())
        .excluded("a policy of tfo-cli: its connections are `denied`")
        .confidence(Confidence::High)
        .cost(facts, CostKind::NotSaved, row.rtt_us().unwrap_or(0), count)
        .fix(Fix {
            command: Some("nft list ruleset; tc -s qdisc show; bpftool cgroup tree".into()),
            what: "shows what can drop it: look for rules on SYNs with a length, qdiscs with drops, egress programs".into(),
            undo: "none needed: it changes nothing".into(),
            is_rule: false,
        })
        .over(is_over(flows, |flow| flow.outcome() == Outcome::LocalDrop))
    })?;
    Some(match &facts.host_facts.droppers {
        Ok(droppers) if !droppers.is_empty() => droppers.iter().fold(finding, |finding, dropper| {
            finding.line(format!("may be dropped by {dropper}"))
        }),
        Ok(_) => finding.line("no firewall rule, qdisc or BPF program was found that would drop it"),
        Err(why) => finding.or_else(format!("which rule does it is not known: {why}")),
    })
}

fn destination(row: &DestRow) -> Subject {
    Subject::Destination {
        cgroup_id: Some(row.key.cgroup_id),
        remote: row.remote(),
        port: Some(row.key.port),
    }
}

/// syn-data-capped: `fastopen_req->size` is what was offered, before the segment's size cut it.
fn capped(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let with_data = facts
        .flows(&row.key)
        .iter()
        .filter(|flow| flow.event().syn_data_len > 0);
    let with_data: Vec<&&Flow> = with_data.collect();
    let cut: Vec<&&&Flow> = with_data
        .iter()
        .filter(|flow| flow.event().offered > flow.event().syn_data_len)
        .collect();
    if cut.len() < CAPPED_LEAST || (cut.len() as f64) < CAPPED_SHARE * with_data.len() as f64 {
        return None;
    }
    let latest = cut.last()?;
    Some(
        Finding::new(
            facts,
            Id::SynDataCapped,
            destination(row),
            format!(
                "{} of {} connections offered more than their SYN could carry: {} of {} bytes in the latest.",
                cut.len(),
                with_data.len(),
                latest.event().syn_data_len,
                latest.event().offered
            ),
        )
        .rows(vec![row.key])
        .count("capped", cut.len() as u64)
        .count("with-data", with_data.len() as u64)
        .line(format!(
            "offered more than was sent {} of {}",
            cut.len(),
            with_data.len()
        ))
        .example(Some(latest))
        .confidence(Confidence::High),
    )
}

/// application-misuse.
fn tiny(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let with_cookie = facts.flows(&row.key).iter();
    let with_cookie: Vec<&&Flow> = with_cookie
        .filter(|flow| flow.option() == TfoOption::Cookie)
        .collect();
    let small: Vec<&&&Flow> = with_cookie
        .iter()
        .filter(|flow| flow.event().offered.max(flow.event().syn_data_len) <= TINY_BYTES)
        .collect();
    if small.len() < TINY_LEAST || (small.len() as f64) < TINY_SHARE * with_cookie.len() as f64 {
        return None;
    }
    let latest = small.last()?;
    Some(
        Finding::new(
            facts,
            Id::ApplicationMisuse,
            destination(row),
            format!(
                "{} of {} connections with a cookie offered at most {TINY_BYTES} bytes with their SYN, the latest {}.",
                small.len(),
                with_cookie.len(),
                latest.event().offered
            ),
        )
        .rows(vec![row.key])
        .count("tiny", small.len() as u64)
        .count("with-cookie", with_cookie.len() as u64)
        .line(format!("empty or tiny first writes {} of {}", small.len(), with_cookie.len()))
        .example(Some(latest))
        .excluded("cookie requests: they never carry data")
        .fix(Fix::advice(
            "write header and body with one call (writev, sendmsg), or switch Fast Open off in the application",
        )),
    )
}
