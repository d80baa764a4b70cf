//! Compares the connections that the scenario made in a machine with the records of `tfo-cli trace`.

mod connection;
mod crowd;
mod enforcement;
mod programs;

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::connection::Connection;
pub use self::programs::Program;
use super::expected;
use super::release::Series;
use super::serial::Serial;

/// The port on which `init.sh` listens before tfo-cli attaches.
const EARLY_PORT: u64 = 4000;

/// The result of one boot.
#[derive(Debug)]
pub struct Verdict {
    pub connections: usize,
    pub records: usize,
    /// The degradations that tfo-cli reported, each as `NAME: WHY`.
    pub degradations: Vec<String>,
    /// What the kernel did with each BPF program.
    pub programs: Vec<Program>,
    /// The findings; each is a reason to fail.
    pub problems: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            records,
            degradations,
            problems,
            programs: _,
        } = self;
        let (degraded, wrong) = (degradations.len(), problems.len());
        write!(
            f,
            "{connections} connections, {records} records, {degraded} degradations, {wrong} findings"
        )
    }
}

impl Verdict {
    pub fn of(serial: &Serial, series: Series) -> Result<Self> {
        let text_of = |section: &str| serial.lines(section).collect::<Vec<_>>().join("; ");
        ensure!(
            serial.lines("trace-stderr").any(|line| line.contains("attached")),
            "tfo-cli trace did not attach: {}",
            text_of("trace-stderr")
        );
        let expected: Vec<_> = serial
            .lines("scenario")
            .chain(serial.lines("denied"))
            .map(Connection::parse)
            .map(|parsed| {
                if expected::has_push(series) {
                    parsed
                } else {
                    parsed.map(Connection::without_push)
                }
            })
            .collect::<Result<_>>()
            .context("the scenario's output")?;
        let records: Vec<Value> = serial
            .lines("trace")
            .map(|line| serde_json::from_str(line).with_context(|| format!("tfo-cli trace printed `{line}`")))
            .collect::<Result<_>>()?;
        let programs: Vec<_> = serial
            .lines("programs")
            .map(Program::parse)
            .collect::<Result<_>>()
            .with_context(|| format!("tfo-cli debug programs: {}", text_of("programs-stderr")))?;

        let degradations: Vec<_> = serial.lines("trace-stderr").filter_map(degradation).collect();
        // On a kernel that cannot prime listeners, the early one's connection is missed: that has to
        // be named, counted as lost, and told by the exit code.
        let unprimed =
            !records.iter().any(is_early) && degradations.iter().any(|line| line.contains("listener"));

        let mut problems = expected::problems(series, &degradations);
        if programs.is_empty() {
            problems.push(format!(
                "no figures of the verifier: {}",
                text_of("programs-stderr")
            ));
        }
        problems.extend(programs.iter().filter_map(|program| program.problem(series)));
        for (program, should) in [
            ("trace", i32::from(unprimed)),
            ("scenario", 0),
            ("crowd", 0),
            ("denied", 0),
            ("policy", 0),
        ] {
            let is = serial.exit_code(program);
            if is != Some(should) {
                // What the policy commands say is all in one place.
                let section = if program == "policy" {
                    program.to_owned()
                } else {
                    format!("{program}-stderr")
                };
                let mut output = text_of(&section);
                if program == "denied" {
                    output = format!("{output}; {}", text_of("policy"));
                }
                let is = is.map_or_else(|| "no exit code".to_owned(), |code| format!("exit code {code}"));
                problems.push(format!("{program}: {is}, should be {should}: {output}"));
            }
        }
        problems.extend(enforcement::problems(serial, series));
        problems.extend(crowd::problems(serial));
        if expected.is_empty() {
            problems.push("the scenario made no connection".to_owned());
        }
        if !unprimed && !records.iter().any(is_early) {
            problems.push(
                "a connection to a listener from before attach was missed, and no degradation says so"
                    .to_owned(),
            );
        }
        match records.iter().find(|record| record["type"] == "summary") {
            None => problems.push("the trace has no summary".to_owned()),
            Some(summary) => problems.extend(lost(summary, unprimed)),
        }
        problems.extend(
            expected
                .iter()
                .flat_map(|connection| connection.problems(&records)),
        );
        Ok(Self {
            connections: expected.len(),
            records: records.iter().filter(|record| record["type"] == "flow").count(),
            degradations,
            programs,
            problems,
        })
    }
}

fn degradation(line: &str) -> Option<String> {
    line.strip_prefix("tfo-cli: degraded: ").map(str::to_owned)
}

/// The server's record of the connection to the early listener.
fn is_early(record: &Value) -> bool {
    record["role"] == "server" && record["local_port"] == EARLY_PORT
}

