//! `probe` for people.

use std::time::Duration;

use super::{number, probe_raw};
use crate::probe::{
    attempt::{Answer, Attempt, Carried, DataFate, Step},
    report::Report,
    timing::{Median, Times},
};

/// The verdict of one address, what was sent and what came back, and the times.
pub fn report(report: &Report) -> String {
    let mut lines = vec![
        format!("{}: {}", report.address, report.verdict.name()),
        report.verdict.sentence().to_owned(),
    ];
    for (name, step) in [("plain", Step::Plain), ("fast open", Step::FastOpen)] {
        lines.push(format!("{name:<10} {}", sent(&report.attempts, step)));
    }
    let of = |times: &Times| [times.rtt, times.handshake, times.first_byte];
    let names = ["round trip", "handshake", "first byte"];
    let rows = names.iter().zip(of(&report.plain)).zip(of(&report.fast_open));
    lines.extend(
        rows.filter(|((_, plain), fast_open)| plain.is_some() || fast_open.is_some())
            .map(|((name, plain), fast_open)| {
                let (plain, fast_open) = (median(plain), median(fast_open));
                format!("{name:<10} {plain} plain, {fast_open} with data in the SYN")
            }),
    );
    lines.extend(report.saving_ms.map(saving));
    lines.extend(probe_raw::lines(report));
    lines.join("\n  ") + "\n"
}

fn saving(ms: f64) -> String {
    let does = if ms < 0.0 { "costs" } else { "saves" };
    let time = Duration::from_secs_f64(ms.abs() / 1_000.0);
    format!("Fast Open {does} {} until the first byte.", duration(time))
}

fn duration(time: Duration) -> String {
    number::duration(u64::try_from(time.as_micros()).unwrap_or(u64::MAX))
}

/// `20.1ms (19.8ms to 22.0ms)`; the interval holds with 95 %, where there are enough attempts for one.
fn median(median: Option<Median>) -> String {
    match median {
        None => "-".to_owned(),
        Some(Median {
            value,
            interval: Some((low, high)),
            ..
        }) => format!("{} ({} to {})", duration(value), duration(low), duration(high)),
        Some(Median { value, .. }) => duration(value),
    }
}

/// `4 attempts: 1 cookie request, 3 with data (3 acked)`.
fn sent(attempts: &[Attempt], step: Step) -> String {
    let of_step = || attempts.iter().filter(|attempt| attempt.step == step);
    let count = of_step().count();
    let mut parts = Vec::new();
    let mut part = |count: usize, what: &str| {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    };
    let carried = |wanted: fn(&Carried) -> bool| of_step().filter(|attempt| wanted(&attempt.carried)).count();
    part(
        carried(|carried| *carried == Carried::Request),
        "with a cookie request",
    );
    part(
        carried(|carried| matches!(carried, Carried::Data(_))),
        "with data",
    );
    let fate = |wanted| of_step().filter(|attempt| attempt.data == Some(wanted)).count();
    part(fate(DataFate::Acked), "whose data was acked");
    part(fate(DataFate::NotAcked), "whose data was not acked");
    part(fate(DataFate::Lost), "whose SYN with data was lost");
    let answered = |wanted: fn(&Attempt) -> bool| of_step().filter(|attempt| wanted(attempt)).count();
    part(
        answered(|attempt| attempt.answer == Answer::Late && attempt.data != Some(DataFate::Lost)),
        "answered after a SYN was sent again",
    );
    part(
        answered(|attempt| attempt.answer == Answer::Reset),
        "answered by a RST",
    );
    part(
        answered(|attempt| attempt.answer == Answer::Nothing),
        "not answered",
    );
    part(
        answered(|attempt| matches!(attempt.answer, Answer::Error(_))),
        "ended by another error",
    );
    let attempts = if count == 1 { "attempt" } else { "attempts" };
    if parts.is_empty() {
        format!("{count} {attempts}")
    } else {
        format!("{count} {attempts}: {}", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::attempt::build::{data, plain, request};

    fn timed(attempt: Attempt, ms: u64) -> Attempt {
        Attempt {
            rtt: Some(Duration::from_millis(20)),
            handshake: Some(Duration::from_millis(20)),
            first_byte: Some(Duration::from_millis(ms)),
            ..attempt
        }
    }

    #[test]
    fn a_working_destination() {
        let mut attempts = vec![
            timed(plain(Answer::AtOnce), 41),
            timed(request(Answer::AtOnce), 42),
        ];
        for turn in 0..6 {
            attempts.push(timed(plain(Answer::AtOnce), 40 + turn));
            attempts.push(timed(data(DataFate::Acked), 20 + turn));
        }
        let address = "10.0.0.1:443".parse().expect("an address");
        insta::assert_snapshot!(report(&Report::new(address, attempts)));
    }

    #[test]
    fn a_path_that_eats_data() {
        let mut attempts = Vec::new();
        for _ in 0..3 {
            attempts.push(timed(plain(Answer::AtOnce), 40));
            attempts.push(timed(data(DataFate::Lost), 1_060));
        }
        let address = "[fd00::1]:443".parse().expect("an address");
        insta::assert_snapshot!(report(&Report::new(address, attempts)));
    }

    #[test]
    fn a_closed_port() {
        let attempts = vec![plain(Answer::Reset), plain(Answer::Error("EHOSTUNREACH".into()))];
        let address = "10.0.0.1:1".parse().expect("an address");
        insta::assert_snapshot!(report(&Report::new(address, attempts)));
    }
}
