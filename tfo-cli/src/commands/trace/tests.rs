//! The loop of `trace` on a scripted source.

use std::io::{self, Write};

use tfo_common::{Loss, Outcome, event::Record, flags::Shed, time::UNSEEN_US};

use super::{incomplete, trace_source};
use crate::{
    args::{Command, TraceConfig},
    model::{
        fake::{self, FakeSource, Scenario},
        source::Reading,
    },
    output::Summary,
    signals::Stop,
};

fn config(flags: &str) -> TraceConfig {
    match crate::args::command(&format!("trace --duration 200ms {flags}")) {
        Ok(Command::Trace(config)) => config,
        other => panic!("{other:?}"),
    }
}

fn trace(flags: &str, source: FakeSource) -> (Summary, String) {
    let mut out = Vec::new();
    let summary = trace_source(&config(flags), Box::new(source), &Stop::default(), &mut out)
        .expect("the trace ends well");
    (summary, String::from_utf8(out).expect("output is UTF-8"))
}

fn batch(ids: std::ops::Range<u64>) -> Vec<Record> {
    ids.map(|id| {
        let mut event = fake::flow(Outcome::Accepted);
        event.id = id;
        Record::Flow(event)
    })
    .collect()
}

#[test]
fn every_flow_is_printed_and_the_summary_is_the_last_line() {
    let source = Scenario::default().source(3);
    let flows: usize = source.batches.iter().map(Vec::len).sum();
    let (summary, out) = trace("--format json", source);
    assert_eq!((summary.events, summary.printed), (flows as u64, flows as u64));
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), flows + 1);
    assert!(lines[..flows].iter().all(|line| line["type"] == "flow"));
    assert_eq!(lines[flows]["type"], "summary");
    assert_eq!(lines[0]["unit"], "checkout.service");
}