/// Events that were lost; on a kernel without listener priming, one unprimed listener is expected.
fn lost(summary: &Value, unprimed: bool) -> Vec<String> {
    let reasons = summary["lost"].as_object().into_iter().flatten();
    reasons
        .filter(|(reason, count)| {
            count.as_u64() != Some(u64::from(unprimed && *reason == "unprimed-listener"))
        })
        .map(|(reason, count)| format!("lost by {reason}: {count}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = r#"{"outcome":"accepted","option_sent":"cookie","option_kind":34,"syn_data_len":5,"syn_data_acked":5,"cookie_in_syn_ack":false}"#;
    const COUNTERS: &str = r#"{"counters":{"denied":4,"pushed":4,"stripped":1,"push_failed":0,"passed_at_risk":0,"passed_no_mark":0,"strip_failed":0,"strip_missed":0}}"#;
    const CROWD: &str = concat!(
        "=== vm: crowd\r\n{\"handshakes\":9,\"listeners\":80}\r\n=== vm: crowd-trace\r\n",
        r#"{"type":"summary","lost":{"request-evicted":3,"request-insert":0,"listener-evicted":16},"#,
        r#""totals":{"server":{"cookie-granted":6,"plain":3,"accepted":80}}}"#
    );
    const PROGRAM: &str = r#"{"object":"tfo-ebpf","program":"tfo_x","instructions":9,"jited_bytes":9,"verified_insns":9,"refused":null,"bound":50000}"#;
    const DEGRADED: &str = "tfo-cli: attached\r\ntfo-cli: degraded: listener-priming: too old";
    const EARLY: &str =
        r#"{"type":"flow","role":"server","local_port":4000,"remote_port":9,"outcome":"plain"}"#;
    const LOST_NOTHING: &str = r#"{"type":"summary","lost":{"ring-full":0,"unprimed-listener":0}}"#;
    const LOST_EARLY: &str = r#"{"type":"summary","lost":{"ring-full":0,"unprimed-listener":1}}"#;

    /// The problems of a machine in which the scenario made one accepted connection.
    fn problems(stderr: &str, records: &[&str], trace_exit: i32) -> Vec<String> {
        let scenario = format!(
            r#"{{"scenario":"accepted","family":4,"tfo_requested":true,"client":{VIEW},"server":{VIEW},"report":{{"local":"127.0.0.1:4711","remote":"127.0.0.1:80"}}}}"#
        );
        let trace = records.join("\r\n");
        let log = format!(
            "=== vm: trace-stderr\r\n{stderr}\r\n=== vm: scenario\r\n{scenario}\r\n=== vm: trace\r\n{trace}\r\n\
             === vm: counters\r\n{COUNTERS}\r\n=== vm: policy\r\n127.0.0.4:80  open  no-data\r\n\
             {CROWD}\r\n=== vm: programs\r\n{PROGRAM}\r\n=== vm: exit\r\ntrace {trace_exit}\r\nscenario 0\r\ncrowd 0\r\ndenied 0\r\npolicy 0\r\n=== vm: end\r\n"
        );
        // A kernel without listener priming, or one with it.
        let series = if stderr.contains("degraded") {
            Series::new(6, 1)
        } else {
            Series::new(6, 12)
        };
        Verdict::of(&Serial::parse(&log).unwrap(), series)
            .unwrap()
            .problems
    }

    fn record(role: &str, outcome: &str) -> String {
        let (local, remote) = if role == "client" { (4711, 80) } else { (80, 4711) };
        format!(
            r#"{{"type":"flow","role":"{role}","local_addr":"127.0.0.1","remote_addr":"127.0.0.1","local_port":{local},"remote_port":{remote},"outcome":"{outcome}","option_sent":"cookie","option_kind":34,"syn_data_len":5,"syn_data_acked":5,"family":4,"tfo_requested":true,"cookie_received":false}}"#
        )
    }

    #[test]
    fn both_ends_as_predicted_is_fine() {
        let (client, server) = (record("client", "accepted"), record("server", "accepted"));
        let found = problems("tfo-cli: attached", &[&client, &server, EARLY, LOST_NOTHING], 0);
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_early_listener_that_is_missed_is_named_counted_and_told() {
        let (client, server) = (record("client", "accepted"), record("server", "accepted"));
        assert_eq!(
            problems(DEGRADED, &[&client, &server, LOST_EARLY], 1),
            Vec::<String>::new()
        );

        let silent = problems("tfo-cli: attached", &[&client, &server, LOST_NOTHING], 0);
        assert!(silent[0].contains("from before attach"), "{silent:?}");
        let not_told = problems(DEGRADED, &[&client, &server, LOST_EARLY], 0);
        assert!(not_told[0].contains("should be 1"), "{not_told:?}");
        let not_counted = problems(DEGRADED, &[&client, &server, LOST_NOTHING], 1);
        assert_eq!(not_counted, ["lost by unprimed-listener: 0"]);
    }

    #[test]
    fn a_missing_end_and_a_wrong_outcome_are_found() {
        let client = record("client", "syn-timeout");
        let found = problems("tfo-cli: attached", &[&client, EARLY, LOST_NOTHING], 0);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(
            found[0].contains("syn-timeout") && found[1].contains("no server record"),
            "{found:?}"
        );
    }

    #[test]
    fn a_failed_program_a_missing_summary_and_loss_are_found() {
        let (client, server) = (record("client", "accepted"), record("server", "accepted"));
        let found = problems("tfo-cli: attached", &[&client, &server, EARLY], 3);
        assert!(
            found[0].contains("exit code 3") && found[1].contains("no summary"),
            "{found:?}"
        );
        let lossy = r#"{"type":"summary","lost":{"ring-full":2}}"#;
        let found = problems("tfo-cli: attached", &[&client, &server, EARLY, lossy], 0);
        assert_eq!(found, ["lost by ring-full: 2"]);
    }

    #[test]
    fn not_attached_is_an_error_with_what_was_said() {
        let log = "=== vm: trace-stderr\ntfo-cli: kernel: no BTF\n=== vm: end\n";
        let error = Verdict::of(&Serial::parse(log).unwrap(), Series::new(6, 12)).unwrap_err();
        assert!(error.to_string().contains("no BTF"), "{error}");
    }
}
