//! What is wrong with Fast Open here, and what to do about it: named findings with their evidence.
//!
//! Pure: facts of the model go in ([`Facts`]), a [`Report`] comes out. What each diagnosis is called, how bad it is,
//! what it looks like and what mends it stands in one table ([`registry`]); the thresholds are constants of
//! [`threshold`]. A fact nobody looked at is no evidence for anything: diagnoses that need it are listed with the
//! reason in [`Report::unlooked`].

mod client;
mod cookies;
mod facts;
mod finding;
mod fix;
pub mod looked;
pub mod marks;
mod path;
pub mod registry;
mod server;
pub mod threshold;
mod worth;

use std::collections::HashMap;

pub use self::{
    facts::Facts,
    finding::{Confidence, Cost, CostKind, Evidence, Finding, Fix, Subject},
    looked::{Looked, Seen},
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

    /// The worst finding about a row of the destination table.
    pub fn of_row(&self, key: &tfo_common::DestKey) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.rows.contains(key))
    }
}

/// Looks at the facts.
pub fn diagnose(facts: &Facts<'_>) -> Report {
    let mut findings = Vec::new();
    for find in [path::find, server::find, cookies::find, client::find, worth::find] {
        find(facts, &mut findings);
    }
    findings.sort_by(Finding::compare);
    let more = keep_the_worst(&mut findings);
    Report {
        findings,
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
