//! Holds what the scenario did in the machine against what `tfo-cli trace` recorded there.

use std::fmt;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::serial::Serial;

/// Fields of a record that the scenario predicts for each end, under the same name in both.
const PREDICTED: [&str; 5] = [
    "outcome",
    "option_sent",
    "option_kind",
    "syn_data_len",
    "syn_data_acked",
];

/// Where `init.sh` listens before the tool attaches.
const EARLY_PORT: u64 = 4000;

/// What became of one boot.
#[derive(Debug)]
pub struct Verdict {
    connections: usize,
    records: usize,
    /// What the tool said it cannot see on this kernel.
    pub degradations: Vec<String>,
    /// Each a reason to fail.
    pub problems: Vec<String>,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connections,
            records,
            degradations,
            problems,
        } = self;
        let (degraded, wrong) = (degradations.len(), problems.len());
        write!(
            f,
            "{connections} connections, {records} records, {degraded} degradations, {wrong} findings"
        )
    }
}

impl Verdict {
    pub fn of(serial: &Serial) -> Result<Self> {
        let said = |section: &str| serial.lines(section).collect::<Vec<_>>().join("; ");
        ensure!(
            serial.lines("trace-stderr").any(|line| line.contains("attached")),
            "tfo-cli trace did not attach: {}",
            said("trace-stderr")
        );
        let expected: Vec<_> = serial
            .lines("scenario")
            .map(Connection::parse)
            .collect::<Result<_>>()
            .context("the scenario's output")?;
        let records: Vec<Value> = serial
            .lines("trace")
            .map(|line| serde_json::from_str(line).with_context(|| format!("tfo-cli trace printed `{line}`")))
            .collect::<Result<_>>()?;

        let mut problems = Vec::new();
        for program in ["trace", "scenario"] {
            if serial.exit_code(program) != Some(0) {
                let code = serial
                    .exit_code(program)
                    .map_or_else(|| "none".to_owned(), |code| code.to_string());
                problems.push(format!(
                    "{program} ended with {code}: {}",
                    said(&format!("{program}-stderr"))
                ));
            }
        }
        if expected.is_empty() {
            problems.push("the scenario made no connection".to_owned());
        }
        if !records.iter().any(|record| record["type"] == "summary") {
            problems.push("the trace has no summary".to_owned());
        }
        for connection in &expected {
            problems.extend(connection.problems(&records));
        }
        let degradations: Vec<_> = serial.lines("trace-stderr").filter_map(degradation).collect();
        let early = records
            .iter()
            .any(|record| record["role"] == "server" && record["local_port"] == EARLY_PORT);
        if !early && !degradations.iter().any(|line| line.contains("listener")) {
            let problem =
                "the connection to a listener from before attach was missed, and no degradation says so";
            problems.push(problem.to_owned());
        }
        Ok(Self {
            connections: expected.len(),
            records: records.iter().filter(|record| record["type"] == "flow").count(),
            degradations,
            problems,
        })
    }
}

fn degradation(line: &str) -> Option<String> {
    line.starts_with("tfo-cli: degraded").then(|| line.to_owned())
}

/// A connection of the scenario: one line of `tfo-lab vm-scenario`.
struct Connection {
    name: String,
    /// The client's port tells the connections apart.
    port: u64,
    family: Value,
    tfo_requested: Value,
    client: Value,
    /// Null where the server never saw the connection.
    server: Value,
}

impl Connection {
    fn parse(line: &str) -> Result<Self> {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: `{line}`"))?;
        let name = value["scenario"].as_str().context("no string `scenario`")?;
        let local = value["report"]["local"]
            .as_str()
            .and_then(|address| address.rsplit_once(':'));
        let port = local.and_then(|(_, port)| port.parse().ok());
        Ok(Self {
            port: port.with_context(|| format!("no client port in `{line}`"))?,
            name: name.to_owned(),
            family: value["family"].clone(),
            tfo_requested: value["tfo_requested"].clone(),
            client: value["client"].clone(),
            server: value["server"].clone(),
        })
    }

