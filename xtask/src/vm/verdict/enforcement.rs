//! Checks the output of the policy commands in the machine.

use serde_json::Value;

use crate::vm::{expected, release::Series, serial::Serial};

/// Counters that must not be 0 after the connections of `tfo-lab vm-denied`.
const NOT_ZERO: [&str; 3] = ["denied", "pushed", "stripped"];
/// Counters that must be 0 after them.
const ZERO: [&str; 5] = [
    "push_failed",
    "passed_at_risk",
    "passed_no_mark",
    "strip_failed",
    "strip_missed",
];

/// Counters that a kernel without the push has the other way round.
const WITHOUT_PUSH: [&str; 3] = ["pushed", "push_failed", "passed_at_risk"];

/// The findings.
pub fn problems(serial: &Serial, series: Series) -> Vec<String> {
    let mut problems = Vec::new();
    let text: String = serial.lines("counters").collect();
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    let is_turned = |name: &str| !expected::has_push(series) && WITHOUT_PUSH.contains(&name);
    for (names, is_counted) in [(&NOT_ZERO[..], true), (&ZERO, false)] {
        for name in names {
            match list["counters"][name].as_u64() {
                Some(count) if (count > 0) == (is_counted != is_turned(name)) => {}
                count => problems.push(format!("policy: counter {name} is {count:?}")),
            }
        }
    }
    let is_open =
        |line: &str| line.starts_with("127.0.0.4:") && line.split_whitespace().any(|word| word == "open");
    if !serial.lines("policy").any(is_open) {
        problems.push("guard: three connections were refused, and it is not open".to_owned());
    }
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"counters":{"denied":4,"pushed":4,"stripped":1,"push_failed":0,"passed_at_risk":0,"passed_no_mark":0,"strip_failed":0,"strip_missed":0}}"#;
    const OPEN: &str = "127.0.0.4:4711  open  no-data  3/3";

    fn found(counters: &str, policy: &str) -> Vec<String> {
        let log = format!("=== vm: counters\r\n{counters}\r\n=== vm: policy\r\n{policy}\r\n=== vm: end\r\n");
        problems(&Serial::parse(&log).unwrap(), Series::new(6, 12))
    }

    #[test]
    fn counters_and_the_guard_are_looked_at() {
        assert_eq!(found(GOOD, OPEN), Vec::<String>::new());
        let missed = found(&GOOD.replace("\"strip_missed\":0", "\"strip_missed\":1"), OPEN);
        assert_eq!(missed, ["policy: counter strip_missed is Some(1)"]);
        let closed = found(GOOD, "127.0.0.4:4711  closed  -  1/3");
        assert!(closed[0].contains("not open"), "{closed:?}");
        assert_eq!(found("", OPEN).len(), NOT_ZERO.len() + ZERO.len());
    }

    #[test]
    fn without_the_push_sockets_at_risk_pass_and_are_counted() {
        let counters = GOOD
            .replace("\"pushed\":4", "\"pushed\":0")
            .replace("\"push_failed\":0", "\"push_failed\":3")
            .replace("\"passed_at_risk\":0", "\"passed_at_risk\":2");
        let log = format!("=== vm: counters\r\n{counters}\r\n=== vm: policy\r\n{OPEN}\r\n=== vm: end\r\n");
        let serial = Serial::parse(&log).unwrap();
        assert_eq!(problems(&serial, Series::new(5, 10)), Vec::<String>::new());
        assert_eq!(problems(&serial, Series::new(6, 1)).len(), 3);
    }
}
