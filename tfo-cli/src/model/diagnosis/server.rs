//! Faults of the server: as its clients see them, and as this host sees them where it is the server.

use std::{collections::BTreeMap, net::IpAddr};

use tfo_common::{
    Outcome, SynData,
    listener::{Arrival, ListenerRecord},
};

use super::{
    Confidence, CostKind, Facts, Finding, Fix, Id, Severity, Subject,
    facts::{Service, is_over},
    fix,
    threshold::{OVERFLOW_SHARE, REFUSED_LEAST, REFUSED_SHARE, SERVER_LEAST, SMALL_QUEUE},
};
use crate::{addr, model::DestRow};

/// Server side bit of `net.ipv4.tcp_fastopen` (`TFO_SERVER_ENABLE`).
const SERVER: u32 = 0x2;

/// Looks at destinations, services and listeners.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    findings.extend(facts.clients().filter_map(|row| refused(facts, row)));
    for (cgroup_id, port, service) in facts.services() {
        findings.extend(not_enabled(facts, cgroup_id, port, service));
        // Where listeners count for themselves their counts have what never completed as well.
        if facts
            .listeners_of(cgroup_id, port)
            .all(|one| one.sysctl().is_none())
        {
            findings.extend(overflow(facts, cgroup_id, port, service));
        }
        findings.extend(syncookies(facts, cgroup_id, port, service));
    }
    for listener in facts.listeners {
        findings.extend(accept_queue_full(facts, listener));
    }
    for group in groups(facts) {
        findings.extend(overflow_of(facts, &group));
        findings.extend(mismatch(facts, group.first));
    }
    findings.extend(mptcp(facts));
}

/// server-not-enabled, seen from the client.
fn refused(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let refused = row.count(Outcome::DataRefused);
    let taken = row.sum(|outcome| matches!(outcome.syn_data(), Some(SynData::Taken | SynData::CookieWrong)));
    let sent = refused + taken;
    if refused < REFUSED_LEAST || (refused as f64) < REFUSED_SHARE * sent as f64 {
        return None;
    }
    let flows = facts.flows(&row.key);
    let latest = flows
        .iter()
        .rev()
        .find(|flow| flow.outcome() == Outcome::DataRefused);
    let went_off = if taken > 0 {
        format!("; it took {taken} before")
    } else {
        String::new()
    };
    Some(
        Finding::new(
            facts,
            Id::ServerNotEnabled,
            Subject::Destination {
                cgroup_id: Some(row.key.cgroup_id),
                remote: row.remote(),
                port: Some(row.key.port),
            },
            format!("The server took the data of none of {refused} SYNs and gave no new cookie{went_off}."),
        )
        .rows(vec![row.key])
        .count("data-refused", refused)
        .count("sent", sent)
        .line(format!("refused without a new cookie {refused} of {sent}"))
        .example(latest.copied())
        .excluded("a path that drops SYN data: these SYNs were answered at once")
        .excluded("a key mismatch: no new cookie came back")
        .or_else("a full Fast Open queue, SYN cookies, or an option lost on the way: only the server can tell")
        .cost(facts, CostKind::NotSaved, row.rtt_us().unwrap_or(0), refused)
        .fix(Fix {
            command: Some(format!(
                "tfo-cli probe {}",
                std::net::SocketAddr::new(row.remote(), row.key.port)
            )),
            what: "asks the server whether it takes part; there, `sysctl -w net.ipv4.tcp_fastopen=3` and a queue of the \
                   application (`fastopen=256` in nginx) switch it on"
                .into(),
            undo: "none needed: it changes nothing here".into(),
            is_rule: false,
        })
        .over(is_over(flows, |flow| flow.outcome() == Outcome::DataRefused)),
    )
}

fn listener_of(cgroup_id: u64, port: u16) -> Subject {
    Subject::Listener {
        cgroup_id,
        netns: None,
        local: None,
        port,
    }
}

/// Limit of the Fast Open queue of a service, if a listener of it is known.
fn limit(facts: &Facts<'_>, cgroup_id: u64, port: u16) -> Option<u32> {
    let limits = facts
        .listeners_of(cgroup_id, port)
        .map(|listener| listener.tfo_max_qlen);
    limits.min()
}

