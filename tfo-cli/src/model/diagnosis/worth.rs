//! Whether Fast Open pays where it works, where it would pay and is not used, and what is dangerous about it.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

use tfo_common::{Carried, DestKey, Outcome, Role, dest::Lived};

use super::{
    Confidence, CostKind, Facts, Finding, Fix, Id, Subject,
    facts::client_key,
    fix,
    threshold::{
        BENEFIT_LATEST, BENEFIT_LEAST, BENEFIT_RTT_US, BENEFIT_SHARE, LIVED_LEAST, LIVED_ROUND_TRIPS,
        UNUSED_LEAST, UNUSED_RTT_US, UNUSED_SHARE,
    },
};
use crate::{
    addr,
    model::{DestRow, Flow},
};

/// Looks at every destination, and at what else was looked at.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for row in facts.clients() {
        findings.extend(no_benefit(facts, row));
        findings.extend(not_used(facts, row));
    }
    if let Ok(lifetimes) = &facts.host_facts.lifetimes {
        let wanted: HashMap<&DestKey, Lived> =
            lifetimes.rows.iter().map(|one| (&one.key, one.lived)).collect();
        let ended = facts
            .clients()
            .filter_map(|row| Some((row, *wanted.get(&row.key)?)));
        findings.extend(ended.filter_map(|(row, lived)| long_lived(facts, row, lived, lifetimes.least_us)));
    }
    findings.extend(duplicates(facts));
    findings.extend(unsafe_writes(facts));
    findings.extend(keys(facts));
}

fn destination(row: &DestRow) -> Subject {
    Subject::Destination {
        cgroup_id: Some(row.key.cgroup_id),
        remote: row.remote(),
        port: Some(row.key.port),
    }
}

/// How long an answer took, in us: the round trip of its SYN, and from the SYN-ACK to the first byte.
fn times(flow: &Flow) -> Option<(u32, u32)> {
    let rtt = flow.rtt_us().filter(|rtt| *rtt >= BENEFIT_RTT_US)?;
    Some((rtt, flow.ttfb_us()?.checked_sub(flow.handshake_us()?)?))
}

/// no-benefit: the answer comes as late as if the data had come with the handshake's last ACK. Round trips differ, and that of
/// the SYN may have been a long one: what counts as too early is what is sooner than the shortest of them.
fn no_benefit(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    if row.sum(Outcome::saves_round_trip) < BENEFIT_LEAST as u64 {
        return None;
    }
    let flows = facts.flows(&row.key).iter().copied();
    let judged: Vec<(&Flow, (u32, u32))> = flows
        .filter(|flow| flow.outcome().saves_round_trip())
        .filter_map(|flow| Some((flow, times(flow)?)))
        .collect();
    let shortest = judged.iter().map(|(_, (rtt, _))| *rtt).min()?;
    let late: Vec<&Flow> = judged
        .iter()
        .filter(|(_, (rtt, waited))| {
            *waited >= shortest && f64::from(*waited) <= BENEFIT_LATEST * f64::from(*rtt)
        })
        .map(|(flow, _)| *flow)
        .collect();
    if judged.len() < BENEFIT_LEAST || (late.len() as f64) < BENEFIT_SHARE * judged.len() as f64 {
        return None;
    }
    Some(
        Finding::new(
            facts,
            Id::NoBenefit,
            destination(row),
            format!(
                "In {} of {} accepted connections the answer came a round trip after the SYN-ACK: nothing was gained.",
                late.len(),
                judged.len()
            ),
        )
        .rows(vec![row.key])
        .count("late-answers", late.len() as u64)
        .count("judged", judged.len() as u64)
        .line(format!("first byte 1 to {BENEFIT_LATEST} round trips after the SYN-ACK {} of {}", late.len(), judged.len()))
        .example(late.last().copied())
        .or_else("a server that happens to think for one round trip")
        .confidence(Confidence::Low)
        .fix(Fix::advice(
            "a server that answers what the SYN brought, before the handshake is over (a request that fits one SYN, no \
             client that has to speak twice); or switch Fast Open off, nothing is lost",
        )),
    )
}

