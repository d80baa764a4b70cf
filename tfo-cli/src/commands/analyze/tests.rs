//! The whole command on captures in memory.

use std::{fs, path::PathBuf};

use tfo_common::Outcome;

use super::{analyze, failure};
use crate::{
    args::{AnalyzeConfig, Command},
    capture::{
        CaptureError,
        tests::generator::{RTT_US, Script, cookie, linux, request},
    },
    commands::replay::Replay,
    output::judged_summary::JudgedSummary,
    recording::Tick,
    signals::Stop,
};

fn config(flags: &str, files: &[PathBuf]) -> AnalyzeConfig {
    let files: Vec<String> = files.iter().map(|file| file.display().to_string()).collect();
    match crate::args::command(&format!("analyze {flags} {}", files.join(" "))) {
        Ok(Command::Analyze(config)) => config,
        other => panic!("{other:?}"),
    }
}

/// A file that is gone with the test.
struct TempFile(PathBuf);

impl TempFile {
    fn new(name: &str, bytes: &[u8]) -> Self {
        let path = std::env::temp_dir().join(format!("tfo-analyze-{}-{name}", std::process::id()));
        fs::write(&path, bytes).expect("a file can be written");
        Self(path)
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Nobody is left to tell.
        let _ = fs::remove_file(&self.0);
    }
}

fn run(flags: &str, files: &[&TempFile]) -> (JudgedSummary, String) {
    let paths: Vec<PathBuf> = files.iter().map(|file| file.0.clone()).collect();
    let mut out = Vec::new();
    let summary =
        analyze(&config(flags, &paths), &Stop::default(), &mut out).expect("the captures can be read");
    (summary, String::from_utf8(out).expect("output is UTF-8"))
}

/// First contact, then data that is taken, then data that vanishes.
fn story() -> Vec<u8> {
    let data = b"POST /pay HTTP/1.1\r\n";
    let mut first = Script::between("192.0.2.1:40000", "198.51.100.7:80");
    first
        .syn(0, &request(34), b"")
        .syn_ack(RTT_US, 0, &cookie(34))
        .ack(RTT_US + 10, 0, data)
        .reply(2 * RTT_US, 20, b"answer");
    let mut second = Script::between("192.0.2.1:40001", "198.51.100.7:80");
    second
        .syn(1_000_000, &cookie(34), data)
        .syn_ack(1_000_000 + RTT_US, 20, &[])
        .ack(1_000_000 + RTT_US + 10, 20, b"")
        .reply(1_000_000 + RTT_US + 20, 20, b"answer");
    let mut third = Script::between("192.0.2.1:40002", "198.51.100.7:80");
    third
        .syn(2_000_000, &linux(&cookie(34), 1), data)
        .syn(3_024_000, &linux(&[], 1_025), b"")
        .syn_ack(3_024_000 + RTT_US, 0, &[])
        .ack(3_024_000 + RTT_US + 10, 0, data)
        .reply(3_024_000 + 2 * RTT_US, 20, b"answer");
    first.and(&second).and(&third).pcap()
}

#[test]
fn text_has_a_line_for_each_end_and_the_summary() {
    let file = TempFile::new("story.pcap", &story());
    insta::assert_snapshot!(run("", &[&file]).1);
}

#[test]
fn json_has_the_fields_of_trace_and_those_of_captures() {
    let file = TempFile::new("json.pcap", &story());
    let (summary, out) = run("--format json --local 192.0.2.0/24", &[&file]);
    let lines: Vec<serde_json::Value> = out
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!((lines.len(), summary.printed), (5, 3));
    let outcomes: Vec<_> = lines[..3].iter().map(|line| &line["outcome"]).collect();
    assert_eq!(outcomes, ["cookie-granted", "accepted", "syn-timeout"]);
    assert!(
        lines[..3]
            .iter()
            .all(|line| line["type"] == "flow" && line["schema"] == 1)
    );
    assert_eq!(lines[1]["syn_data"], "http-unsafe");
    assert_eq!(lines[1]["frame"], 5);
    assert_eq!(lines[0]["tfo_requested"], true);
    // One cookie, one hash; and the cookie itself nowhere.
    assert_eq!(lines[0]["cookie_granted"], lines[1]["cookie_sent"]);
    assert!(!out.contains("deadbeef") && !out.contains("feedface") && !out.contains("/pay"));
    assert_eq!(
        (&lines[3]["type"], &lines[3]["id"]),
        (&"diagnosis".into(), &"not-idempotent".into())
    );
    assert_eq!(lines[4]["type"], "summary");
    assert_eq!(lines[4]["totals"]["client"]["accepted"], 1);
}

