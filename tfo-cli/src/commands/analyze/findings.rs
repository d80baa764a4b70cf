//! What is wrong, by the diagnoses of `diagnose`, from the verdicts of a capture.

use std::sync::Arc;

use tfo_common::event::Record;

use crate::{
    capture::{Counts, Judged, tally::Tally},
    model::{Model, Snapshot, networks::Networks},
};

/// What the diagnoses need.
#[derive(Default)]
pub struct Findings {
    tally: Tally,
    model: Model,
}

impl Findings {
    /// Nothing yet; what networks are called.
    pub fn new(networks: Arc<Networks>) -> Self {
        let mut findings = Self::default();
        findings.model.set_networks(networks);
        findings
    }

    /// Takes one end of a connection.
    pub fn add(&mut self, judged: &Judged) {
        self.tally.add(judged);
        if judged.outcome.is_ok_and(|outcome| !outcome.is_plain()) {
            self.model.fold(&Record::Flow(judged.event));
        }
    }

    /// The end of the capture: its last state, with all that was found, worst first.
    pub fn judge(mut self, counts: &Counts) -> Snapshot {
        // Counting began with the first packet.
        let begin = Tally::default();
        let first_ns = counts.first_ns.unwrap_or_default().max(1);
        self.model.read(begin.reading(first_ns, &Counts::default()));
        self.model
            .read(self.tally.reading(counts.last_ns.max(first_ns), counts));
        self.model.note_host_facts(self.tally.host_facts());
        self.model.diagnose();
        self.model.snapshot()
    }
}