/// not-used.
fn not_used(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let plain = row.count(Outcome::Plain);
    let rtt_us = row.rtt_us()?;
    if plain < UNUSED_LEAST
        || rtt_us < UNUSED_RTT_US
        || row.attempts() as f64 >= UNUSED_SHARE * row.handshakes() as f64
    {
        return None;
    }
    Some(
        Finding::new(
            facts,
            Id::NotUsed,
            destination(row),
            format!(
                "{plain} connections without Fast Open over a round trip of {} ms: that much could be saved on each.",
                rtt_us / 1_000
            ),
        )
        .rows(vec![row.key])
        .count("plain", plain)
        .count("attempts", row.attempts())
        .count("rtt-us", rtt_us)
        .line(format!("plain connections {plain}, with Fast Open {}", row.attempts()))
        .line(format!("mean round trip {} ms", rtt_us / 1_000))
        .or_else("the server does not grant it: nobody asked yet")
        .cost(facts, CostKind::NotSaved, rtt_us, plain)
        .fix(Fix {
            command: Some(format!(
                "tfo-cli probe {}",
                SocketAddr::new(row.remote(), row.key.port)
            )),
            what: "asks whether the server grants it; then switch it on in the application".into(),
            undo: "none needed: it changes nothing".into(),
            is_rule: false,
        }),
    )
}

/// long-lived: what is counted of a row are the connections that ended late. All others of its attempts, those that still
/// live among them, go into the mean with nothing.
fn long_lived(facts: &Facts<'_>, row: &DestRow, lived: Lived, least_us: u64) -> Option<Finding> {
    let rtt_us = row.rtt_us()?;
    let Lived {
        ended,
        lived_us,
        bytes,
    } = lived;
    let mean_us = lived_us.checked_div(row.attempts().max(ended))?;
    let is_long = mean_us >= least_us && mean_us >= rtt_us.saturating_mul(LIVED_ROUND_TRIPS);
    if ended < LIVED_LEAST || !is_long {
        return None;
    }
    let (lived, carried) = (lived_us / ended, bytes / ended);
    Some(
        Finding::new(
            facts,
            Id::LongLived,
            destination(row),
            format!(
                "Connections live {} on average: the {rtt_us} us of a round trip do not matter.",
                duration(lived)
            ),
        )
        .rows(vec![row.key])
        .count("ended", ended)
        .count("mean-us", lived)
        .count("mean-bytes", carried)
        .line(format!(
            "{ended} connections ended after {} and {carried} bytes on average",
            duration(lived)
        ))
        .line(format!(
            "of {} attempts, of which the others count as if they had lived no time at all",
            row.attempts()
        ))
        .confidence(Confidence::High),
    )
}

/// Seconds, with a tenth where they are few.
fn duration(us: u64) -> String {
    match us {
        0..10_000_000 => format!("{}.{} s", us / 1_000_000, us / 100_000 % 10),
        _ => format!("{} s", us / 1_000_000),
    }
}

/// duplicate-syn-data: by listener and client, as often as it came.
fn duplicates(facts: &Facts<'_>) -> Vec<Finding> {
    type Sender = (u64, u32, u16, SocketAddr);
    let mut by_sender: BTreeMap<Sender, Vec<&Flow>> = BTreeMap::new();
    for flow in facts.all_flows.iter().filter(|flow| flow.is_duplicate()) {
        let event = flow.event();
        let sender = (event.cgroup_id, event.netns, event.local_port, flow.remote());
        by_sender.entry(sender).or_default().push(flow);
    }
    let found = by_sender.into_iter().map(|((cgroup_id, netns, port, client), again)| {
        // The first of them is no duplicate.
        let times = again.len() as u64 + 1;
        Finding::new(
            facts,
            Id::DuplicateSynData,
            Subject::Listener {
                cgroup_id,
                netns: Some(netns),
                local: None,
                port,
            },
            format!("The same SYN of {client} was accepted {times} times, and its data was given to the application as often."),
        )
        .count("times", times)
        .line(format!(
            "same address, port and initial sequence number accepted {times} times"
        ))
        .example(again.last().copied())
        .excluded("a client that says the same twice: its connections differ in port or sequence number")
        .confidence(Confidence::High)
        .fix(Fix::advice(
            "Fast Open only for requests that may be done twice (RFC 7413 section 6.1)",
        ))
    });
    found.collect()
}