#[test]
fn csv_has_the_cells_of_the_json_line_in_the_same_order() {
    let file = TempFile::new("same.pcap", &story());
    let json = run("--format json", &[&file]).1;
    let csv = run("--format csv", &[&file]).1;
    let mut reader = csv::Reader::from_reader(csv.as_bytes());
    let names = reader.headers().expect("there is a header").clone();
    for (line, row) in json.lines().zip(reader.records()) {
        let (mut rest, row) = (line, row.expect("rows are as long as the header"));
        let object: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(
            object.as_object().map(serde_json::Map::len),
            Some(names.len() + 2)
        );
        for (name, cell) in names.iter().zip(&row) {
            let key = format!("\"{name}\":");
            rest = rest
                .split_once(&key)
                .unwrap_or_else(|| panic!("no {key} behind the last one: {line}"))
                .1;
            let want = match &object[name] {
                serde_json::Value::Null => String::new(),
                serde_json::Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            // The salt of the hashes is another one in each run.
            if !name.starts_with("cookie_") || name == "cookie_received" {
                assert_eq!(cell, want, "{name}");
            }
        }
    }
}

#[test]
fn filters_and_all_work_as_in_trace() {
    let mut plain = Script::default();
    plain
        .syn(0, &[], b"")
        .syn_ack(RTT_US, 0, &[])
        .ack(RTT_US + 1, 0, b"");
    let file = TempFile::new("plain.pcap", &plain.pcap());
    assert_eq!(run("--format csv", &[&file]).0.printed, 0);
    assert_eq!(run("--format csv --all", &[&file]).0.printed, 2);
    assert_eq!(run("--format csv --all --role server", &[&file]).0.printed, 1);
    let story = TempFile::new("filter.pcap", &story());
    let (summary, out) = run("--format csv --outcome syn-timeout", &[&story]);
    assert_eq!((summary.printed, out.lines().count()), (1, 2));
}

#[test]
fn what_is_no_capture_says_so() {
    let file = TempFile::new("foreign", b"GET / HTTP/1.1\r\n");
    let config = config("", std::slice::from_ref(&file.0));
    let error = analyze(&config, &Stop::default(), &mut Vec::new()).expect_err("it is no capture");
    assert!(error.message.contains("not a capture"), "{error}");
    assert!(error.hint.is_some_and(|hint| hint.contains("tcpdump")));
    assert!(
        failure(&CaptureError::Empty("x".into()))
            .message
            .contains("empty")
    );
}

/// Takes the header, and then nobody reads any more.
struct Gone(bool);

impl std::io::Write for Gone {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.0, true) {
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn who_stops_reading_is_told_how_much_was_read() {
    let file = TempFile::new("gone.pcap", &story());
    let config = config("--format csv", std::slice::from_ref(&file.0));
    let summary = analyze(&config, &Stop::default(), &mut Gone(false)).expect("it is a clean end");
    assert!(summary.counts.packets > 0);
}

#[test]
fn a_capture_that_was_cut_ends_well_and_says_where() {
    let whole = story();
    let file = TempFile::new("cut.pcap", &whole[..whole.len() - 7]);
    let (summary, _) = run("--format json", &[&file]);
    assert_eq!(summary.endings.len(), 1);
    assert!(
        summary.endings[0].1.starts_with("after 12 packets"),
        "{:?}",
        summary.endings
    );
    assert!(!summary.is_incomplete());
}

/// Three connections whose data vanishes, at three moments, and plain ones that do not.
fn eaten() -> Vec<u8> {
    let mut all = Script::default();
    all.packets.clear();
    for round in 0..3_u64 {
        let begin = round * 20_000_000;
        let mut lost = Script::between(&format!("192.0.2.1:{}", 41_000 + round), "198.51.100.7:443");
        lost.syn(begin, &linux(&cookie(34), 1), b"data")
            .syn(begin + 1_024_000, &linux(&[], 1_025), b"")
            .syn_ack(begin + 1_024_000 + RTT_US, 0, &[])
            .ack(begin + 1_024_000 + RTT_US + 10, 0, b"data")
            .reply(begin + 1_024_000 + 2 * RTT_US, 4, b"answer");
        all = all.and(&lost);
        for other in 0..5_u64 {
            let port = 42_000 + round * 10 + other;
            let mut plain = Script::between(&format!("192.0.2.1:{port}"), "198.51.100.7:443");
            plain
                .syn(begin + 5_000_000 + other, &[], b"")
                .syn_ack(begin + 5_000_000 + RTT_US + other, 0, &[])
                .ack(begin + 5_000_000 + RTT_US + 10 + other, 0, b"data")
                .reply(begin + 5_000_000 + 2 * RTT_US + other, 4, b"answer");
            all = all.and(&plain);
        }
    }
    all.pcap()
}

#[test]
fn a_mailed_capture_leads_to_a_named_diagnosis_in_one_command() {
    let file = TempFile::new("eaten.pcap", &eaten());
    let (summary, out) = run("", &[&file]);
    assert_eq!(summary.printed, 3, "{out}");
    assert!(
        out.contains("fail  path-drops-syn-data  198.51.100.7:443"),
        "{out}"
    );
    assert!(out.contains("tfo-cli policy add"), "{out}");
}

#[test]
fn captures_play_back_like_recordings() {
    let file = TempFile::new("replay.pcap", &eaten());
    let mut replay = Replay::open(&file.0, &Stop::default()).expect("it is a capture");
    let mut flows = 0;
    let mut last = None;
    while let Some(tick) = replay.next_tick().expect("it is whole") {
        flows += tick.records.len();
        assert!(
            last.as_ref()
                .is_none_or(|before: &Tick| before.reading.at_ns <= tick.reading.at_ns)
        );
        last = Some(tick);
    }
    let reading = last.expect("there were ticks").reading;
    assert_eq!(flows, 3);
    assert_eq!(reading.totals[0][Outcome::SynTimeout as usize], 3);
    assert_eq!(reading.totals[0][Outcome::Plain as usize], 15);
    assert!(!replay.is_truncated());
}
