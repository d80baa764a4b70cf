//! `report`: one document for a ticket. One model, all text and numbers; two writers draw it.
//!
//! In this order: the verdict, what to do now, what it costs, when it happened, each finding with its evidence, what
//! was ruled out, what could not be seen, versions, how to make it again, the hash of what it was made from.

mod action;
mod chart;
mod html;
mod ladder;
mod markdown;
mod redact;
mod span;
mod timeline;

use std::io::{self, Write};

use tfo_common::{Loss, Outcome, Role};

pub use self::redact::Redactor;
use self::{action::Action, ladder::Ladder, timeline::Timeline};
use super::{clean, diagnosis, number, table, time};
use crate::{
    capture::{DEGRADATION, tally},
    clean::clean_lines,
    model::{
        Snapshot,
        diagnosis::{CostKind, Finding, Severity},
        history::History,
        networks::Sum,
    },
};

/// Formats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For tickets and chats.
    Markdown,
    /// One file for a browser.
    Html,
}

/// What a report is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// In words: `the recording incident.tfo`.
    pub what: String,
    /// The command that makes it again.
    pub command: String,
    /// SHA-256 of the file; absent for a live host.
    pub sha256: Option<String>,
    /// Remarks about it: cut short, ...
    pub remarks: Vec<String>,
}

/// The document. Every text in it is free of control characters.
#[derive(Clone, Debug, Default)]
pub struct Report {
    title: String,
    /// Where commands are to be typed.
    whose: String,
    window: String,
    verdict: String,
    severity: Option<Severity>,
    actions: Vec<Action>,
    cost: Vec<CostLine>,
    ledger: String,
    networks: Vec<NetworkLine>,
    timeline: Timeline,
    findings: Vec<Part>,
    excluded: Vec<(String, String)>,
    unseen: Vec<String>,
    versions: Vec<(&'static str, String)>,
    origin: Origin,
}

/// What one finding costs.
#[derive(Clone, Debug)]
struct CostLine {
    finding: usize,
    name: &'static str,
    each: String,
    per_hour: String,
    kind: &'static str,
}

/// What the destinations of one network add up to, in the words of [`NETWORK_HEADINGS`].
#[derive(Clone, Debug)]
struct NetworkLine {
    label: String,
    numbers: [String; 7],
}

/// What all addresses are called that no network of the file holds.
const UNNAMED: &str = "-";

/// Headings of the sums by network.
const NETWORK_HEADINGS: [&str; 8] = [
    "network",
    "destinations",
    "tried",
    "hit",
    "failed",
    "plain",
    "saved",
    "lost",
];

/// One finding.
#[derive(Clone, Debug)]
struct Part {
    number: usize,
    name: &'static str,
    severity: &'static str,
    place: String,
    service: String,
    sentence: String,
    meaning: &'static str,
    evidence: Vec<String>,
    confidence: &'static str,
    or_else: Vec<String>,
    example: Option<(String, Ladder)>,
    anchor: String,
}

/// What Fast Open is, for a reader who never heard of it.
const PRIMER: &str = "TCP Fast Open lets a client send its first bytes together with the request for a connection, \
                      the SYN, which saves one round trip. With them it shows a cookie that the server gave it \
                      before; a server that knows the cookie takes the bytes at once, any other one asks for them \
                      again. Where something on the way drops SYNs with data, the client notices only after a \
                      timeout of one second, at every connection.";

impl Report {
    /// The report of an instant and of what led to it: the history up to `back` readings before its end.
    pub fn new(snapshot: &Snapshot, history: &History, back: usize, origin: &Origin) -> Self {
        let findings: &[&Finding] = &snapshot.diagnosis.findings.iter().collect::<Vec<_>>();
        let numbered = || {
            findings
                .iter()
                .copied()
                .enumerate()
                .map(|(index, one)| (index + 1, one))
        };
        let (title, whose) = title_and_whose(snapshot);
        Self {
            title,
            whose,
            window: window(snapshot),
            verdict: verdict(snapshot, findings),
            severity: findings
                .iter()
                .filter(|finding| !finding.is_over)
                .map(|finding| finding.severity)
                .max(),
            actions: action::all(numbered()),
            cost: numbered()
                .filter_map(|(number, one)| cost_line(number, one))
                .collect(),
            ledger: ledger(snapshot),
            networks: networks(snapshot),
            timeline: Timeline::new(snapshot, history, back),
            findings: numbered()
                .map(|(number, one)| part(number, one, snapshot))
                .collect(),
            excluded: numbered()
                .flat_map(|(number, one)| {
                    let excluded = one.excluded.iter();
                    excluded.map(move |text| (format!("{number}, {}", one.id.name()), clean(text)))
                })
                .collect(),
            unseen: unseen(snapshot, origin),
            versions: versions(snapshot),
            origin: Origin {
                what: clean(&origin.what),
                command: clean(&origin.command),
                ..origin.clone()
            },
        }
    }

