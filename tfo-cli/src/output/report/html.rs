//! One file for a browser: no script, nothing loaded, text of others stays text (maud escapes it).

use maud::{DOCTYPE, Markup, PreEscaped, html};

use super::{
    NETWORK_HEADINGS, Part, Report, chart,
    span::{Span, spans},
};

/// What the browser may do: nothing but use the style in the page.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

const STYLE: &str = include_str!("style.css");

/// The page.
pub fn page(report: &Report) -> String {
    let title = &report.title;
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#main" { "Skip to the verdict" }
                header {
                    h1 { (title) }
                    p { (report.window) }
                }
                main id="main" tabindex="-1" { (body(report)) }
            }
        }
    };
    page.into_string()
}

fn body(report: &Report) -> Markup {
    let class = match report.severity {
        Some(severity) => severity.name(),
        None => "ok",
    };
    html! {
        p class=(format!("verdict {class}")) { strong { (report.verdict) } }
        p { (super::PRIMER) }
        (actions(report))
        (cost(report))
        (networks(report))
        (timeline(report))
        section aria-labelledby="found" {
            h2 id="found" { "What was found" }
            @if report.findings.is_empty() { p { "Nothing." } }
            @for part in &report.findings { (finding(part)) }
        }
        section aria-labelledby="excluded" {
            h2 id="excluded" { "What was ruled out" }
            @if report.excluded.is_empty() { p { "Nothing had to be." } } @else {
                ul { @for (finding, text) in &report.excluded { li { "finding " (finding) ": " (rich(text)) } } }
            }
        }
        section aria-labelledby="unseen" {
            h2 id="unseen" { "What could not be seen" }
            ul { @for line in &report.unseen { li { (line) } } }
        }
        section aria-labelledby="versions" {
            h2 id="versions" { "Versions" }
            dl { @for (what, version) in &report.versions { dt { (what) } dd { (version) } } }
        }
        section aria-labelledby="again" {
            h2 id="again" { "How to make this report again" }
            p { "Made from " (report.origin.what) ":" }
            (typed(&report.origin.command))
            @match &report.origin.sha256 {
                Some(hash) => p { "SHA-256 of it: " code { (hash) } },
                None => p { "There is no file of it, so there is no hash." },
            }
        }
    }
}

fn actions(report: &Report) -> Markup {
    html! {
        section aria-labelledby="todo" {
            h2 id="todo" { "What to do now" }
            @if report.actions.is_empty() { p { "Nothing." } } @else {
                p { "Worst first. Commands are typed on " (report.whose) ", as root, unless the text says otherwise." }
            }
            @for action in &report.actions {
                div.todo {
                    p {
                        "For "
                        @for (place, (number, name)) in action.findings.iter().enumerate() {
                            @if place > 0 { "; " }
                            a href=(format!("#finding-{number}")) { "finding " (number) } ", " (name)
                        }
                        " (" (action.weight) "):"
                    }
                    @if let Some(command) = &action.command { (typed(command)) }
                    p { (rich(&action.what)) }
                    @if !action.undo.is_empty() { p { (rich(&action.undo)) } }
                }
            }
        }
    }
}

/// A command, broken between its words only.
fn typed(command: &str) -> Markup {
    html! {
        pre tabindex="0" { code {
            @for (place, word) in command.split(' ').enumerate() {
                @if place > 0 { " " }
                span { (word) }
            }
        } }
    }
}

/// A text of ours, in which backquotes mark what is typed.
fn rich(text: &str) -> Markup {
    html! {
        @for span in spans(text) {
            @match span {
                Span::Text(text) => (text),
                Span::Code(code) => code { (code) },
            }
        }
    }
}

fn cost(report: &Report) -> Markup {
    html! {
        section aria-labelledby="cost" {
            h2 id="cost" { "What it costs" }
            p { (report.ledger) }
            @if !report.cost.is_empty() {
                div.wide tabindex="0" role="region" aria-label="Cost by finding" {
                    table {
                        caption { "Cost by finding" }
                        thead { tr {
                            th scope="col" { "Finding" } th scope="col" { "Diagnosis" } th scope="col" { "Per connection" }
                            th scope="col" { "Per hour" } th scope="col" { "Kind" }
                        } }
                        tbody { @for line in &report.cost { tr {
                            th scope="row" { (line.finding) } td { (line.name) } td.number { (line.each) }
                            td.number { (line.per_hour) } td { (line.kind) }
                        } } }
                    }
                }
            }
        }
    }
}

fn networks(report: &Report) -> Markup {
    html! {
        @if !report.networks.is_empty() {
            section aria-labelledby="networks" {
                h2 id="networks" { "By network" }
                div.wide tabindex="0" role="region" aria-label="Sums by network" {
                    table {
                        caption { "Destinations added up by network" }
                        thead { tr { @for heading in NETWORK_HEADINGS { th scope="col" { (heading) } } } }
                        tbody { @for line in &report.networks { tr {
                            th scope="row" { (line.label) }
                            @for number in &line.numbers { td.number { (number) } }
                        } } }
                    }
                }
            }
        }
    }
}

fn timeline(report: &Report) -> Markup {
    html! {
        section aria-labelledby="when" {
            h2 id="when" { "When it happened" }
            @if report.timeline.bars.is_empty() { p { "Nothing was counted over time." } } @else {
                (chart::timeline(&report.timeline))
                div.wide tabindex="0" role="region" aria-label="Handshakes over time, in numbers" {
                    table {
                        caption { "Fast Open in the handshakes of every " (report.timeline.length) }
                        thead { tr {
                            th scope="col" { "From (UTC)" } th scope="col" { "Worked" } th scope="col" { "Did not" }
                            th scope="col" { "Not tried" }
                        } }
                        tbody { @for bar in &report.timeline.bars { tr {
                            th scope="row" { (bar.at) } td.number { (bar.good) } td.number { (bar.failed) }
                            td.number { (bar.plain) }
                        } } }
                    }
                }
            }
        }
    }
}

fn finding(part: &Part) -> Markup {
    let id = format!("finding-{}", part.number);
    html! {
        article aria-labelledby=(id) {
            h3 id=(id) { (part.number) ". " (part.name) " (" (part.severity) "): " (part.place) }
            p { (part.sentence) " " (part.meaning) }
            ul {
                @if part.service != "-" { li { "service: " (part.service) } }
                @for line in &part.evidence { li { "evidence: " (line) } }
                @for line in &part.or_else { li { "not ruled out: " (rich(line)) } }
                li { "confidence: " (part.confidence) }
                li { "more: " (part.anchor) }
            }
            @if let Some((line, ladder)) = &part.example {
                p { "One connection: " (line) }
                (chart::ladder(ladder, &format!("ladder-{}", part.number)))
                div.wide tabindex="0" role="region" aria-label=(format!("Packets of the example of finding {}", part.number)) {
                    table {
                        caption { "The same as a table" }
                        thead { tr { th scope="col" { "After" } th scope="col" { "Way" } th scope="col" { "Packet" } } }
                        tbody { @for rung in &ladder.rungs { tr {
                            th scope="row" { (rung.at) } td { (rung.way()) } td { (rung.what) }
                        } } }
                    }
                }
                p { (ladder.meaning) }
            }
        }
    }
}
