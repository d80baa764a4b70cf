//! `run` for programs: findings as `diagnose` has them, then one object with `type` `run`.

use std::{
    borrow::Cow,
    io::{self, Write},
};

use serde::Serialize;
use tfo_common::Role;

use super::{
    diagnosis_json,
    json::{SCHEMA, write_line},
    names::{ByReason, ByRole},
    run_report::{Ended, RunReport, Sums},
};
use crate::model::diagnosis::Severity;

/// The last line. Absent values are `null`, never left out.
#[derive(Clone, Debug, Serialize)]
struct RunRecord<'a> {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    command: Vec<Cow<'a, str>>,
    /// `null` where a signal ended the command.
    exit_code: Option<u8>,
    /// `null` where it ended by itself.
    signal: Option<i32>,
    elapsed_us: u128,
    /// Connections by role and outcome.
    totals: ByRole<'a>,
    client: SumsRecord,
    server: SumsRecord,
    /// Findings by severity.
    fail: usize,
    warn: usize,
    info: usize,
    left_behind: usize,
    /// What did not arrive, by reason.
    lost: ByReason<'a>,
    /// Why the counts may be incomplete.
    trouble: Option<&'a str>,
}

#[derive(Clone, Copy, Debug, Serialize)]
struct SumsRecord {
    connections: u64,
    syn_bytes: u64,
    syn_bytes_accepted: u64,
    saved_us: u64,
    lost_us: u64,
}

impl From<Sums> for SumsRecord {
    fn from(sums: Sums) -> Self {
        Self {
            connections: sums.connections,
            syn_bytes: sums.syn_bytes,
            syn_bytes_accepted: sums.syn_bytes_accepted,
            saved_us: sums.saved_us,
            lost_us: sums.lost_us,
        }
    }
}

/// Writes the lines.
pub fn write(report: &RunReport<'_>, out: &mut dyn Write) -> io::Result<()> {
    let snapshot = report.snapshot;
    for finding in &snapshot.diagnosis.findings {
        diagnosis_json::write_finding(finding, snapshot, out)?;
    }
    let (exit_code, signal) = match report.ended {
        Ended::Exit(code) => (Some(code), None),
        Ended::Signal(signal) => (None, Some(signal)),
    };
    write_line(
        &RunRecord {
            schema: SCHEMA,
            r#type: "run",
            id: "run",
            command: report.command.iter().map(|word| word.to_string_lossy()).collect(),
            exit_code,
            signal,
            elapsed_us: report.elapsed.as_micros(),
            totals: ByRole(&snapshot.totals),
            client: report.sums(Role::Client).into(),
            server: report.sums(Role::Server).into(),
            fail: snapshot.diagnosis.count(Severity::Fail),
            warn: snapshot.diagnosis.count(Severity::Warn),
            info: snapshot.diagnosis.count(Severity::Info),
            left_behind: report.left_behind,
            lost: ByReason(&snapshot.losses),
            trouble: report.trouble.as_deref(),
        },
        out,
    )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::fake::Scenario;

    #[test]
    fn the_last_line_has_every_field_of_schema_1() {
        let snapshot = Scenario::default().model(5).snapshot();
        let command = ["curl".into()];
        let report = RunReport {
            command: &command,
            ended: Ended::Signal(15),
            elapsed: Duration::from_millis(20),
            left_behind: 0,
            trouble: None,
            snapshot: &snapshot,
        };
        let mut out = Vec::new();
        write(&report, &mut out).expect("memory takes it");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        insta::assert_snapshot!(text.lines().last().unwrap_or_default());
    }
}
