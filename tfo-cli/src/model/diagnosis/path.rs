//! Faults between the hosts: SYNs that are lost because of what they carry.
//!
//! A lost SYN by itself says nothing: paths lose SYNs of every kind. What is blamed here is lost more often than plain
//! SYNs to the same address are, and not all at one moment.

use tfo_common::{Outcome, Role};

use super::{
    Confidence, Cost, CostKind, Evidence, Facts, Finding, Fix, Id, Severity, Subject,
    facts::chance,
    fix,
    threshold::{
        ASSUMED_LOSS, CERTAIN_LEAST, MOMENT_NS, OVER_AFTER, PATH_BROKEN_SHARE, PATH_LEAST,
        PATH_LEAST_UNTIMED, PATH_MOMENTS,
    },
};
use crate::model::{DestRow, Flow};

/// Looks at every destination of a client.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    for row in facts.rows.iter().filter(|row| row.role() == Role::Client) {
        if row.count(Outcome::SynTimeout) > 0 {
            findings.extend(lost_syns(facts, row));
        }
    }
}

/// SYNs of one kind, and those of them that went unanswered.
struct Tally<'a> {
    lost: u64,
    sent: u64,
    /// The lost ones that are still known one by one.
    flows: Vec<&'a Flow>,
}

/// path-drops-tfo-option, or path-drops-syn-data.
fn lost_syns(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let (data, bare) = tallies(facts, row);
    // A path that drops the option drops it with data as well: look for the wider fault first.
    judge(facts, row, Id::PathDropsTfoOption, &bare)
        .or_else(|| judge(facts, row, Id::PathDropsSynData, &data))
}

/// SYNs with data and SYNs with the option alone. The table counts both together; the flows that are still known
/// say in which proportion.
fn tallies<'a>(facts: &Facts<'a>, row: &DestRow) -> (Tally<'a>, Tally<'a>) {
    let timeouts: Vec<&Flow> = facts
        .flows(&row.key)
        .iter()
        .copied()
        .filter(|flow| flow.outcome() == Outcome::SynTimeout)
        .collect();
    let (with_data, without): (Vec<&Flow>, Vec<&Flow>) =
        timeouts.iter().partition(|flow| flow.event().syn_data_len > 0);
    let all = row.count(Outcome::SynTimeout);
    let lost_bare = match timeouts.len() as u64 {
        0 => 0,
        known => all * without.len() as u64 / known,
    };
    let lost_data = all - lost_bare;
    let answered_data: u64 = [
        Outcome::Accepted,
        Outcome::AcceptedLate,
        Outcome::PartlyAccepted,
        Outcome::DataRefused,
        Outcome::CookieRejected,
    ]
    .into_iter()
    .map(|outcome| row.count(outcome))
    .sum();
    let answered_bare: u64 = [
        Outcome::CookieGranted,
        Outcome::CookieRefused,
        Outcome::CookieOnly,
    ]
    .into_iter()
    .map(|outcome| row.count(outcome))
    .sum();
    (
        Tally {
            lost: lost_data,
            sent: lost_data + answered_data,
            flows: with_data,
        },
        Tally {
            lost: lost_bare,
            sent: lost_bare + answered_bare,
            flows: without,
        },
    )
}

