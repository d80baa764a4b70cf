//! SYNs that go unanswered because of what they carry, and SYNs that are too long for the path.
//!
//! A lost SYN by itself says nothing: paths lose SYNs of every kind. What is blamed here is lost more often than SYNs
//! without Fast Open to the same address are, and not all at one moment.

use tfo_common::Outcome;

use super::{
    super::{
        Confidence, CostKind, Facts, Finding, Fix, Id, Severity,
        facts::{chance, is_over},
        fix,
        threshold::{
            ASSUMED_LOSS, BEFORE_TIMER_US, CERTAIN_LEAST, PATH_BROKEN_SHARE, PATH_LEAST, PATH_LEAST_UNTIMED,
            PATH_MOMENTS, PMTU_LEAST,
        },
    },
    data_syns, destination, moments,
};
use crate::model::{DestRow, Flow};

/// SYNs of one kind, and those of them that went unanswered.
struct Tally<'a> {
    lost: u64,
    sent: u64,
    /// The lost ones that are still known one by one.
    flows: Vec<&'a Flow>,
}

/// path-drops-tfo-option, or path-drops-syn-data.
pub fn syns(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let (data, bare) = tallies(facts, row);
    // A path that drops the option drops it with data as well: look for the wider fault first.
    judge(facts, row, Id::PathDropsTfoOption, &bare).or_else(|| {
        judge(facts, row, Id::PathDropsSynData, &data).map(|finding| about_option(finding, &bare))
    })
}

/// Sent again sooner than any timer: an ICMP error did it (`tcp_v4_mtu_reduced`, `tcp_simple_retransmit`).
fn is_early(flow: &Flow) -> bool {
    flow.event().syn_data_len > 0 && flow.event().lost_us < BEFORE_TIMER_US
}

fn timeouts<'a>(facts: &Facts<'a>, row: &DestRow) -> Vec<&'a Flow> {
    let flows = facts.flows(&row.key).iter().copied();
    flows
        .filter(|flow| flow.outcome() == Outcome::SynTimeout)
        .collect()
}

/// syn-data-over-pmtu.
pub fn over_pmtu(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let early: Vec<&Flow> = timeouts(facts, row)
        .into_iter()
        .filter(|flow| is_early(flow))
        .collect();
    if early.len() < PMTU_LEAST {
        return None;
    }
    let count = early.len() as u64;
    let shortest = early
        .iter()
        .map(|flow| flow.event().syn_data_len)
        .min()
        .unwrap_or(0);
    let lost_us = early
        .iter()
        .map(|flow| u64::from(flow.event().lost_us))
        .sum::<u64>()
        / count;
    Some(
        Finding::new(
            facts,
            Id::SynDataOverPmtu,
            destination(row),
            format!("{count} SYNs with {shortest} bytes of data or more were too long for the path, and sent again without."),
        )
        .rows(vec![row.key])
        .count("sent-again", count)
        .count("sent", data_syns(row))
        .line(format!("sent again within {} ms {count}", BEFORE_TIMER_US / 1_000))
        .line(format!("bytes in the shortest of them {shortest}"))
        .example(early.last().copied())
        .excluded("a path that drops SYN data: its SYNs are sent again by the timer, after a second")
        .cost(facts, CostKind::Lost, lost_us, count)
        .fix(Fix {
            command: Some(format!("ip route get {}", row.remote())),
            what: "shows the route; set `mtu` or `advmss` on it (`ip route change ... mtu N`), or make the first write \
                   smaller"
                .into(),
            undo: "`ip route change` with the route as it was".into(),
            is_rule: false,
        })
        .over(is_over(facts.flows(&row.key), |flow| {
            flow.outcome() == Outcome::SynTimeout && is_early(flow)
        })),
    )
}

