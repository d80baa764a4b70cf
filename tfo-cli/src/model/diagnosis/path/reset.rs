//! SYNs with data that are answered by RST. A closed port answers so too: what succeeded meanwhile tells them apart.

use tfo_common::Outcome;

use super::{
    super::{
        Confidence, CostKind, Facts, Finding, Id,
        facts::is_over,
        fix,
        plain_baselines::Plain,
        threshold::{CERTAIN_LEAST, PATH_BROKEN_SHARE, PATH_MOMENTS, RESET_LEAST, RESET_OPEN},
    },
    destination, moments,
};
use crate::model::{DestRow, Flow};

/// reset-on-syn-data.
pub fn find(facts: &Facts<'_>, row: &DestRow) -> Option<Finding> {
    let flows = facts.flows(&row.key);
    let resets: Vec<&Flow> = flows
        .iter()
        .copied()
        .filter(|flow| flow.outcome() == Outcome::Reset)
        .collect();
    let (first, last) = (resets.first()?.event().start_ns, resets.last()?.event().start_ns);
    let moments = moments(resets.iter().map(|flow| flow.event().start_ns).collect());
    let tried = flows
        .iter()
        .filter(|flow| flow.event().start_ns >= first && flow.event().syn_data_len > 0)
        .count();
    let between =
        |flow: &&&Flow| flow.established() && flow.event().start_ns > first && flow.event().start_ns < last;
    let plain = facts.plain_baseline(&row.key).map_or(0, |baseline| {
        Plain::of(row)
            .count
            .min(baseline.last.since(baseline.shown).count)
    });
    let open = flows.iter().filter(between).count() as u64 + plain;
    let count = row.count(Outcome::Reset);
    if count < RESET_LEAST
        || moments < PATH_MOMENTS
        || open < RESET_OPEN
        || (resets.len() as f64) < PATH_BROKEN_SHARE * tried as f64
    {
        return None;
    }
    Some(
        Finding::new(
            facts,
            Id::ResetOnSynData,
            destination(row),
            format!("{count} SYNs with Fast Open were answered by RST, while {open} handshakes without data succeeded."),
        )
        .rows(vec![row.key])
        .count("reset", count)
        .count("sent", tried as u64)
        .count("open", open)
        .line(format!("RST in answer to a SYN with Fast Open {count}"))
        .line(format!("handshakes that succeeded between the first and the last of them {open}"))
        .example(resets.last().copied())
        .excluded("a closed port or a restart: the port was open between the first RST and the last")
        .excluded(format!("one moment: it happened at {moments}"))
        .confidence(if count >= CERTAIN_LEAST {
            Confidence::High
        } else {
            Confidence::Medium
        })
        .cost(facts, CostKind::Lost, 0, count)
        .fix(fix::rule(facts, row, fix::Action::NoData))
        .over(is_over(flows, |flow| flow.outcome() == Outcome::Reset)),
    )
}
