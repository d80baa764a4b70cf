//! The page of a destination: its findings, its numbers, the policy on it, a chart of outcomes over time, latencies with
//! and without Fast Open side by side, and the latest connections.

use ratatui::text::{Line, Span};
use tfo_common::{DestKey, Outcome, limits::BUCKETS};

use super::{bars::bar, chart, finding_page, in_force, layout};
use crate::{
    model::{
        DestRow, Flow,
        histogram::{Buckets, Latency, quantile_us},
        ladder,
    },
    output::{clean, column::Column, flow_text, number, time},
    tui::state::State,
};

/// Connections shown at most.
const RECENT: usize = 10;

/// The lines of the page.
pub fn lines(state: &State, key: &DestKey, width: u16) -> Vec<Line<'static>> {
    let Some(row) = state.row(key) else {
        return vec!["this destination is not in the table any more; Esc goes back".into()];
    };
    let mut lines = vec![title(state, row)];
    if let Some(verdict) = row.verdict() {
        lines.extend(super::wrapped(ladder::sentence(row.role(), verdict), width));
    }
    for finding in state.snapshot.diagnosis.all_of_row(key) {
        lines.push(Line::default());
        lines.extend(finding_page::of(state, finding, width));
    }
    lines.push(Line::default());
    lines.extend(numbers(state, row));
    lines.push(Line::default());
    // The chart takes a third of the page, so that numbers and outcomes around it stay in sight.
    let height = layout::split(state).body.height / 3;
    lines.extend(chart::lines(state, width, height));
    lines.push(Line::default());
    lines.extend(outcomes(state, row));
    lines.push(Line::default());
    lines.extend(latencies(state, row, width));
    lines.push(Line::default());
    lines.extend(recent(state, row, width));
    lines
}

fn title(state: &State, row: &DestRow) -> Line<'static> {
    let name = state
        .host_name(row.remote())
        .map(|name| format!(" ({})", clean(name)))
        .unwrap_or_default();
    Line::from(vec![
        Span::styled(
            row.verdict().map_or("no attempt", Outcome::name),
            state.theme.accent,
        ),
        Span::raw(format!(
            "  {} {}  {} port {}{name}",
            row.role().name(),
            clean(&state.snapshot.names.label(row.key.cgroup_id)),
            state.snapshot.remote(row),
            row.key.port,
        )),
    ])
}

fn numbers(state: &State, row: &DestRow) -> Vec<Line<'static>> {
    let pair = |column: Column| {
        [
            Span::styled(format!("{} ", column.spec().name), state.theme.dim),
            Span::raw(format!("{:<9}", column.cell(row, &state.snapshot))),
        ]
    };
    let line = |columns: &[Column]| {
        Line::from(
            columns
                .iter()
                .flat_map(|column| pair(*column))
                .collect::<Vec<_>>(),
        )
    };
    let mut lines = vec![
        line(&[Column::Attempts, Column::Hit, Column::Failures, Column::Plain]),
        line(&[Column::Saved, Column::Lost, Column::Net, Column::Rtt]),
        line(&[Column::Syn, Column::Cookies]),
    ];
    lines.extend(in_force::lines(state, row, state.size.width));
    lines
}

fn outcomes(state: &State, row: &DestRow) -> Vec<Line<'static>> {
    let mut counted: Vec<(Outcome, u64)> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome, row.count(outcome)))
        .filter(|(_, count)| *count > 0)
        .collect();
    counted.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most = counted.first().map_or(0, |(_, count)| *count);
    let mut lines = vec![Line::from(Span::styled("Outcomes", state.theme.accent))];
    lines.extend(counted.into_iter().map(|(outcome, count)| {
        let style = if outcome.is_failure() {
            state.theme.strong
        } else {
            ratatui::style::Style::new()
        };
        Line::from(vec![
            Span::styled(format!("{:<16}", outcome.name()), style),
            Span::raw(format!("{:>8} ", number::count(count))),
            Span::styled(bar(count, most, 40, &state.glyphs), state.theme.dim),
        ])
    }));
    lines
}

fn latencies(state: &State, row: &DestRow, width: u16) -> Vec<Line<'static>> {
    let get = |latency| row.histograms.get(latency);
    let plain_handshakes = row.outcomes[Outcome::Plain as usize];
    let handshake = Histograms {
        title: "Handshake",
        tfo: get(Latency::HandshakeTfo),
        plain: get(Latency::HandshakePlain),
        plain_handshakes,
    };
    let first_byte = Histograms {
        title: "Time to first byte",
        tfo: get(Latency::TtfbTfo),
        plain: get(Latency::TtfbPlain),
        plain_handshakes,
    };
    let mut lines = handshake.lines(state, width);
    lines.push(Line::default());
    lines.extend(first_byte.lines(state, width));
    lines
}

