//! Promises to who reads what the program writes: every JSON record is as `docs/schema-1.json` says, and today's recording
//! and records can be read by every later version.
//!
//! The files in `tests/fixtures` are never made again: a version that reads them no more has broken a promise. A later
//! version adds files beside them.

#[path = "privileged/support/schema.rs"]
mod schema;

use std::{fs, path::Path, process::Command};

use serde_json::Value;

/// Recordings of this version, by format, with the records that `trace --replay` makes of them.
const RECORDINGS: [(&str, &str); 2] = [
    (
        "recordings/format-1.tfo",
        "tests/fixtures/format-1-records-1.ndjson",
    ),
    (
        "tests/fixtures/recording-2.tfo",
        "tests/fixtures/records-1.ndjson",
    ),
];

fn here(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn run(args: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("HOME", "/nonexistent")
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("it is UTF-8");
    assert!(
        !text.is_empty(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

fn stored(path: &str) -> Vec<Value> {
    let text = fs::read_to_string(here(path)).expect("the fixture is there");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect()
}

/// Everything the old record said, the new one says too. Counts by name may have got more names.
fn says_as_much(old: &Value, new: &Value, place: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, value) in old {
                let place = format!("{place}.{name}");
                says_as_much(
                    value,
                    new.get(name).unwrap_or_else(|| panic!("{place} is gone")),
                    &place,
                );
            }
        }
        (Value::Array(old), Value::Array(new)) if old.len() == new.len() => {
            for (old, new) in old.iter().zip(new) {
                says_as_much(old, new, place);
            }
        }
        _ => assert_eq!(old, new, "{place}"),
    }
}

#[test]
fn recordings_of_this_version_are_read_by_every_later_one() {
    for (recording, records) in RECORDINGS {
        let made = run(&["trace", "--replay", recording, "--format", "json"]);
        if std::env::var_os("NEW_FIXTURES").is_some() && !here(records).exists() {
            let lines: Vec<String> = made.iter().map(ToString::to_string).collect();
            fs::write(here(records), lines.join("\n") + "\n").expect("it can be written");
        }
        let stored = stored(records);
        assert!(
            made.len() == stored.len() && stored.len() > 20,
            "{recording}: {} records",
            made.len()
        );
        for (number, (old, new)) in stored.iter().zip(&made).enumerate() {
            says_as_much(old, new, &format!("{recording}, record {}", number + 1));
        }
    }
}

#[test]
fn records_of_this_version_and_of_today_are_as_the_schema_says() {
    for (recording, records) in RECORDINGS {
        for record in stored(records) {
            schema::check(&record);
        }
        for command in ["trace", "diagnose", "top"] {
            let mut args = vec![command, "--replay", recording, "--format", "json"];
            args.extend((command == "top").then_some("--once"));
            for record in run(&args) {
                schema::check(&record);
            }
        }
    }
}

/// Every kind of object that can be had without a kernel, with every field that it can have.
#[test]
fn what_is_printed_of_captures_and_networks_is_described() {
    let capture = here("../tfo-fuzz/corpus/capture/pcap-syn");
    let judged = run(&["analyze", "--format", "json", &capture.to_string_lossy()]);
    assert!(
        judged.iter().any(|record| record.get("capture").is_some()),
        "{judged:?}"
    );
    let networks = std::env::temp_dir().join(format!("tfo-schema-{}", std::process::id()));
    fs::write(&networks, "10.0.0.0/8 = lab\n").expect("it can be written");
    let (file, recording) = (networks.to_string_lossy(), RECORDINGS[1].0);
    let mut shown = Vec::new();
    for command in [&["trace"][..], &["diagnose"], &["top", "--once"]] {
        let more = ["--replay", recording, "--format", "json", "--networks", &file];
        shown.extend(run(&[command, &more].concat()));
    }
    let _ = fs::remove_file(&networks);
    for kind in ["flow", "diagnosis", "snapshot", "summary"] {
        assert!(shown.iter().any(|record| record["type"] == kind), "no {kind}");
    }
    assert!(shown.iter().any(|record| record["network"] == "lab"));
    for record in judged.iter().chain(&shown) {
        schema::check(record);
    }
}

/// Nor one that knows only a part.
#[test]
fn a_field_that_is_not_described_is_found() {
    let snapshot = run(&["top", "--once", "--replay", RECORDINGS[1].0, "--format", "json"]).remove(0);
    schema::check(&snapshot);
    for place in ["", "/host", "/destinations/0", "/networks"] {
        let mut more = snapshot.clone();
        match more.pointer_mut(place).expect("it is there") {
            Value::Array(items) => items.push(serde_json::json!({ "new": 1 })),
            object => object["new"] = Value::from(1),
        }
        assert!(!schema::problems(&more).is_empty(), "{place}: it passes");
    }
    let other = serde_json::json!({ "schema": 1, "type": "other" });
    assert!(!schema::problems(&other).is_empty());
}

/// A schema that lets everything pass proves nothing.
#[test]
fn the_schema_refuses_what_is_no_record() {
    let good = stored(RECORDINGS[1].1)[0].clone();
    schema::check(&good);
    for (field, value) in [
        ("schema", Value::from(2)),
        ("role", "peer".into()),
        ("family", 5.into()),
        ("local_port", 65_536.into()),
        ("ts", "yesterday".into()),
        ("comm", 7.into()),
        ("cgroup", "no/slash".into()),
    ] {
        let mut bad = good.clone();
        bad[field] = value;
        assert!(!schema::problems(&bad).is_empty(), "{field}: {bad}");
    }
    for field in good.as_object().expect("it is an object").keys() {
        let mut bad = good.clone();
        bad.as_object_mut().expect("it is an object").remove(field);
        assert!(!schema::problems(&bad).is_empty(), "without {field} it passes");
    }
}
