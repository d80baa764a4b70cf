//! Checks what a trace with tables of 64 entries says of more handshakes and listeners than fit.

use serde_json::Value;

use crate::vm::serial::Serial;

/// Entries of each LRU map (`TFO_LRU_ENTRIES` in `init.sh`).
const ENTRIES: u64 = 64;

/// The findings. Each handshake asked for a cookie: whose facts were dropped is taken for plain, and each of them has to
/// be counted.
pub fn problems(serial: &Serial) -> Vec<String> {
    let text: String = serial.lines("crowd").collect();
    let made: Value = serde_json::from_str(&text).unwrap_or_default();
    let summaries = serial
        .lines("crowd-trace")
        .filter_map(|line| serde_json::from_str(line).ok());
    let Some(summary) = summaries.last().filter(|one: &Value| one["type"] == "summary") else {
        return vec!["crowd: the trace has no summary".to_owned()];
    };
    let number = |value: &Value| value.as_u64().unwrap_or(0);
    let server = |outcome: &str| number(&summary["totals"]["server"][outcome]);
    let lost = |reason: &str| number(&summary["lost"][reason]);
    let (handshakes, listeners) = (number(&made["handshakes"]), number(&made["listeners"]));
    let (granted, plain) = (server("cookie-granted"), server("plain"));
    let dropped = lost("request-evicted") + lost("request-insert");
    let checks = [
        (
            handshakes > 0 && granted + plain == handshakes,
            format!("{handshakes} handshakes are {granted} granted and {plain} plain ones"),
        ),
        (
            plain > 0 && plain == dropped,
            format!("{plain} handshakes lost their facts, {dropped} are counted"),
        ),
        (
            server("accepted") == listeners,
            format!("{listeners} listeners accepted {}", server("accepted")),
        ),
        (
            lost("listener-evicted") + ENTRIES >= listeners && lost("listener-evicted") <= listeners,
            format!(
                "of {listeners} listeners {} are counted as dropped, and {ENTRIES} fit",
                lost("listener-evicted")
            ),
        ),
    ];
    let wrong = checks.into_iter().filter(|(is_right, _)| !is_right);
    wrong.map(|(_, what)| format!("crowd: {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(granted: u64, evicted: u64, listeners: u64) -> Vec<String> {
        let log = format!(
            r#"=== vm: crowd
{{"handshakes":300,"listeners":300}}
=== vm: crowd-trace
{{"type":"flow"}}
{{"type":"summary","lost":{{"request-evicted":{evicted},"listener-evicted":{listeners}}},"totals":{{"server":{{"cookie-granted":{granted},"plain":{},"accepted":300}}}}}}
=== vm: end
"#,
            300 - granted
        );
        problems(&Serial::parse(&log).expect("a log"))
    }

    #[test]
    fn everything_dropped_is_counted() {
        assert_eq!(found(60, 240, 236), Vec::<String>::new());
        assert_eq!(
            found(60, 239, 236).len(),
            1,
            "one is taken for plain without a word"
        );
        assert_eq!(
            found(60, 240, 200).len(),
            1,
            "listeners began anew without a word"
        );
        assert_eq!(
            found(300, 0, 236).len(),
            1,
            "nothing was dropped: nothing was shown"
        );
        let nothing = Serial::parse("=== vm: end\n").expect("a log");
        assert_eq!(problems(&nothing), ["crowd: the trace has no summary"]);
    }
}
