//! Faults between the hosts: SYNs that are lost, answered by RST or changed because of what they carry.

mod lost;
mod reset;

use tfo_common::{Outcome, TfoOption};

use super::{
    Confidence, CostKind, Facts, Finding, Fix, Id, Subject, fix,
    plain_baselines::Plain,
    threshold::{
        GRUDGE_AFTER, GRUDGE_BEFORE, GRUDGE_LEAST, MOMENT_NS, STRIPPED_LEAST, SYNACK_LEAST, SYNACK_SHARE,
    },
};
use crate::model::{DestRow, Flow};

/// Looks at every destination of a client, and at the ports of servers.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for row in facts.clients().filter(|row| row.attempts() > 0) {
        if row.count(Outcome::SynTimeout) > 0 {
            findings.extend(lost::over_pmtu(facts, row));
            findings.extend(lost::syns(facts, row));
        }
        if row.count(Outcome::Reset) > 0 {
            findings.extend(reset::find(facts, row));
        }
        findings.extend(synack_loss(facts, row));
        findings.extend(grudge(facts, row));
        findings.extend(other_option(facts, row));
    }
    findings.extend(stripped(facts));
}

/// What it is about.
fn destination(row: &DestRow) -> Subject {
    Subject::Destination {
        cgroup_id: Some(row.key.cgroup_id),
        remote: row.remote(),
        port: Some(row.key.port),
    }
}

/// SYNs with data that were answered, or not.
fn data_syns(row: &DestRow) -> u64 {
    row.sum(|outcome| outcome.syn_data().is_some())
}

/// How many moments the times fall into: a moment ends when a second has passed since its first.
fn moments(mut times: Vec<u64>) -> usize {
    times.sort_unstable();
    let mut count = 0;
    let mut from = None;
    for time in times {
        if from.is_none_or(|from| time >= from + MOMENT_NS) {
            count += 1;
            from = Some(time);
        }
    }
    count
}

/// The data arrived; what was lost is the answer.
fn synack_loss(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let (late, sent) = (row.count(Outcome::AcceptedLate), data_syns(row));
    if late < SYNACK_LEAST || (late as f64) < SYNACK_SHARE * sent as f64 {
        return None;
    }
    let flows = facts.flows(&row.key);
    let latest = flows
        .iter()
        .rev()
        .find(|flow| flow.outcome() == Outcome::AcceptedLate);
    let lost_us = latest.map_or(0, |flow| u64::from(flow.event().lost_us));
    Some(
        Finding::new(
            facts,
            Id::SynackLoss,
            destination(row),
            format!("{late} of {sent} SYN-ACKs were lost; the data of their SYNs had arrived."),
        )
        .rows(vec![row.key])
        .count("accepted-late", late)
        .count("sent", sent)
        .line(format!("data acked after a SYN retransmission {late} of {sent}"))
        .example(latest.copied())
        .excluded("a path that drops SYN data: there none of it is acked")
        .confidence(Confidence::High)
        .cost(facts, CostKind::Lost, lost_us, late)
        .fix(Fix::advice(
            "look at the way back from the server; Fast Open may stay on",
        )),
    )
}

/// Plain SYNs were answered before Fast Open failed for the first time, and are not since.
fn grudge(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let plain_baseline = facts.plain_baseline(&row.key)?;
    let (before, after) = (plain_baseline.first, Plain::of(row).since(plain_baseline.first));
    let share = |plain: Plain| plain.retrans as f64 / plain.count.max(1) as f64;
    if before.count < GRUDGE_LEAST
        || after.count < GRUDGE_LEAST
        || share(before) > GRUDGE_BEFORE
        || share(after) < GRUDGE_AFTER
    {
        return None;
    }
    Some(
        Finding::new(
            facts,
            Id::MiddleboxBlacklistsClient,
            destination(row),
            format!(
                "{} of {} plain SYNs were lost after the first failed attempt with Fast Open, {} of {} before it.",
                after.retrans, after.count, before.retrans, before.count
            ),
        )
        .rows(vec![row.key])
        .count("plain-before", before.count)
        .count("plain-lost-before", before.retrans)
        .count("plain-after", after.count)
        .count("plain-lost-after", after.retrans)
        .line(format!("plain SYNs lost before {} of {}", before.retrans, before.count))
        .line(format!("after {} of {}", after.retrans, after.count))
        .example(latest_failure(facts, row))
        .excluded("loss that was there before the first attempt")
        .or_else("an outage of this destination that began at the same moment")
        .confidence(Confidence::Low)
        .fix(fix::rule(facts, row, fix::Action::Strip)),
    )
}

fn latest_failure<'a>(facts: &Facts<'a>, row: &DestRow) -> Option<&'a Flow> {
    let mut flows = facts.flows(&row.key).iter().rev();
    flows
        .find(|flow| {
            matches!(
                flow.outcome(),
                Outcome::SynTimeout | Outcome::Reset | Outcome::Failed
            )
        })
        .copied()
}

/// Option 254 is asked for only after 34 went unanswered (`tcp_fastopen_cookie_set` with `try_exp`).
fn other_option(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let answered: Vec<&Flow> = facts
        .flows(&row.key)
        .iter()
        .copied()
        .filter(|flow| {
            flow.option_kind() == Some(254)
                && (flow.cookie_received() || flow.outcome().saves_round_trip())
                && flow.option() != TfoOption::None
        })
        .collect();
    let count = answered.len() as u64;
    (count >= STRIPPED_LEAST).then(|| {
        Finding::new(
            facts,
            Id::OptionStripped,
            destination(row),
            format!("The experimental option 254 is answered ({count} times), and 34 was not: the path takes 34 away."),
        )
        .rows(vec![row.key])
        .count("answered-254", count)
        .line(format!("option 254 answered {count} times; the kernel tries it only after 34 went unanswered"))
        .example(answered.last().copied())
        .excluded("a server without Fast Open: it answers neither option")
        .or_else("a server so old that it knows only the experimental option")
        .fix(Fix::advice("configure the middlebox to pass TCP option 34; Fast Open works meanwhile, with 254"))
    })
}

/// SYNs that arrived with data and without the option.
fn stripped(facts: &Facts<'_>) -> Vec<Finding> {
    let found = facts.services().filter_map(|(cgroup_id, port, service)| {
        let count = service.count(Outcome::OptionStripped);
        (count >= STRIPPED_LEAST).then(|| {
            Finding::new(
                facts,
                Id::OptionStripped,
                Subject::Listener {
                    cgroup_id,
                    netns: None,
                    local: None,
                    port,
                },
                format!("{count} SYNs arrived with data and without the Fast Open option."),
            )
            .rows(service.keys())
            .count("option-stripped", count)
            .count("attempts", service.attempts())
            .line(format!("SYNs with data and no option {count} of {}", service.attempts()))
            .example(service.latest(Outcome::OptionStripped))
            .or_else("clients in cookie-less mode (tcp_fastopen bit 0x4, TCP_FASTOPEN_NO_COOKIE) send no option either")
            .cost(facts, CostKind::NotSaved, service.rtt_us(), count)
            .fix(Fix::advice("configure the middlebox in front of this server to pass TCP option 34"))
            .over(service.is_over(Outcome::OptionStripped))
        })
    });
    found.collect()
}
