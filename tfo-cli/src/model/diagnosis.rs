//! What is wrong with Fast Open here, and what to do about it: named findings with their evidence.
//!
//! Pure: facts of the model go in ([`Facts`]), a [`Report`] comes out. What each diagnosis is called, how bad it is,
//! what it looks like and what mends it stands in one table ([`registry`]); the thresholds are constants of
//! [`threshold`]. A fact nobody looked at is no evidence for anything: diagnoses that need it are listed with the
//! reason in [`Report::unlooked`].

mod both_ends;
mod client;
mod cookies;
mod facts;
mod finding;
mod fix;
pub mod host_facts;
mod path;
pub mod plain_baselines;
pub mod registry;
mod server;
pub mod threshold;
mod worth;

use std::collections::HashMap;

use tfo_common::DestKey;

pub use self::{
    facts::Facts,
    finding::{Confidence, Cost, CostKind, Evidence, Finding, Fix, Subject},
    host_facts::{HostFact, HostFacts},
    registry::{Id, Scope, Severity},
};

/// Everything that was found, worst first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
    /// Diagnoses that could not be made, and why.
    pub unlooked: Vec<(Id, &'static str)>,
    /// How many more there are of a diagnosis of which only the worst were kept.
    pub more: Vec<(Id, usize)>,
    /// How long was watched, ns.
    pub window_ns: u64,
    /// The worst finding of each row that has one, as its place.
    by_row: HashMap<DestKey, usize>,
}

impl Report {
    /// Findings of this severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    }

    /// Whether something is broken: what scripts ask for by the exit code.
    pub fn has_failed(&self) -> bool {
        self.count(Severity::Fail) > 0
    }

    /// Findings about a row of the destination table, worst first.
    pub fn all_of_row(&self, key: &DestKey) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(|finding| finding.rows.contains(key))
    }

    /// The worst of them.
    pub fn of_row(&self, key: &DestKey) -> Option<&Finding> {
        let place = *self.by_row.get(key)?;
        self.findings.get(place)
    }

    /// The worst finding about a service that is more than worth knowing.
    pub fn of_service(&self, cgroup_id: u64) -> Option<&Finding> {
        self.findings.iter().find(|finding| {
            finding.severity > Severity::Info
                && (finding.subject.cgroup_id() == Some(cgroup_id)
                    || finding.rows.iter().any(|key| key.cgroup_id == cgroup_id))
        })
    }
}

/// Looks at the facts.
pub fn diagnose(facts: &Facts<'_>) -> Report {
    let mut findings = Vec::new();
    for find in [path::find, server::find, cookies::find, client::find, worth::find] {
        find(facts, &mut findings);
    }
    both_ends::merge(facts, &mut findings);
    findings.sort_by(Finding::compare);
    let more = keep_the_worst(&mut findings);
    let mut by_row = HashMap::new();
    for (place, finding) in findings.iter().enumerate() {
        for key in &finding.rows {
            by_row.entry(*key).or_insert(place);
        }
    }
    Report {
        findings,
        by_row,
        more,
        unlooked: facts.unlooked(),
        window_ns: facts.window_ns,
    }
}

/// Drops what is too much of one kind; returns how much that was.
fn keep_the_worst(findings: &mut Vec<Finding>) -> Vec<(Id, usize)> {
    let mut kept: HashMap<Id, usize> = HashMap::new();
    findings.retain(|finding| {
        let count = kept.entry(finding.id).or_default();
        *count += 1;
        *count <= threshold::MOST_OF_A_KIND
    });
    let mut more: Vec<(Id, usize)> = kept
        .into_iter()
        .filter_map(|(id, count)| Some((id, count.checked_sub(threshold::MOST_OF_A_KIND)?)))
        .filter(|(_, count)| *count > 0)
        .collect();
    more.sort_unstable();
    more
}

#[cfg(test)]
mod tests;