/// server-not-enabled, seen from the server.
fn not_enabled(facts: &Facts<'_>, cgroup_id: u64, port: u16, service: &Service<'_>) -> Option<Finding> {
    let count = service.count(Outcome::NotEnabled);
    if count < SERVER_LEAST {
        return None;
    }
    let limit = limit(facts, cgroup_id, port);
    let brought = service
        .flows
        .iter()
        .filter(|flow| flow.outcome() == Outcome::NotEnabled && flow.event().syn_data_len > 0)
        .count();
    let what = match limit {
        Some(0) => "its listener has no Fast Open queue".to_owned(),
        Some(limit) => format!("its listener has a queue of {limit}: the namespace has the server side off"),
        None => "its listener or its namespace has it off".to_owned(),
    };
    let finding = Finding::new(
        facts,
        Id::ServerNotEnabled,
        listener_of(cgroup_id, port),
        format!("{count} clients asked for Fast Open or brought a cookie; {what}."),
    )
    .rows(service.keys())
    // Who only asks does so by default; who brings a cookie was granted one once.
    .severity(if brought > 0 || limit.is_some_and(|limit| limit > 0) {
        Severity::Warn
    } else {
        Severity::Info
    })
    .count("not-enabled", count)
    .count("attempts", service.attempts())
    .line(format!(
        "requests and cookies met by a listener without Fast Open {count}"
    ))
    .line(format!("of those still known, with data {brought}"))
    .example(service.latest(Outcome::NotEnabled))
    .confidence(Confidence::High)
    .cost(facts, CostKind::NotSaved, service.rtt_us(), count)
    .over(service.is_over(Outcome::NotEnabled));
    Some(finding.fix(fix::enable(facts, cgroup_id, port, limit)))
}

/// tfo-queue-overflow.
fn overflow(facts: &Facts<'_>, cgroup_id: u64, port: u16, service: &Service<'_>) -> Option<Finding> {
    let (count, tried) = (service.count(Outcome::QueueOverflow), service.attempts());
    if count < SERVER_LEAST || (count as f64) < OVERFLOW_SHARE * tried as f64 {
        return None;
    }
    let limit = limit(facts, cgroup_id, port);
    let size = limit.map_or_else(String::new, |limit| {
        let default = if limit <= SMALL_QUEUE {
            ", a common default"
        } else {
            ""
        };
        format!(" (its limit is {limit}{default})")
    });
    Some(
        Finding::new(
            facts,
            Id::TfoQueueOverflow,
            listener_of(cgroup_id, port),
            format!("{count} of {tried} connections with Fast Open found the listener's queue full{size}."),
        )
        .rows(service.keys())
        .count("queue-overflow", count)
        .count("attempts", tried)
        .count("limit", limit.unwrap_or(0).into())
        .line(format!("queue full {count} of {tried}{size}"))
        .example(service.latest(Outcome::QueueOverflow))
        .excluded("a full accept queue: these SYNs were answered")
        .confidence(Confidence::High)
        .cost(facts, CostKind::NotSaved, service.rtt_us(), count)
        .fix(fix::queue(facts, cgroup_id, port, limit))
        .over(service.is_over(Outcome::QueueOverflow)),
    )
}

/// Listening sockets that share an address (`SO_REUSEPORT`): one listener to whoever connects.
struct Group<'a> {
    first: &'a ListenerRecord,
    arrivals: [u64; Arrival::COUNT],
    /// The least of their queue limits.
    limit: u32,
}

fn groups<'a>(facts: &Facts<'a>) -> Vec<Group<'a>> {
    let mut groups: BTreeMap<_, Group<'a>> = BTreeMap::new();
    for one in facts.listeners {
        let group = groups
            .entry((one.netns, one.cgroup_id, one.local_port, one.family, one.local))
            .or_insert(Group {
                first: one,
                arrivals: [0; Arrival::COUNT],
                limit: u32::MAX,
            });
        for (sum, count) in group.arrivals.iter_mut().zip(one.arrivals) {
            *sum += count;
        }
        group.limit = group.limit.min(one.tfo_max_qlen);
    }
    groups.into_values().collect()
}

/// tfo-queue-overflow, of a listener that counts for itself.
fn overflow_of(facts: &Facts<'_>, group: &Group<'_>) -> Option<Finding> {
    let (listener, limit) = (group.first, group.limit);
    let count = group.arrivals[Arrival::Overflow as usize];
    let arrived: u64 = group.arrivals.iter().sum();
    if count < SERVER_LEAST || (count as f64) < OVERFLOW_SHARE * arrived as f64 {
        return None;
    }
    let (cgroup_id, port) = (listener.cgroup_id, listener.local_port);
    let service = facts.service(cgroup_id, port);
    let completed = service.count(Outcome::QueueOverflow);
    let default = if limit <= SMALL_QUEUE {
        ", a common default"
    } else {
        ""
    };
    let size = format!(" (its limit is {limit}{default})");
    let half_open = count.saturating_sub(completed);
    Some(
        Finding::new(
            facts,
            Id::TfoQueueOverflow,
            bound(listener),
            format!("{count} of {arrived} SYNs with Fast Open found the listener's queue full{size}."),
        )
        .rows(service.keys())
        .count("queue-overflow", count)
        .count("attempts", arrived)
        .count("limit", limit.into())
        .line(format!("queue full {count} of {arrived}{size}"))
        .line(format!(
            "of those the handshake ended later {completed}, never or not yet {half_open}"
        ))
        .example(service.latest(Outcome::QueueOverflow))
        .excluded("a full accept queue: these SYNs were answered")
        .confidence(Confidence::High)
        .cost(facts, CostKind::NotSaved, service.rtt_us(), count)
        .fix(fix::queue(facts, cgroup_id, port, Some(limit)))
        .over(service.is_over(Outcome::QueueOverflow)),
    )
}