/// The histograms of one latency, with and without Fast Open.
struct Histograms {
    title: &'static str,
    /// Connections with Fast Open, by power of two of the microseconds.
    tfo: Buckets,
    /// Connections without it, in the same way.
    plain: Buckets,
    /// How many plain handshakes there were. The kernel side times the first byte of only some of them, and the reader
    /// is shown of how many.
    plain_handshakes: u32,
}

impl Histograms {
    /// Fast Open on the left, plain connections on the right, a line for each power of two.
    fn lines(&self, state: &State, width: u16) -> Vec<Line<'static>> {
        let Self {
            title,
            tfo,
            plain,
            plain_handshakes,
        } = self;
        let handshakes = *plain_handshakes;
        let timed: u64 = plain.iter().map(|count| u64::from(*count)).sum();
        let sample = if timed < u64::from(handshakes) {
            format!(
                " ({} of {} timed)",
                number::count(timed),
                number::count(handshakes.into())
            )
        } else {
            String::new()
        };
        let median = |buckets: &Buckets| {
            quantile_us(buckets, 0.5)
                .map_or_else(|| "-".to_owned(), |us| format!("<{}", number::duration(us)))
        };
        let mut lines = vec![Line::from(vec![
            Span::styled(*title, state.theme.accent),
            Span::styled(
                format!(
                    "  half of those with Fast Open {}, of plain ones {}{sample}",
                    median(tfo),
                    median(plain)
                ),
                state.theme.dim,
            ),
        ])];
        let used = |place: &usize| tfo[*place] + plain[*place] > 0;
        let (Some(first), Some(last)) = ((0..BUCKETS).find(used), (0..BUCKETS).rev().find(used)) else {
            lines.push("  nothing measured".into());
            return lines;
        };
        let room = (usize::from(width).saturating_sub(30) / 2).clamp(8, 40);
        // Each side has its own scale, because there are usually far more connections of one kind.
        let most = |buckets: &Buckets| u64::from(buckets.iter().copied().max().unwrap_or(0));
        for place in first..=last {
            let (left, right) = (u64::from(tfo[place]), u64::from(plain[place]));
            lines.push(Line::from(vec![
                Span::styled(
                    format!("{:>8} ", format!("<{}", number::duration(1 << place))),
                    state.theme.dim,
                ),
                Span::raw(format!(
                    "{:>7} {:<room$}",
                    number::count(left),
                    bar(left, most(tfo), room, &state.glyphs)
                )),
                Span::styled(
                    format!(
                        " {:>7} {}",
                        number::count(right),
                        bar(right, most(plain), room, &state.glyphs)
                    ),
                    state.theme.dim,
                ),
            ]));
        }
        lines
    }
}

/// The latest connections of this destination, newest first.
fn recent(state: &State, row: &DestRow, width: u16) -> Vec<Line<'static>> {
    let snapshot = &state.snapshot;
    let here = |flow: &&Flow| {
        let event = flow.event();
        let port = if event.role == 0 {
            event.remote_port
        } else {
            event.local_port
        };
        let same_end = event.role == 1 || event.remote == row.key.remote;
        same_end
            && event.role == row.key.role
            && event.family == row.key.family
            && event.cgroup_id == row.key.cgroup_id
            && port == row.key.port
    };
    // Without the time to first byte a line fits 80 columns.
    let is_wide = width >= 91;
    let room = usize::from(width.saturating_sub(if is_wide { 67 } else { 58 })).clamp(8, 40);
    let line = |cells: [String; 7]| {
        let [at, who, outcome, syn, shake, ttfb, gain] = cells;
        let who = match who.char_indices().nth(room) {
            Some(_) => who.chars().take(room - 1).chain([state.glyphs.cut]).collect(),
            None => who,
        };
        let ttfb = if is_wide {
            format!(" {ttfb:>8}")
        } else {
            String::new()
        };
        format!("{at:<12}  {who:<room$} {outcome:<15} {syn:>9} {shake:>8}{ttfb} {gain:>8}")
    };
    let titles = ["TIME", "WHO", "OUTCOME", "SYN", "SHAKE", "TTFB", "GAIN"].map(str::to_owned);
    let mut lines = vec![
        Line::from(Span::styled("Latest connections", state.theme.accent)),
        Line::from(Span::styled(line(titles), state.theme.dim)),
    ];
    let shown = snapshot.flows.iter().rev().filter(here).take(RECENT);
    lines.extend(shown.map(|flow| {
        Line::from(line([
            time::of_day(snapshot.wall_ns(flow.event().end_ns))[..12].to_owned(),
            flow_text::who(flow, snapshot.names.get(row.key.cgroup_id)),
            flow.outcome().name().to_owned(),
            flow_text::syn(flow),
            flow_text::optional(flow.handshake_us()),
            flow_text::optional(flow.ttfb_us()),
            flow_text::gain(flow),
        ]))
    }));
    lines
}
