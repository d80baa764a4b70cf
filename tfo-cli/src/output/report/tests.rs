//! The document: complete, in order, bounded in width, and nobody's text becomes markup.

use tfo_common::Outcome;

use super::{Format, Origin, Redactor, Report};
use crate::model::{
    Model, Snapshot,
    fake::{Scenario, flow},
    history::History,
};

fn origin() -> Origin {
    Origin {
        what: "the recording x.tfo".to_owned(),
        command: "tfo-cli report --replay x.tfo".to_owned(),
        sha256: Some("ab".repeat(32)),
        remarks: Vec::new(),
    }
}

fn instant() -> (Snapshot, History) {
    let mut model = Scenario::default().model(30);
    model.diagnose();
    (model.snapshot(), model.history())
}

fn text(report: &Report, format: Format) -> String {
    let mut out = Vec::new();
    report.write(format, &mut out).expect("memory takes it");
    String::from_utf8(out).expect("it is UTF-8")
}

fn report() -> Report {
    let (snapshot, history) = instant();
    Report::new(&snapshot, &history, 0, &origin())
}

const HEADINGS: [&str; 8] = [
    "What to do now",
    "What it costs",
    "When it happened",
    "What was found",
    "What was ruled out",
    "What could not be seen",
    "Versions",
    "How to make this report again",
];

#[test]
fn both_formats_say_everything_in_order() {
    let report = report();
    for (format, mark) in [(Format::Markdown, "\n## "), (Format::Html, "</h2>")] {
        let text = text(&report, format);
        let places: Vec<usize> = HEADINGS
            .iter()
            .map(|heading| {
                let whole = if format == Format::Html {
                    format!("{heading}{mark}")
                } else {
                    format!("{mark}{heading}")
                };
                text.find(&whole)
                    .unwrap_or_else(|| panic!("no {whole:?} in {text}"))
            })
            .collect();
        assert!(places.is_sorted(), "{places:?}");
        assert!(text.contains(&"ab".repeat(32)));
        assert!(
            text.contains("path-drops-syn-data"),
            "the scenario has such a path"
        );
        // The words of a command are kept together, each by itself.
        let bare = text.replace("<span>", "").replace("</span>", "");
        assert!(bare.contains("tfo-cli policy add"));
    }
}

#[test]
fn tables_of_markdown_fit_a_ticket() {
    let text = text(&report(), Format::Markdown);
    let tables: Vec<&str> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert!(tables.len() > 5);
    assert!(
        tables.iter().all(|line| line.chars().count() <= 100),
        "{tables:#?}"
    );
}

#[test]
fn a_page_loads_nothing_and_runs_nothing() {
    let page = text(&report(), Format::Html);
    assert!(page.contains("default-src &#39;none&#39;") || page.contains("default-src 'none'"));
    for forbidden in [
        "<script",
        "http://",
        "https://",
        " src=",
        "url(http",
        "@import",
        " on",
        "javascript:",
    ] {
        let found = page.to_lowercase().find(forbidden);
        // " on" stands for event handlers: only words of the text have it.
        if forbidden != " on" {
            assert_eq!(found, None, "{forbidden}");
        }
    }
    assert_eq!(page.matches("<h1>").count(), 1);
    assert_eq!(
        page.matches("role=\"img\"").count(),
        page.matches("<title id=").count()
    );
}

#[test]
fn nothing_wrong_and_nothing_at_all_have_their_words() {
    let mut model = Model::default();
    model.diagnose();
    let empty = Report::new(&model.snapshot(), &model.history(), 0, &Origin::default());
    let words = text(&empty, Format::Markdown);
    assert!(words.contains("Nobody used Fast Open"), "{words}");
    assert!(words.contains("## What to do now\n\nNothing."), "{words}");
    assert!(text(&empty, Format::Html).contains("Nobody used Fast Open"));
}

#[test]
fn names_of_others_stay_text() {
    let (mut snapshot, history) = instant();
    let mut host = (*snapshot.host).clone();
    host.name = "<img src=x onerror=alert(1)> **b** `c` | \u{1b}[2J".to_owned();
    snapshot.host = host.into();
    let report = Report::new(&snapshot, &history, 0, &origin());
    let page = text(&report, Format::Html);
    assert!(!page.contains("<img") && page.contains("&lt;img"), "{page}");
    let markdown = text(&report, Format::Markdown);
    assert!(
        markdown.contains("\\<img") && markdown.contains("\\*\\*b\\*\\*") && markdown.contains("\\`c\\`")
    );
    assert!(!page.contains('\u{1b}') && !markdown.contains('\u{1b}'));
}