/// SYNs with data and SYNs with the option alone. The table counts both together; the flows that are still known
/// say in which proportion.
fn tallies<'a>(facts: &Facts<'a>, row: &DestRow) -> (Tally<'a>, Tally<'a>) {
    let all = timeouts(facts, row);
    let known = all.len() as u64;
    let (late, _): (Vec<&Flow>, Vec<&Flow>) = all.into_iter().partition(|flow| !is_early(flow));
    let (with_data, without): (Vec<&Flow>, Vec<&Flow>) =
        late.into_iter().partition(|flow| flow.event().syn_data_len > 0);
    let counted = row.count(Outcome::SynTimeout);
    let part = |flows: &[&Flow]| match known {
        0 => 0,
        known => counted * flows.len() as u64 / known,
    };
    let lost_bare = part(&without);
    let lost_data = if known == 0 { counted } else { part(&with_data) };
    let answered = |outcomes: &[Outcome]| outcomes.iter().map(|outcome| row.count(*outcome)).sum::<u64>();
    let answered_data = data_syns(row) - counted;
    let answered_bare = answered(&[
        Outcome::CookieGranted,
        Outcome::CookieRefused,
        Outcome::CookieOnly,
    ]);
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

/// The SYN that is sent again has neither data nor option: which of the two the path takes offence at, only SYNs with the
/// option and no data tell.
fn about_option(finding: Finding, bare: &Tally<'_>) -> Finding {
    match bare.sent - bare.lost {
        0 => finding.or_else(
            "a path that drops the option, with data or without: where the rule does not help, `--action strip` does",
        ),
        answered => finding.excluded(format!(
            "a path that drops the option: {answered} SYNs with the option and no data were answered"
        )),
    }
}

fn judge(facts: &Facts<'_>, row: &DestRow, id: Id, tally: &Tally<'_>) -> Option<Finding> {
    let baseline = facts.baseline(row.remote());
    let once = tally.flows.iter().filter(|flow| flow.event().syn_retrans == 1);
    let moments = moments(once.map(|flow| flow.event().start_ns).collect());
    let is_spread = if tally.flows.is_empty() {
        tally.lost >= PATH_LEAST_UNTIMED
    } else {
        moments >= PATH_MOMENTS
    };
    if tally.lost < PATH_LEAST
        || !is_spread
        || chance(tally.lost, tally.sent, baseline.loss()) > facts.alarm()
    {
        return None;
    }
    let (lost, sent) = (tally.lost, tally.sent);
    let is_data = id == Id::PathDropsSynData;
    let sentence = if is_data {
        format!("{lost} of {sent} SYNs with data got no answer; the bare SYN after it did.")
    } else {
        format!(
            "{lost} of {sent} SYNs with the Fast Open option and no data got no answer; without the option they did."
        )
    };
    let granted = row.count(Outcome::CookieGranted);
    let mut finding = Finding::new(facts, id, destination(row), sentence)
        .rows(vec![row.key])
        .severity(if lost as f64 >= PATH_BROKEN_SHARE * sent as f64 {
            Severity::Fail
        } else {
            Severity::Warn
        })
        .count("unanswered", lost)
        .count("sent", sent)
        .count("baseline", baseline.sent())
        .count("baseline-lost", baseline.lost())
        .count("cookie-granted", granted)
        .line(format!("unanswered {lost} of {sent}"))
        .line(format!(
            "SYNs without Fast Open to the address lost {} of {}",
            baseline.lost(),
            baseline.sent()
        ))
        .example(tally.flows.last().copied())
        .confidence(
            match (
                baseline.is_enough(),
                lost >= CERTAIN_LEAST,
                moments >= PATH_MOMENTS,
            ) {
                (true, true, true) => Confidence::High,
                (_, true, true) | (true, _, true) => Confidence::Medium,
                _ => Confidence::Low,
            },
        )
        .cost(facts, CostKind::Lost, mean_lost_us(row, tally), lost)
        .fix(fix::rule(
            facts,
            row,
            if is_data {
                fix::Action::NoData
            } else {
                fix::Action::Strip
            },
        ))
        .over(is_over(facts.flows(&row.key), |flow| {
            flow.outcome() == Outcome::SynTimeout && (flow.event().syn_data_len > 0) == is_data
        }));
    if granted > 0 {
        finding = finding.line(format!("cookie requests answered {granted}"));
    }
    if baseline.is_enough() {
        finding = finding.excluded(format!(
            "random loss: of {} SYNs without Fast Open to this address {} were lost ({} plain, {} sent after an \
             unanswered one)",
            baseline.sent(),
            baseline.lost(),
            baseline.plain,
            baseline.bare
        ));
    } else {
        finding = finding
            .excluded(format!("random loss of up to {:.0} %", ASSUMED_LOSS * 100.0))
            .or_else(format!(
                "heavy loss of every SYN: there are only {} without Fast Open to compare with",
                baseline.sent()
            ));
    }
    if moments >= PATH_MOMENTS {
        finding = finding.excluded(format!("one outage: it happened at {moments} different moments"));
    }
    if is_data {
        finding = finding.excluded("lost SYN-ACKs: none of the data was acked");
    }
    Some(finding)
}

fn mean_lost_us(row: &DestRow, tally: &Tally<'_>) -> u64 {
    let known: u64 = tally
        .flows
        .iter()
        .map(|flow| u64::from(flow.event().lost_us))
        .sum();
    known
        .checked_div(tally.flows.len() as u64)
        .unwrap_or_else(|| row.lost_us / row.count(Outcome::SynTimeout).max(1))
}