fn judge(facts: &Facts<'_>, row: &DestRow, id: Id, tally: &Tally<'_>) -> Option<Finding> {
    let baseline = facts.baseline(row.remote());
    let once: Vec<u64> = tally
        .flows
        .iter()
        .filter(|flow| flow.event().syn_retrans == 1)
        .map(|flow| flow.event().start_ns)
        .collect();
    let moments = moments(once);
    let is_spread = if tally.flows.is_empty() {
        tally.lost >= PATH_LEAST_UNTIMED
    } else {
        moments >= PATH_MOMENTS
    };
    let chance = chance(tally.lost, tally.sent, baseline.loss());
    if tally.lost < PATH_LEAST || !is_spread || chance > facts.alarm() {
        return None;
    }
    let share = tally.lost as f64 / tally.sent as f64;
    let is_over = is_over(facts, row, tally);
    let mut severity = if share >= PATH_BROKEN_SHARE {
        Severity::Fail
    } else {
        Severity::Warn
    };
    if is_over {
        severity = Severity::Info;
    }
    let per_connection_us = mean_lost_us(row, tally);
    let mut excluded = Vec::new();
    let mut or_else = Vec::new();
    if baseline.is_enough() {
        excluded.push(format!(
            "random loss: of {} SYNs without Fast Open to this address {} were lost ({} plain, {} sent after an \
             unanswered one)",
            baseline.sent(),
            baseline.lost(),
            baseline.plain,
            baseline.bare
        ));
    } else {
        excluded.push(format!("random loss of up to {:.0} %", ASSUMED_LOSS * 100.0));
        or_else.push(format!(
            "heavy loss of every SYN: there are only {} without Fast Open to compare with",
            baseline.sent()
        ));
    }
    if moments >= PATH_MOMENTS {
        excluded.push(format!("one outage: it happened at {moments} different moments"));
    }
    if id == Id::PathDropsSynData {
        excluded.push("lost SYN-ACKs: none of the data was acked".to_owned());
    }
    let confidence = match (
        baseline.is_enough(),
        tally.lost >= CERTAIN_LEAST,
        moments >= PATH_MOMENTS,
    ) {
        (true, true, true) => Confidence::High,
        (_, true, true) | (true, _, true) => Confidence::Medium,
        _ => Confidence::Low,
    };
    Some(Finding {
        id,
        severity,
        subject: Subject::Destination {
            cgroup_id: Some(row.key.cgroup_id),
            remote: row.remote(),
            port: Some(row.key.port),
        },
        rows: vec![row.key],
        sentence: sentence(id, tally),
        evidence: evidence(facts, row, tally),
        excluded,
        or_else,
        confidence,
        cost: Some(Cost {
            kind: CostKind::Lost,
            per_connection_us,
            per_hour_us: facts.per_hour_us(per_connection_us.saturating_mul(tally.lost)),
        }),
        fix: Some(rule(facts, row, id)),
        is_over,
    })
}

fn sentence(id: Id, tally: &Tally<'_>) -> String {
    let (lost, sent) = (tally.lost, tally.sent);
    match id {
        Id::PathDropsTfoOption => {
            format!(
                "{lost} of {sent} SYNs with the Fast Open option and no data got no answer; without the option they did."
            )
        }
        _ => format!("{lost} of {sent} SYNs with data got no answer; the same SYN without data did."),
    }
}

fn evidence(facts: &Facts<'_>, row: &DestRow, tally: &Tally<'_>) -> Evidence {
    let baseline = facts.baseline(row.remote());
    let mut lines = vec![
        format!("unanswered {} of {}", tally.lost, tally.sent),
        format!(
            "SYNs without Fast Open to the address lost {} of {}",
            baseline.lost(),
            baseline.sent()
        ),
    ];
    if row.count(Outcome::CookieGranted) > 0 {
        lines.push(format!(
            "cookie requests answered {}",
            row.count(Outcome::CookieGranted)
        ));
    }
    Evidence {
        counts: vec![
            ("unanswered", tally.lost),
            ("sent", tally.sent),
            ("baseline", baseline.sent()),
            ("baseline-lost", baseline.lost()),
            ("cookie-granted", row.count(Outcome::CookieGranted)),
        ],
        lines,
        window_ns: facts.window_ns,
        example: tally.flows.last().map(|flow| **flow),
    }
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

/// Whether the latest attempts all went without it.
fn is_over(facts: &Facts<'_>, row: &DestRow, tally: &Tally<'_>) -> bool {
    let Some(last) = tally.flows.iter().map(|flow| flow.event().end_ns).max() else {
        return false;
    };
    let later = facts
        .flows(&row.key)
        .iter()
        .filter(|flow| flow.event().end_ns > last && !flow.outcome().is_plain());
    later.count() >= OVER_AFTER
}

fn mean_lost_us(row: &DestRow, tally: &Tally<'_>) -> u64 {
    let known: Vec<u64> = tally
        .flows
        .iter()
        .map(|flow| u64::from(flow.event().lost_us))
        .collect();
    match known.len() as u64 {
        0 => row.lost_us / row.count(Outcome::SynTimeout).max(1),
        count => known.iter().sum::<u64>() / count,
    }
}

/// A rule of the policy for this destination.
fn rule(facts: &Facts<'_>, row: &DestRow, id: Id) -> Fix {
    match id {
        Id::PathDropsTfoOption => fix::rule(facts, row, fix::Action::Strip),
        _ => fix::rule(facts, row, fix::Action::NoData),
    }
}
