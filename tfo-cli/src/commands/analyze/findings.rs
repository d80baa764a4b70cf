//! What is wrong, by the diagnoses of `diagnose`, from the verdicts of a capture.

use std::net::IpAddr;

use tfo_common::event::Record;

use crate::{
    capture::{Counts, Judged, tally::Tally},
    model::{
        Flow, Model, Snapshot,
        diagnosis::{Confidence, Evidence, Finding, Fix, Id, Severity, Subject},
    },
};

/// What the diagnoses need.
#[derive(Default)]
pub struct Findings {
    tally: Tally,
    model: Model,
}

impl Findings {
    /// Takes one end of a connection.
    pub fn add(&mut self, judged: &Judged) {
        self.tally.add(judged);
        if judged.outcome.is_ok_and(|outcome| !outcome.is_plain()) {
            self.model.fold(&Record::Flow(judged.event));
        }
    }

    /// The end of the capture: its last state, with all that was found, worst first.
    pub fn judge(mut self, counts: &Counts) -> (Snapshot, Vec<Finding>) {
        // Counting began with the first packet.
        let begin = Tally::default();
        let first_ns = counts.first_ns.unwrap_or_default().max(1);
        self.model.read(begin.reading(first_ns, &Counts::default()));
        self.model
            .read(self.tally.reading(counts.last_ns.max(first_ns), counts));
        self.model.diagnose();
        let snapshot = self.model.snapshot();
        let mut findings = snapshot.diagnosis.findings.clone();
        findings.extend(of_tally(&self.tally, snapshot.elapsed_ns));
        findings.sort_by(Finding::compare);
        (snapshot, findings)
    }
}

/// What rode in SYNs and may not be sent twice.
pub fn of_tally(tally: &Tally, window_ns: u64) -> Vec<Finding> {
    let servers = tally.not_idempotent();
    servers
        .map(|(remote, port, count, latest)| not_idempotent(remote, port, count, latest, window_ns))
        .collect()
}

fn not_idempotent(remote: IpAddr, port: u16, count: u64, latest: Flow, window_ns: u64) -> Finding {
    Finding {
        id: Id::NotIdempotent,
        severity: Severity::Warn,
        subject: Subject::Destination {
            cgroup_id: None,
            remote,
            port: Some(port),
        },
        rows: Vec::new(),
        sentence: format!(
            "{count} SYNs carried the beginning of a request that may not be done twice, and the network may \
             deliver a SYN twice."
        ),
        evidence: Evidence {
            counts: vec![("not-idempotent", count)],
            lines: vec![format!(
                "SYNs whose data begins like POST, PATCH or a DNS update {count}"
            )],
            window_ns,
            example: Some(latest),
        },
        excluded: vec![
            "requests that may be done twice: GET, HEAD, PUT, a TLS ClientHello, a DNS query".to_owned(),
        ],
        or_else: vec!["an application that looks for duplicates itself".to_owned()],
        confidence: Confidence::Medium,
        cost: None,
        fix: Some(Fix {
            command: None,
            what: "use Fast Open only for requests that may be done twice (RFC 7413 section 6.1), or TLS"
                .to_owned(),
            undo: String::new(),
            is_rule: false,
        }),
        is_over: false,
    }
}