#[test]
fn redaction_leaves_no_address_and_no_name() {
    let (snapshot, history) = instant();
    let mut report = Report::new(&snapshot, &history, 0, &origin());
    report.redact(&mut Redactor::new(&snapshot, &[("FILE", "x.tfo".to_owned())]));
    for format in [Format::Markdown, Format::Html] {
        let text = text(&report, format);
        for row in snapshot.rows.iter() {
            let address = row.remote().to_string();
            assert!(!text.contains(&address), "{address} in {text}");
            if let Some(name) = snapshot.names.get(row.key.cgroup_id) {
                assert!(
                    !text.contains(&name.path) && !text.contains(name.label()),
                    "{name:?} in {text}"
                );
            }
        }
        assert!(!text.contains("x.tfo") && text.contains("FILE"));
        assert!(text.contains("address-1") && text.contains("service-1"));
    }
}

#[test]
fn redaction_knows_the_names_of_examples_whose_flows_are_forgotten() {
    let (mut snapshot, history) = instant();
    let findings = snapshot.diagnosis.findings.iter();
    let comms: Vec<String> = findings
        .filter_map(|finding| finding.evidence.example.as_ref()?.comm().map(String::from))
        .collect();
    assert!(!comms.is_empty());
    snapshot.flows = Vec::new().into();
    let mut report = Report::new(&snapshot, &history, 0, &origin());
    report.redact(&mut Redactor::new(&snapshot, &[]));
    let text = text(&report, Format::Markdown);
    for comm in comms {
        assert!(!text.contains(&format!(" {comm}/")), "{comm} in {text}");
    }
}

#[test]
fn labels_are_stable_and_only_names_are_replaced() {
    let (snapshot, _) = instant();
    let mut redactor = Redactor::new(&snapshot, &[("FILE", "a.tfo".to_owned())]);
    let redacted = redactor
        .text("10.0.0.1:443 and [2001:db8::1]:80, 10.0.0.0/24; 10.0.0.1. At 03:04:05 read a.tfo, not aa.tfo");
    assert_eq!(
        redacted,
        "address-1:443 and [address-2]:80, address-3/24; address-1. At 03:04:05 read FILE, not aa.tfo"
    );
    assert_eq!(redactor.text("10.0.0.1"), "address-1");
    assert_eq!(
        redactor.text("2001:db8:1::/48 and 10.0.0.1: no"),
        "address-4/48 and address-1: no"
    );
}

#[test]
fn the_timeline_adds_up_to_the_totals() {
    let (snapshot, history) = instant();
    let timeline = super::timeline::Timeline::new(&snapshot, &history, 0);
    assert!(timeline.bars.len() <= 24 && timeline.bars.len() > 1);
    let counted: u64 = timeline.bars.iter().map(super::timeline::Bar::sum).sum();
    let fresh: u64 = history
        .frames(0)
        .flat_map(|frame| frame.fresh.iter().flatten())
        .sum();
    assert_eq!(counted, fresh);
    assert!(counted > 0);
}

#[test]
fn a_ladder_says_what_was_lost() {
    let flow = crate::model::Flow::new(&flow(Outcome::SynTimeout)).expect("codes are known");
    let ladder = super::ladder::Ladder::new(&flow);
    assert_eq!(ladder.rungs[0].arrow(), "--x");
    let svg = super::chart::ladder(&ladder, "x").into_string();
    assert!(
        svg.contains("aria-labelledby=\"x-title x-description\"") && svg.contains("client to server, lost")
    );
}

#[test]
fn one_fix_for_several_findings_stands_once() {
    let (snapshot, history) = instant();
    let mut snapshot = snapshot;
    let mut found = (*snapshot.diagnosis).clone();
    let first = found.findings.first().expect("the scenario has findings").clone();
    found.findings.push(first);
    let (count, command) = (
        found.findings.len(),
        found.findings[0].command().expect("it has a command").to_owned(),
    );
    snapshot.diagnosis = found.into();
    let report = Report::new(&snapshot, &history, 0, &origin());
    let markdown = text(&report, Format::Markdown);
    assert_eq!(markdown.matches(&command).count(), 1, "{markdown}");
    assert!(
        markdown.contains(&format!("; finding {count}, path-drops-syn-data")),
        "{markdown}"
    );
    let page = text(&report, Format::Html);
    assert!(page.contains(&format!("#finding-{count}")));
}

#[test]
fn what_is_typed_is_code_and_its_undo_a_sentence() {
    let report = report();
    let markdown = text(&report, Format::Markdown);
    assert!(
        markdown.contains("To take it back: `tfo-cli policy remove ID`"),
        "{markdown}"
    );
    let page = text(&report, Format::Html);
    assert!(page.contains("<code>tfo-cli policy remove ID</code>"), "{page}");
    assert!(!page.contains('`'), "{page}");
}
