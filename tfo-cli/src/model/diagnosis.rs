//! What is wrong with Fast Open here, and what to do about it: named findings with their evidence.
//!
//! Pure: facts of the model go in ([`Facts`]), a [`Report`] comes out. What each diagnosis is called, how bad it is,
//! what it looks like and what mends it stands in one table ([`registry`]); the thresholds are constants of
//! [`threshold`]. A fact nobody looked at is no evidence for anything: diagnoses that need it are listed with the
//! reason in [`Report::unlooked`].

mod facts;
mod finding;
mod fix;
mod path;
pub mod registry;
pub mod threshold;

pub use self::{
    facts::{Facts, Seen},
    finding::{Confidence, Cost, CostKind, Evidence, Finding, Fix, Subject},
    registry::{Id, Scope, Severity},
};

/// Everything that was found, worst first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// What is wrong, or worth knowing.
    pub findings: Vec<Finding>,
    /// Diagnoses that could not be made, and why.
    pub unlooked: Vec<(Id, &'static str)>,
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
    path::find(facts, &mut findings);
    findings.sort_by(Finding::compare);
    Report {
        findings,
        unlooked: facts.unlooked(),
        window_ns: facts.window_ns,
    }
}

#[cfg(test)]
mod tests;