    fn problems(&self, records: &[Value]) -> Vec<String> {
        let mut problems = Vec::new();
        for (role, port_field, view) in [
            ("client", "local_port", &self.client),
            ("server", "remote_port", &self.server),
        ] {
            if view.is_null() {
                continue;
            }
            let record = records
                .iter()
                .find(|record| record["role"] == role && record[port_field] == self.port);
            let Some(record) = record else {
                problems.push(format!(
                    "{}: no {role} record for client port {}",
                    self.name, self.port
                ));
                continue;
            };
            let mut predicted = PREDICTED.map(|field| (field, &view[field])).to_vec();
            predicted.push(("family", &self.family));
            if role == "client" {
                predicted.push(("tfo_requested", &self.tfo_requested));
                predicted.push(("cookie_received", &view["cookie_in_syn_ack"]));
            }
            for (field, should) in predicted {
                let is = &record[field];
                if is != should {
                    problems.push(format!(
                        "{}: {role} {field} is {is}, should be {should}",
                        self.name
                    ));
                }
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VIEW: &str = r#"{"outcome":"accepted","option_sent":"cookie","option_kind":34,"syn_data_len":5,"syn_data_acked":5,"cookie_in_syn_ack":false}"#;

    fn log(records: &[&str], trace_exit: i32) -> Serial {
        serial(
            records,
            trace_exit,
            "tfo-cli: attached\r\ntfo-cli: degraded: listeners: too old",
        )
    }

    fn serial(records: &[&str], trace_exit: i32, stderr: &str) -> Serial {
        let scenario = format!(
            r#"{{"scenario":"accepted","family":4,"tfo_requested":true,"client":{VIEW},"server":{VIEW},"report":{{"local":"127.0.0.1:4711"}}}}"#
        );
        let trace = records.join("\r\n");
        Serial::parse(&format!(
            "=== vm: trace-stderr\r\n{stderr}\r\n\
             === vm: scenario\r\n{scenario}\r\n=== vm: trace\r\n{trace}\r\n\
             === vm: exit\r\ntrace {trace_exit}\r\nscenario 0\r\n=== vm: end\r\n"
        ))
        .unwrap()
    }

    fn record(role: &str, outcome: &str) -> String {
        let (local, remote) = if role == "client" { (4711, 80) } else { (80, 4711) };
        format!(
            r#"{{"type":"flow","role":"{role}","local_port":{local},"remote_port":{remote},"outcome":"{outcome}","option_sent":"cookie","option_kind":34,"syn_data_len":5,"syn_data_acked":5,"family":4,"tfo_requested":true,"cookie_received":false}}"#
        )
    }

    const SUMMARY: &str = r#"{"type":"summary"}"#;

    #[test]
    fn both_ends_as_predicted_is_fine_and_degradations_are_kept() {
        let serial = log(
            &[
                &record("client", "accepted"),
                &record("server", "accepted"),
                SUMMARY,
            ],
            0,
        );
        let verdict = Verdict::of(&serial).unwrap();
        assert_eq!(verdict.problems, Vec::<String>::new());
        assert_eq!(verdict.degradations, ["tfo-cli: degraded: listeners: too old"]);
        assert_eq!((verdict.connections, verdict.records), (1, 2));
    }

    #[test]
    fn an_early_listener_is_seen_or_named() {
        let good = [
            record("client", "accepted"),
            record("server", "accepted"),
            SUMMARY.to_owned(),
        ];
        let mut lines: Vec<_> = good.iter().map(String::as_str).collect();
        let silent = serial(&lines, 0, "tfo-cli: attached");
        assert_eq!(Verdict::of(&silent).unwrap().problems.len(), 1);
        let early = r#"{"type":"flow","role":"server","local_port":4000,"remote_port":9,"outcome":"plain"}"#;
        lines.push(early);
        let seen = serial(&lines, 0, "tfo-cli: attached");
        assert_eq!(Verdict::of(&seen).unwrap().problems, Vec::<String>::new());
    }

    #[test]
    fn a_missing_end_and_a_wrong_outcome_are_found() {
        let verdict = Verdict::of(&log(&[&record("client", "syn-timeout"), SUMMARY], 0)).unwrap();
        assert_eq!(verdict.problems.len(), 2, "{:?}", verdict.problems);
        assert!(verdict.problems[0].contains("syn-timeout"));
        assert!(verdict.problems[1].contains("no server record"));
    }

    #[test]
    fn a_failed_program_or_a_missing_summary_is_found() {
        let serial = log(&[&record("client", "accepted"), &record("server", "accepted")], 3);
        let problems = Verdict::of(&serial).unwrap().problems;
        assert!(problems[0].contains("trace ended with 3"), "{problems:?}");
        assert!(problems[1].contains("no summary"), "{problems:?}");
    }

    #[test]
    fn not_attached_is_an_error_with_what_was_said() {
        let log = "=== vm: trace-stderr\ntfo-cli: kernel: no BTF\n=== vm: end\n";
        let error = Verdict::of(&Serial::parse(log).unwrap()).unwrap_err();
        assert!(error.to_string().contains("no BTF"), "{error}");
    }
}