/// syncookies-active.
fn syncookies(facts: &Facts<'_>, cgroup_id: u64, port: u16, service: &Service<'_>) -> Option<Finding> {
    let (count, tried) = (service.count(Outcome::Syncookie), service.attempts());
    (count >= SERVER_LEAST).then(|| {
        Finding::new(
            facts,
            Id::SyncookiesActive,
            listener_of(cgroup_id, port),
            format!("{count} of {tried} SYNs with Fast Open were answered under SYN cookies."),
        )
        .rows(service.keys())
        .count("syncookie", count)
        .count("attempts", tried)
        .line(format!("answered under SYN cookies {count} of {tried}"))
        .example(service.latest(Outcome::Syncookie))
        .confidence(Confidence::High)
        .cost(facts, CostKind::NotSaved, service.rtt_us(), count)
        .fix(Fix {
            command: Some("sysctl net.ipv4.tcp_syncookies net.ipv4.tcp_max_syn_backlog net.core.somaxconn".into()),
            what: "shows the settings of this namespace; raise tcp_max_syn_backlog, somaxconn and the application's \
                   backlog, and set tcp_syncookies to 1 where it is 2"
                .into(),
            undo: "`sysctl -w` with the values as they were".into(),
            is_rule: false,
        })
        .over(service.is_over(Outcome::Syncookie))
    })
}

fn bound(listener: &ListenerRecord) -> Subject {
    let local: IpAddr = addr::ip(&listener.local, listener.family);
    Subject::Listener {
        cgroup_id: listener.cgroup_id,
        netns: Some(listener.netns).filter(|netns| *netns != 0),
        local: Some(local).filter(|local| !local.is_unspecified()),
        port: listener.local_port,
    }
}

/// accept-queue-full: `sk_acceptq_is_full` compares with "above", so a queue may hold one more than its limit.
fn accept_queue_full(facts: &Facts<'_>, listener: &ListenerRecord) -> Option<Finding> {
    (listener.backlog > listener.max_backlog).then(|| {
        Finding::new(
            facts,
            Id::AcceptQueueFull,
            bound(listener),
            format!(
                "{} connections wait for accept() on a listener with a backlog of {}: further SYNs are dropped.",
                listener.backlog, listener.max_backlog
            ),
        )
        .count("waiting", listener.backlog.into())
        .count("backlog", listener.max_backlog.into())
        .line(format!("waiting {} with a backlog of {}", listener.backlog, listener.max_backlog))
        .excluded("Fast Open: plain SYNs are dropped as well")
        .confidence(Confidence::High)
        .fix(Fix::advice(
            "a larger backlog in the application and `net.core.somaxconn`, or an application that accepts faster",
        ))
    })
}

/// namespace-sysctl-mismatch.
fn mismatch(facts: &Facts<'_>, listener: &ListenerRecord) -> Option<Finding> {
    let value = facts.sysctl(listener.netns)?;
    if listener.tfo_max_qlen == 0 || value & SERVER != 0 {
        return None;
    }
    let host = facts.host.tcp_fastopen.unwrap_or(0);
    let elsewhere = listener.netns != facts.host.netns && host & SERVER != 0;
    let but = if elsewhere {
        format!("; this host has {host:#x}, which new namespaces do not inherit")
    } else {
        String::new()
    };
    Some(
        Finding::new(
            facts,
            Id::NamespaceSysctlMismatch,
            bound(listener),
            format!(
                "The listener has a Fast Open queue of {}, and its namespace has net.ipv4.tcp_fastopen={value:#x}{but}.",
                listener.tfo_max_qlen
            ),
        )
        .count("limit", listener.tfo_max_qlen.into())
        .count("sysctl", value.into())
        .line(format!("queue limit {}; net.ipv4.tcp_fastopen={value:#x}", listener.tfo_max_qlen))
        .confidence(Confidence::High)
        .fix(fix::sysctl(facts, listener.netns, value | SERVER, value)),
    )
}

/// mptcp-listener.
fn mptcp(facts: &Facts<'_>) -> Vec<Finding> {
    let listeners = facts.host_facts.mptcp.as_deref().unwrap_or_default();
    let off = listeners.iter().filter(|listener| listener.tfo_max_qlen == 0);
    off.map(|listener| {
        Finding::new(
            facts,
            Id::MptcpListener,
            Subject::Listener {
                cgroup_id: listener.cgroup_id,
                netns: Some(listener.netns),
                local: listener.local,
                port: listener.port,
            },
            format!("The MPTCP listener on port {} has no Fast Open queue.", listener.port),
        )
        .line(format!("MPTCP socket, queue limit 0, kernel {}", facts.host.kernel))
        .or_else("the application did not ask for a queue")
        .confidence(Confidence::Low)
        .fix(Fix {
            command: Some("sysctl -w net.mptcp.enabled=0".into()),
            what: "then restart the service; for programs in Go 1.24 and later GODEBUG=multipathtcp=0 does the same for \
                   one service"
                .into(),
            undo: "`sysctl -w net.mptcp.enabled=1`, and restart the service".into(),
            is_rule: false,
        })
    })
    .collect()
}