/// not-idempotent: what a capture counted, and what a policy saw of the connections that are still known.
fn unsafe_writes(facts: &Facts<'_>) -> Vec<Finding> {
    let mut seen: HashMap<(DestKey, &str), (u64, Option<&Flow>)> = HashMap::new();
    for flow in facts.all_flows.iter().filter(|flow| flow.role() == Role::Client) {
        if let Some(what) = flow.carried().and_then(Carried::not_to_repeat) {
            let (count, latest) = seen.entry((client_key(flow), what)).or_default();
            (*count, *latest) = (*count + 1, Some(flow));
        }
    }
    for write in facts.host_facts.unsafe_writes.as_deref().unwrap_or_default() {
        // Of a capture's connections not all may be still known.
        let (count, _) = seen.entry((write.key, write.what)).or_default();
        *count = write.count.max(*count);
    }
    let mut found: Vec<_> = seen.into_iter().filter(|(_, (count, _))| *count > 0).collect();
    found.sort_by_key(|((_, what), _)| *what);
    let found = found.into_iter();
    found
        .map(|((key, what), (count, latest))| unsafe_write(facts, key, what, count, latest))
        .collect()
}

/// That so many SYNs to a destination carried it.
fn unsafe_write(facts: &Facts<'_>, key: DestKey, what: &str, count: u64, example: Option<&Flow>) -> Finding {
    let subject = Subject::Destination {
        cgroup_id: Some(key.cgroup_id),
        remote: addr::ip(&key.remote, key.family),
        port: Some(key.port),
    };
    // A capture knows no service that a rule could be for.
    let row = facts.clients().find(|row| row.key == key && key.cgroup_id != 0);
    let fix = match row {
        Some(row) => fix::keep_data_back(facts, row),
        None => Fix::advice("Fast Open only for requests that may be done twice (RFC 7413 section 6.1)"),
    };
    let (syns, carried) = match count {
        1 => ("SYN", "it"),
        _ => ("SYNs", "each"),
    };
    Finding::new(
        facts,
        Id::NotIdempotent,
        subject,
        format!("{count} {syns} carried what looks like {what}: {carried} may be done twice."),
    )
    .rows(vec![key])
    .count("unsafe", count)
    .line(format!("SYN data that begins like {what} {count}"))
    .example(example)
    .or_else("other data that happens to begin with the same letters")
    .excluded("methods that may be repeated, a TLS ClientHello, a DNS query")
    .fix(fix)
}

/// key-in-use.
fn keys(facts: &Facts<'_>) -> Vec<Finding> {
    let found = facts.host_facts.keys.as_deref().unwrap_or_default();
    found
        .iter()
        .map(|key| {
            let subject = match key.port {
                Some(port) => Subject::Listener {
                    cgroup_id: 0,
                    netns: Some(key.netns),
                    local: None,
                    port,
                },
                None => Subject::Host {
                    netns: Some(key.netns).filter(|netns| *netns != facts.host.netns),
                },
            };
            let backup = key
                .backup
                .as_ref()
                .map_or_else(String::new, |backup| format!(", backup {backup}"));
            Finding::new(
                facts,
                Id::KeyInUse,
                subject,
                format!("The key in use has the fingerprint {}{backup}.", key.primary),
            )
            .line(format!("fingerprint {}{backup}", key.primary))
            .confidence(Confidence::High)
        })
        .collect()
}
