//! `probe` for programs: one object per attempt, what SYNs made by hand found, then one with the verdict of the address.

use serde::Serialize;

use super::{json::SCHEMA, probe_raw};
use crate::probe::{
    attempt::{Answer, Attempt, Carried, Cookie, DataFate},
    report::Report,
    target::Target,
    timing::{CONFIDENCE, Median, Times},
};

#[derive(Serialize)]
struct AttemptRecord<'a> {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    destination: String,
    step: &'static str,
    carried: &'static str,
    syn_data_len: usize,
    answer: &'a str,
    error: Option<&'a str>,
    data: Option<&'static str>,
    rtt_us: Option<u64>,
    handshake_us: Option<u64>,
    ttfb_us: Option<u64>,
    cookie_before: Option<&'a str>,
    cookie_after: Option<&'a str>,
}

#[derive(Serialize)]
struct VerdictRecord<'a> {
    schema: u32,
    r#type: &'static str,
    id: &'static str,
    target: String,
    destination: String,
    verdict: &'a str,
    sentence: &'a str,
    attempts: usize,
    confidence: f64,
    plain: TimesRecord,
    fast_open: TimesRecord,
    saving_ms: Option<f64>,
}

#[derive(Serialize)]
struct TimesRecord {
    rtt: Option<MedianRecord>,
    handshake: Option<MedianRecord>,
    ttfb: Option<MedianRecord>,
}

#[derive(Serialize)]
struct MedianRecord {
    median_us: u64,
    low_us: Option<u64>,
    high_us: Option<u64>,
    count: usize,
}

/// All lines of one address.
pub fn report(target: &Target, report: &Report) -> String {
    let mut text = String::new();
    for attempt in &report.attempts {
        text += &line(&attempt_record(report, attempt));
    }
    for record in probe_raw::records(report) {
        text += &line(&record);
    }
    text + &line(&VerdictRecord {
        schema: SCHEMA,
        r#type: "probe",
        id: "verdict",
        target: target.to_string(),
        destination: report.address.to_string(),
        verdict: report.verdict.name(),
        sentence: report.verdict.sentence(),
        attempts: report.attempts.len(),
        confidence: CONFIDENCE,
        plain: times(&report.plain),
        fast_open: times(&report.fast_open),
        saving_ms: report.saving_ms,
    })
}

fn line(record: &impl Serialize) -> String {
    // Strings, numbers and nothing else: this cannot fail.
    let text = serde_json::to_string(record).unwrap_or_default();
    format!("{}\n", crate::clean::json(&text))
}

fn attempt_record<'a>(report: &Report, attempt: &'a Attempt) -> AttemptRecord<'a> {
    let us = |time: Option<std::time::Duration>| time.map(micros);
    AttemptRecord {
        schema: SCHEMA,
        r#type: "probe",
        id: "attempt",
        destination: report.address.to_string(),
        step: attempt.step.name(),
        carried: match attempt.carried {
            Carried::Nothing => "nothing",
            Carried::Request => "request",
            Carried::Data(_) => "data",
        },
        syn_data_len: match attempt.carried {
            Carried::Data(bytes) => bytes,
            Carried::Nothing | Carried::Request => 0,
        },
        answer: attempt.answer.name(),
        error: match &attempt.answer {
            Answer::Error(name) => Some(name),
            _ => None,
        },
        data: attempt.data.map(|fate| match fate {
            DataFate::Acked => "acked",
            DataFate::NotAcked => "not-acked",
            DataFate::Lost => "lost",
        }),
        rtt_us: us(attempt.rtt),
        handshake_us: us(attempt.handshake),
        ttfb_us: us(attempt.first_byte),
        cookie_before: cookie(&attempt.cookie_before),
        cookie_after: cookie(&attempt.cookie_after),
    }
}

fn cookie(cookie: &Cookie) -> Option<&str> {
    match cookie {
        Cookie::NotLookedAt => None,
        Cookie::None => Some("none"),
        Cookie::Hash(hash) => Some(hash),
    }
}

fn times(times: &Times) -> TimesRecord {
    TimesRecord {
        rtt: times.rtt.map(median),
        handshake: times.handshake.map(median),
        ttfb: times.first_byte.map(median),
    }
}

fn median(median: Median) -> MedianRecord {
    MedianRecord {
        median_us: micros(median.value),
        low_us: median.interval.map(|(low, _)| micros(low)),
        high_us: median.interval.map(|(_, high)| micros(high)),
        count: median.count,
    }
}

fn micros(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::attempt::build::{data, plain, with_cookies};

    #[test]
    fn one_object_per_line_and_the_last_has_the_verdict() {
        let attempts = vec![
            plain(Answer::AtOnce),
            with_cookies(data(DataFate::NotAcked), "a1b2", ""),
        ];
        let target: Target = "example.net:443".parse().expect("a target");
        let address = "10.0.0.1:443".parse().expect("an address");
        let text = report(&target, &Report::new(address, attempts));
        let objects: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("it is JSON"))
            .collect();
        assert_eq!(objects.len(), 3);
        assert_eq!(objects[1]["cookie_after"], "none");
        assert_eq!(objects[2]["verdict"], "refused");
        assert_eq!(objects[2]["target"], "example.net:443");
        assert!(
            objects
                .iter()
                .all(|object| object["schema"] == 1 && object["type"] == "probe")
        );
    }
}
