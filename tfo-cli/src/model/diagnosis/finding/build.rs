//! How findings are put together: a name and a place, then what there is to say.

use tfo_common::DestKey;

use super::{Confidence, Cost, CostKind, Evidence, Finding, Fix, Subject};
use crate::model::{
    Flow,
    diagnosis::{Facts, Id, Severity},
};

impl Finding {
    /// As bad as the registry says, of medium confidence, with nothing to show yet.
    pub fn new(facts: &Facts<'_>, id: Id, subject: Subject, sentence: String) -> Self {
        Self {
            id,
            severity: id.entry().severity,
            subject,
            rows: Vec::new(),
            sentence,
            evidence: Evidence {
                window_ns: facts.window_ns,
                ..Evidence::default()
            },
            excluded: Vec::new(),
            or_else: Vec::new(),
            confidence: Confidence::Medium,
            cost: None,
            fix: None,
            is_over: false,
        }
    }

    /// Less bad here; never worse than the registry says.
    #[must_use]
    pub fn severity(mut self, severity: Severity) -> Self {
        self.severity = severity.min(self.id.entry().severity);
        self
    }

    /// Rows of the destination table it is about.
    #[must_use]
    pub fn rows(mut self, rows: Vec<DestKey>) -> Self {
        self.rows = rows;
        self
    }

    /// A count, for programs and, in words, for people.
    #[must_use]
    pub fn count(mut self, name: &'static str, count: u64) -> Self {
        self.evidence.counts.push((name, count));
        self
    }

    /// A line of evidence.
    #[must_use]
    pub fn line(mut self, line: impl Into<String>) -> Self {
        self.evidence.lines.push(line.into());
        self
    }

    /// A connection that shows it.
    #[must_use]
    pub fn example(mut self, flow: Option<&Flow>) -> Self {
        self.evidence.example = flow.copied();
        self
    }

    /// Another explanation that does not hold.
    #[must_use]
    pub fn excluded(mut self, text: impl Into<String>) -> Self {
        self.excluded.push(text.into());
        self
    }

    /// Another explanation that could not be ruled out.
    #[must_use]
    pub fn or_else(mut self, text: impl Into<String>) -> Self {
        self.or_else.push(text.into());
        self
    }

    /// How sure it is.
    #[must_use]
    pub fn confidence(mut self, confidence: Confidence) -> Self {
        self.confidence = confidence;
        self
    }

    /// What it costs: so much each, so many times in the window.
    #[must_use]
    pub fn cost(mut self, facts: &Facts<'_>, kind: CostKind, per_connection_us: u64, times: u64) -> Self {
        if per_connection_us > 0 {
            self.cost = Some(Cost {
                kind,
                per_connection_us,
                per_hour_us: facts.per_hour_us(per_connection_us.saturating_mul(times)),
            });
        }
        self
    }

    /// What mends it.
    #[must_use]
    pub fn fix(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    /// Says whether it has stopped: then it is only told.
    #[must_use]
    pub fn over(mut self, is_over: bool) -> Self {
        if is_over {
            self.is_over = true;
            self.severity = Severity::Info;
        }
        self
    }
}