    /// Replaces addresses and names by stable labels.
    pub fn redact(&mut self, redactor: &mut Redactor) {
        let mut texts: Vec<&mut String> = vec![
            &mut self.title,
            &mut self.whose,
            &mut self.verdict,
            &mut self.ledger,
        ];
        texts.extend([&mut self.origin.what, &mut self.origin.command]);
        texts.extend(self.origin.remarks.iter_mut());
        for action in &mut self.actions {
            texts.extend([&mut action.what, &mut action.undo]);
            texts.extend(action.findings.iter_mut().map(|(_, name)| name));
            texts.extend(action.command.as_mut());
        }
        for part in &mut self.findings {
            texts.extend([&mut part.place, &mut part.service, &mut part.sentence]);
            texts.extend(part.evidence.iter_mut());
            texts.extend(part.or_else.iter_mut());
            texts.extend(part.example.as_mut().map(|(line, _)| line));
        }
        texts.extend(self.excluded.iter_mut().map(|(_, text)| text));
        texts.extend(self.unseen.iter_mut());
        texts.extend(self.versions.iter_mut().map(|(_, text)| text));
        for text in texts {
            *text = redactor.text(text);
        }
        // They stand nowhere else, and may be words that a sentence of ours has, too.
        let named = self.networks.iter_mut().filter(|line| line.label != UNNAMED);
        for (number, line) in (1..).zip(named) {
            line.label = format!("network-{number}");
        }
    }