/// A recording reads the table of destinations first: what it finds out about cgroups is for the lines, too.
#[test]
fn recording_takes_no_name_away() {
    let path = std::env::temp_dir().join(format!("tfo-trace-{}.tfo", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let flags = format!("--format json --record {}", path.display());
    let flows = |out: &str| -> Vec<String> {
        let flows = out.lines().filter(|line| line.contains("\"type\":\"flow\""));
        flows.map(str::to_owned).collect()
    };
    let recorded = flows(&trace(&flags, Scenario::default().source(3)).1);
    let plain = flows(&trace("--format json", Scenario::default().source(3)).1);
    let line = format!("trace --format json --replay {}", path.display());
    let Ok(Command::Trace(config)) = crate::args::command(&line) else {
        panic!("{line} is a good command line");
    };
    let mut replayed = Vec::new();
    let read = super::replay::trace(&config, &path, &Stop::default(), &mut replayed);
    let _ = std::fs::remove_file(&path);
    assert!(read.is_ok(), "{read:?}");
    let mut replayed = flows(&String::from_utf8(replayed).expect("output is UTF-8"));
    assert!(
        plain.len() > 3 && plain[0].contains("checkout.service"),
        "{plain:?}"
    );
    assert_eq!(recorded, plain);
    replayed.sort();
    let mut plain = plain;
    plain.sort();
    assert_eq!(replayed, plain);
}

#[test]
fn count_is_exact_and_filters_apply_before_it() {
    let source = FakeSource {
        batches: [batch(0..500), batch(500..900)].into(),
        ..FakeSource::default()
    };
    let (summary, out) = trace("--format csv --count 7", source);
    assert_eq!((summary.printed, out.lines().count()), (7, 8));

    let (summary, out) = trace(
        "--format json --outcome syn-timeout --count 4",
        Scenario::default().source(3),
    );
    assert_eq!(summary.printed, 4);
    assert_eq!(out.matches("\"outcome\":\"syn-timeout\"").count(), 4);
}

/// A cgroup that nobody has looked for yet is not gone: its flows wait for the name.
#[test]
fn a_filter_waits_for_the_names_it_asks_for() {
    let source = |unborn| FakeSource {
        batches: [batch(0..3), vec![], batch(3..5)].into(),
        cgroups: Scenario::cgroups(),
        unborn,
        pause: std::time::Duration::from_millis(1),
        ..FakeSource::default()
    };
    let (summary, out) = trace("--unit checkout --format json", source(vec![(1, 4)]));
    assert_eq!(
        (summary.printed, summary.unjudged, summary.unjudged_line()),
        (5, 0, None)
    );
    assert_eq!(out.matches("\"unit\":\"checkout.service\"").count(), 5);
    // The name never comes: that is said, of each flow.
    let (summary, _) = trace("--filter cgroup:checkout", source(vec![(1, u32::MAX)]));
    assert_eq!((summary.printed, summary.unjudged), (0, 5));
    assert!(
        summary
            .unjudged_line()
            .is_some_and(|line| line.contains("5 flows"))
    );
    // Nobody asks for it: nothing waits, and the name that comes late is shown from then on.
    let (summary, _) = trace("--port 443", source(vec![(1, u32::MAX)]));
    assert_eq!((summary.printed, summary.unjudged), (5, 0));
}

#[test]
fn a_late_first_byte_is_in_the_line() {
    let mut event = fake::flow(Outcome::Accepted);
    (event.id, event.ttfb_us) = (5, UNSEEN_US);
    let script = || FakeSource {
        batches: [
            vec![Record::Flow(event)],
            vec![],
            vec![fake::first_byte(5, 4_242)],
        ]
        .into(),
        pause: std::time::Duration::from_millis(20),
        ..FakeSource::default()
    };
    assert!(trace("--format json", script()).1.contains("\"ttfb_us\":4242"));
    assert!(
        trace("--format json --ttfb-wait 0", script())
            .1
            .contains("\"ttfb_us\":null")
    );
}

#[test]
fn a_raised_flag_ends_it_with_the_summary() {
    let stop = Stop::default();
    stop.raise();
    let mut out = Vec::new();
    let mut config = config("--format json");
    config.duration = None;
    trace_source(&config, Box::new(Scenario::default().source(1)), &stop, &mut out).expect("it ends well");
    assert!(
        String::from_utf8_lossy(&out)
            .trim_end()
            .lines()
            .last()
            .is_some_and(|line| line.contains("summary"))
    );
}

struct Closed;

impl Write for Closed {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

#[test]
fn a_closed_pipe_ends_it_cleanly_and_other_errors_do_not() {
    let run = |out: &mut dyn Write| {
        trace_source(
            &config("--format json"),
            Box::new(Scenario::default().source(2)),
            &Stop::default(),
            out,
        )
    };
    assert!(run(&mut Closed).is_ok());
    let mut short = [0u8; 10];
    assert!(run(&mut &mut short[..]).is_err());
}

#[test]
fn losses_decide_the_exit_code() {
    let mut reading = Reading::default();
    reading.losses[Loss::DestEvicted as usize] = 5;
    let source = |reading: &Reading| FakeSource {
        readings: [reading.clone()].into(),
        ..FakeSource::default()
    };
    assert!(!incomplete(&trace("", source(&reading)).0, false));
    reading.losses[Loss::Shed as usize] = 1;
    let (summary, _) = trace("", source(&reading));
    assert!(
        !incomplete(&summary, false) && incomplete(&summary, true),
        "plain ones were asked for"
    );
    let detached = Summary {
        shed: Shed::Detached,
        ..Summary::default()
    };
    assert!(incomplete(&detached, false), "nobody looked any more");
    reading.losses[Loss::RingFull as usize] = 1;
    let (summary, _) = trace("", source(&reading));
    assert!(incomplete(&summary, false));
    assert!(
        summary
            .lost_line()
            .is_some_and(|line| line.contains("1 ring-full"))
    );
}

#[test]
fn damaged_records_are_counted_as_lost() {
    let mut event = fake::flow(Outcome::Accepted);
    event.role = 9;
    let source = FakeSource {
        batches: [vec![Record::Flow(event)]].into(),
        ..FakeSource::default()
    };
    let (summary, _) = trace("", source);
    assert_eq!(
        (
            summary.events,
            summary.printed,
            summary.losses[Loss::BadRecord as usize]
        ),
        (1, 0, 1)
    );
}

/// Seen once, with callback flags taken away: a SYN sent again, a handshake of 1.03 s, and no time lost.
#[test]
fn records_that_contradict_themselves_are_printed_and_counted() {
    let mut event = fake::flow(Outcome::SynTimeout);
    (event.handshake_us, event.lost_us) = (1_030_000, 0);
    let source = FakeSource {
        batches: [vec![
            Record::Flow(event),
            Record::Flow(fake::flow(Outcome::Accepted)),
        ]]
        .into(),
        ..FakeSource::default()
    };
    let (summary, out) = trace("--format json", source);
    assert_eq!(
        (summary.printed, summary.losses[Loss::Contradictory as usize]),
        (2, 1)
    );
    assert!(out.contains("\"contradictory\":1"), "{out}");
    assert!(
        summary
            .lost_line()
            .is_some_and(|line| line.contains("1 contradictory"))
    );
}

#[test]
fn a_summary_has_the_findings_before_the_last_line() {
    let (summary, out) = trace("--summary --format json", Scenario::default().source(8));
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    let found = lines.iter().filter(|line| line["type"] == "diagnosis");
    let ids: Vec<&str> = found.filter_map(|line| line["id"].as_str()).collect();
    assert_eq!(ids.first(), Some(&"path-drops-syn-data"), "{ids:?}");
    assert_eq!(lines.last().map(|line| line["type"] == "summary"), Some(true));
    assert!(summary.found.is_some_and(|found| found.starts_with("1 fail")));
    // Nobody asked.
    let (summary, out) = trace("--format json", Scenario::default().source(8));
    assert!(summary.found.is_none() && !out.contains("diagnosis"));
    let (_, text) = trace("--summary --filter port:8443", Scenario::default().source(8));
    assert!(
        text.contains("cookie-key-mismatch") && !text.contains("path-drops"),
        "{text}"
    );
}
