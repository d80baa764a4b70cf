//! Names that try to steer the reader's terminal, or to be a formula in a spreadsheet, through every writer.

use clap::ValueEnum;
use tfo_common::{Outcome, event::Record};

use super::{
    FlowLine, TraceFormat, diagnosis_markdown, diagnosis_text,
    export::{self, Format, Table},
    report::{self, Origin, Report},
    snapshot_json, table,
};
use crate::{
    clean::is_hostile,
    model::{
        Flow, Model, Snapshot, cgroup,
        fake::{self, Scenario},
        history::History,
    },
};

/// A title for the terminal, C1, DEL, an override of the direction of text.
const EVIL: &str = "=cmd\u{1b}]0;x\u{7}\u{9b}2J\u{7f}\u{202e}\u{2066}\r";

fn model() -> Model {
    let mut model = Scenario::default().model(30);
    model.name(1, Some(cgroup::parse(&format!("/=x/{EVIL}.service"))));
    for id in 0..50 {
        model.fold(&Record::Flow(flow(id)));
    }
    model.diagnose();
    model
}

fn flow(id: u64) -> tfo_common::FlowEvent {
    let mut event = fake::flow(Outcome::SynTimeout);
    event.id = id;
    event.comm = *b"=1+1\x1b[2J\x7f\xc2\x9b\xe2\x80\xae\0\0";
    event
}

fn harmless(what: &str, text: &str) {
    assert!(text.len() > 20, "{what} says something: {text}");
    let found = text
        .char_indices()
        .find(|(_, one)| is_hostile(*one) && !matches!(one, '\n' | '\t'));
    // RFC 4180 ends rows with CR LF.
    let found = found.filter(|(at, one)| !(*one == '\r' && text[*at..].starts_with("\r\n")));
    if let Some((at, one)) = found {
        panic!("{what}: {one:?} after {:?}", &text[..at]);
    }
}

fn written(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut out = Vec::new();
    write(&mut out).expect("memory takes it");
    String::from_utf8(out).expect("it is UTF-8")
}

#[test]
fn traces_are_harmless() {
    let name = cgroup::parse(&format!("/=x/{EVIL}.service"));
    let flow = Flow::new(&flow(1)).expect("codes are known");
    let line = FlowLine {
        cookie: None,
        flow: &flow,
        cgroup: Some(&name),
        wall_offset_ns: fake::EPOCH_NS,
        network: None,
    };
    for format in TraceFormat::value_variants() {
        let text = written(|out| format.flows().flow(&line, out));
        let text = text.strip_suffix("\r\n").unwrap_or(&text).to_owned();
        harmless(&format!("{format:?}"), &text);
        if *format == TraceFormat::Json {
            let record: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            assert_eq!(
                record["unit"].as_str(),
                Some(&*format!("{EVIL}.service")),
                "nothing is lost"
            );
        }
        if *format == TraceFormat::Csv {
            assert!(
                text.contains(",'=1+1") && text.contains(",'=cmd"),
                "no formula: {text}"
            );
        }
    }
}

#[test]
fn tables_and_exports_are_harmless() {
    let snapshot: Snapshot = model().snapshot();
    let rows: Vec<_> = snapshot.rows.iter().collect();
    harmless(
        "table",
        &written(|out| table::write(&snapshot, &rows, &table::default_columns(&snapshot), out)),
    );
    harmless(
        "json",
        &written(|out| snapshot_json::write(&snapshot, &rows, 0, out)),
    );
    let exported = Table {
        names: vec!["service", "lost"],
        rows: vec![vec![EVIL.into(), "+1.02s".into()]],
    };
    for format in [Format::Markdown, Format::Csv, Format::Json] {
        let text = written(|out| export::write(&snapshot, &exported, format, out));
        harmless(&format!("{format:?}"), &text.replace("\r\n", "\n"));
    }
}

#[test]
fn findings_and_reports_are_harmless() {
    let model = model();
    let (snapshot, history): (Snapshot, History) = (model.snapshot(), model.history());
    let found: Vec<_> = snapshot.diagnosis.findings.iter().collect();
    assert!(!found.is_empty(), "there is something to say");
    harmless(
        "findings",
        &written(|out| diagnosis_text::write(&found, &snapshot, true, out)),
    );
    harmless(
        "markdown",
        &written(|out| diagnosis_markdown::write(&found, &[], &snapshot, out)),
    );
    let origin = Origin {
        what: format!("the recording {EVIL}"),
        command: format!("tfo-cli report --replay {EVIL}"),
        sha256: None,
        remarks: vec![EVIL.to_owned()],
    };
    let report = Report::new(&snapshot, &history, 0, &origin);
    for format in [report::Format::Markdown, report::Format::Html] {
        harmless(&format!("{format:?}"), &written(|out| report.write(format, out)));
    }
}