    /// Writes it.
    pub fn write(&self, format: Format, out: &mut dyn Write) -> io::Result<()> {
        match format {
            Format::Markdown => {
                let mut text = Vec::new();
                markdown::write(self, &mut text)?;
                out.write_all(clean_lines(&String::from_utf8_lossy(&text)).as_bytes())
            }
            Format::Html => out.write_all(clean_lines(&html::page(self)).as_bytes()),
        }
    }
}

fn is_capture(snapshot: &Snapshot) -> bool {
    snapshot.degradations.iter().any(|one| one.name == DEGRADATION)
}

/// The heading, and where commands are to be typed. A capture has packets of hosts that nobody named.
fn title_and_whose(snapshot: &Snapshot) -> (String, String) {
    let host = clean(&snapshot.host.name);
    if is_capture(snapshot) {
        let file = host.rsplit('/').next().unwrap_or_default();
        let whose = "the host that each finding is about";
        return (format!("TCP Fast Open in the capture {file}"), whose.to_owned());
    }
    let host = if host.is_empty() {
        "this host".to_owned()
    } else {
        host
    };
    (format!("TCP Fast Open on {host}"), host)
}

fn window(snapshot: &Snapshot) -> String {
    let (end, elapsed) = (snapshot.wall_ns(snapshot.at_ns), snapshot.elapsed_ns);
    format!(
        "{} to {} ({})",
        time::rfc3339(end - i128::from(elapsed)),
        time::rfc3339(end),
        number::duration(elapsed / 1_000)
    )
}

fn verdict(snapshot: &Snapshot, findings: &[&Finding]) -> String {
    let present: Vec<&&Finding> = findings.iter().filter(|finding| !finding.is_over).collect();
    let worst = present
        .first()
        .filter(|finding| finding.severity > Severity::Info);
    let rest = present
        .iter()
        .filter(|finding| finding.severity > Severity::Info)
        .count()
        .saturating_sub(1);
    let more = match rest {
        0 => String::new(),
        1 => " One more finding follows.".to_owned(),
        rest => format!(" {rest} more findings follow."),
    };
    let tried: u64 = Role::ALL
        .into_iter()
        .map(|role| snapshot.total(role, |outcome| outcome != Outcome::Plain))
        .sum();
    let good: u64 = Role::ALL
        .into_iter()
        .map(|role| snapshot.total(role, Outcome::is_good))
        .sum();
    match worst {
        Some(worst) if worst.severity == Severity::Fail => clean(&format!(
            "Fast Open does harm here, at {}: {}{}{more}",
            diagnosis::place(worst),
            worst.sentence,
            harm(worst)
        )),
        Some(worst) => clean(&format!(
            "Fast Open does less than it could, at {}: {}{more}",
            diagnosis::place(worst),
            worst.sentence
        )),
        None if tried == 0 => "Nobody used Fast Open in this time: there is nothing to judge.".to_owned(),
        None => format!(
            "Nothing wrong was found: {} of {} handshakes with Fast Open went as they should.",
            number::count(good),
            number::count(tried)
        ),
    }
}

/// What one connection pays.
fn harm(finding: &Finding) -> String {
    let lost = finding.cost.filter(|cost| cost.kind == CostKind::Lost);
    lost.map_or_else(String::new, |cost| {
        format!(
            " Each such connection loses {}.",
            number::duration(cost.per_connection_us)
        )
    })
}

fn cost_line(number: usize, finding: &Finding) -> Option<CostLine> {
    let cost = finding.cost?;
    Some(CostLine {
        finding: number,
        name: finding.id.name(),
        each: number::duration(cost.per_connection_us),
        per_hour: cost
            .per_hour_us
            .map_or_else(|| "not known".to_owned(), number::duration),
        kind: match cost.kind {
            CostKind::Lost => "lost",
            CostKind::NotSaved => "not saved",
        },
    })
}

fn ledger(snapshot: &Snapshot) -> String {
    let (saved, lost) = snapshot.ledger_us();
    format!(
        "In this time Fast Open saved {} and lost {}, all connections added up. Per hour: what that makes if it goes on like \
         this. A connection with both ends on this host is in here twice: as its client saw it, and as its server did.",
        number::duration(saved),
        number::duration(lost)
    )
}

/// Worst first, what no prefix holds last; none where no file names any.
fn networks(snapshot: &Snapshot) -> Vec<NetworkLine> {
    if snapshot.networks.is_empty() {
        return Vec::new();
    }
    let sums = snapshot
        .networks
        .sums(snapshot.rows.iter(), snapshot.server_prefixes);
    let line = |sum: Sum| NetworkLine {
        label: sum.label.as_deref().unwrap_or(UNNAMED).to_owned(),
        numbers: table::network_numbers(&sum),
    };
    sums.into_iter().map(line).collect()
}

fn part(number: usize, finding: &Finding, snapshot: &Snapshot) -> Part {
    let evidence = &finding.evidence;
    Part {
        number,
        name: finding.id.name(),
        severity: if finding.is_over {
            "over"
        } else {
            finding.severity.name()
        },
        place: clean(&diagnosis::place(finding)),
        service: diagnosis::service(finding, snapshot),
        sentence: clean(&finding.sentence),
        meaning: finding.id.entry().sentence,
        evidence: evidence.lines.iter().map(|line| clean(line)).collect(),
        confidence: finding.confidence.name(),
        or_else: finding.or_else.iter().map(|text| clean(text)).collect(),
        example: evidence
            .example
            .as_ref()
            .map(|flow| (clean(&diagnosis::example(flow, snapshot)), Ladder::new(flow))),
        anchor: finding.id.anchor(),
    }
}

fn unseen(snapshot: &Snapshot, origin: &Origin) -> Vec<String> {
    let of_capture = is_capture(snapshot);
    let words = |loss: Loss| match tally::reason(loss).filter(|_| of_capture) {
        Some(reason) => (reason.name(), reason.describe()),
        None => (loss.name(), loss.describe()),
    };
    let mut lines: Vec<String> = snapshot
        .losses_by_reason()
        .map(|(loss, count)| (count, words(loss)))
        .map(|(count, (name, why))| format!("{count} {name}: {why}"))
        .collect();
    lines.extend(
        snapshot
            .degradations
            .iter()
            .map(|one| clean(&format!("{}: {}", one.name, one.why))),
    );
    lines.extend(origin.remarks.iter().map(|remark| clean(remark)));
    let unlooked = snapshot.diagnosis.unlooked.iter();
    lines.extend(unlooked.map(|(id, why)| format!("not looked at: {}: {why}", id.name())));
    if lines.is_empty() {
        lines.push("nothing was lost, and everything was looked at".to_owned());
    }
    lines
}

fn versions(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let known = |text: &str| {
        if text.is_empty() {
            "not known".to_owned()
        } else {
            clean(text)
        }
    };
    let program = ("tfo-cli", env!("CARGO_PKG_VERSION").to_owned());
    if is_capture(snapshot) {
        return vec![
            program,
            ("kernels", "not known: packets do not name them".to_owned()),
        ];
    }
    vec![
        program,
        ("kernel", known(&snapshot.host.kernel)),
        (
            "net.ipv4.tcp_fastopen",
            snapshot
                .host
                .tcp_fastopen
                .map_or_else(|| "not known".to_owned(), |value| format!("{value:#x}")),
        ),
        ("against the kernel's counters", table::cross_check(snapshot)),
    ]
}

#[cfg(test)]
mod tests;
