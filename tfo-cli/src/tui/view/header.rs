//! The lines above the table: the host and its settings of Fast Open, the totals of both roles, time saved and lost,
//! and, where there are any, findings, losses and degradations.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};
use tfo_common::{Outcome, Role};

use crate::{
    model::{diagnosis::Severity, host::sysctl_words, snapshot::sum},
    output::{clean, number, table, time},
    tui::{Permission, command::Command, state::State},
};

/// Columns from which on both roles fit on one line.
const WIDE: u16 = 140;

/// Draws the header.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    Paragraph::new(lines(state)).render(area, buffer);
}

/// Lines that the header takes; as many as `lines` makes.
pub fn height(state: &State) -> u16 {
    let more = u16::from(!state.snapshot.diagnosis.findings.is_empty())
        + u16::from(state.snapshot.lost() > 0)
        + u16::from(!state.snapshot.degradations.is_empty());
    more + if state.size.width >= WIDE { 3 } else { 4 }
}

/// The lines of the header, without those that have nothing to say.
fn lines(state: &State) -> Vec<Line<'static>> {
    let mut lines = vec![title(state)];
    let [client, server] = Role::ALL.map(|role| counts(state, role));
    if state.size.width >= WIDE {
        lines.push(
            client
                .into_iter()
                .chain([Span::raw("    ")])
                .chain(server)
                .collect(),
        );
    } else {
        lines.extend([Line::from(client), Line::from(server)]);
    }
    lines.push(ledger(state));
    lines.extend(findings(state));
    lines.extend(losses(state));
    lines.extend(degradations(state));
    lines
}

fn title(state: &State) -> Line<'static> {
    let (snapshot, theme) = (&state.snapshot, state.theme);
    let host = &snapshot.host;
    let sysctl = host
        .tcp_fastopen
        .map_or_else(|| "unknown".to_owned(), |value| format!("{value:#x}"));
    let name = format!("tfo-cli {}", clean(&host.name));
    let mut spans = vec![
        Span::styled(name.trim_end().to_owned(), theme.accent),
        "  ".into(),
    ];
    if state.is_paused() {
        spans.extend([Span::styled(paused(state), theme.alert), "  ".into()]);
    }
    if state.permission == Permission::Allowed {
        spans.extend([Span::styled(" ALLOW-POLICY ", theme.alert), "  ".into()]);
    }
    for status in &state.status {
        let style = if status.starts_with(' ') {
            theme.alert
        } else {
            theme.strong
        };
        spans.extend([Span::styled(status.clone(), style), "  ".into()]);
    }
    if snapshot.at_ns > 0 {
        spans.push(Span::raw(time::of_day_seconds(snapshot.wall_ns(snapshot.at_ns))));
        spans.push("  ".into());
    }
    let words = host.tcp_fastopen.map(sysctl_words).unwrap_or_default();
    let setting = [Span::styled("host tcp_fastopen=", theme.dim), Span::raw(sysctl)];
    let words = Span::raw(if words.is_empty() {
        words
    } else {
        format!(" {words}")
    });
    let pause = [
        Span::styled("  blackhole pause ", theme.dim),
        Span::raw(table::blackhole(snapshot)),
    ];
    // A part that does not fit is left out whole. The words repeat what the number says, so they are left out first.
    let width = |spans: &[Span<'_>]| spans.iter().map(Span::width).sum::<usize>();
    let mut free = usize::from(state.size.width).saturating_sub(width(&spans));
    let mut fits = |width: usize| {
        let fits = width <= free;
        free -= if fits { width } else { 0 };
        fits
    };
    let shown = [fits(width(&setting)), fits(width(&pause)), fits(words.width())];
    spans.extend(setting.into_iter().filter(|_| shown[0]));
    spans.extend(Some(words).filter(|_| shown[0] && shown[2]));
    spans.extend(pause.into_iter().filter(|_| shown[1]));
    spans.into()
}

/// The sign for a frozen view; in the past, with how far back it is.
fn paused(state: &State) -> String {
    let now = state.present.as_ref().map_or(0, |present| present.at_ns);
    match now.saturating_sub(state.snapshot.at_ns) / 1_000 {
        0 => " PAUSED ".to_owned(),
        us => format!(
            " PAUSED -{} of {} ",
            number::duration(us),
            number::duration(state.history.span_ns() / 1_000)
        ),
    }
}

fn counts(state: &State, role: Role) -> Vec<Span<'static>> {
    let (snapshot, theme) = (&state.snapshot, state.theme);
    let total = |wanted| number::count(snapshot.total(role, wanted));
    let fresh = sum(&snapshot.fresh, role, |outcome| !outcome.is_plain());
    vec![
        Span::styled(format!("{} ", role.name()), theme.dim),
        Span::styled(
            format!("{:>6}", total(|outcome| !outcome.is_plain())),
            theme.strong,
        ),
        Span::styled(" tried ", theme.dim),
        Span::raw(format!("{:>6}", number::rate(fresh, snapshot.interval_ns))),
        Span::styled("/s ", theme.dim),
        Span::raw(format!("{:>6}", total(Outcome::is_good))),
        Span::styled(" good ", theme.dim),
        Span::raw(format!("{:>6}", total(Outcome::is_failure))),
        Span::styled(" failed ", theme.dim),
        Span::raw(format!("{:>6}", total(Outcome::is_plain))),
        Span::styled(" plain", theme.dim),
    ]
}

/// Time saved, time lost, and what they come to; then how the kernel's own counters compare.
fn ledger(state: &State) -> Line<'static> {
    let (snapshot, theme) = (&state.snapshot, state.theme);
    let (saved, lost) = snapshot.ledger_us();
    let net = i64::try_from(saved).unwrap_or(i64::MAX) - i64::try_from(lost).unwrap_or(i64::MAX);
    Line::from(vec![
        Span::styled("saved ", theme.dim),
        Span::raw(number::duration(saved)),
        Span::styled("  lost ", theme.dim),
        Span::raw(number::duration(lost)),
        Span::styled("  net ", theme.dim),
        Span::styled(number::signed_duration(net), theme.strong),
        Span::styled("  in ", theme.dim),
        Span::raw(number::duration(snapshot.elapsed_ns / 1_000)),
        Span::styled("   kernel counts ", theme.dim),
        Span::raw(table::cross_check(snapshot)),
    ])
}

/// How many findings there are of each severity, and the key that shows them; `None` without findings.
fn findings(state: &State) -> Option<Line<'static>> {
    let report = &state.snapshot.diagnosis;
    let counts: Vec<String> = Severity::ALL
        .into_iter()
        .map(|severity| (report.count(severity), severity.name()))
        .filter(|(count, _)| *count > 0)
        .map(|(count, name)| format!("{count} {name}"))
        .collect();
    let key = state.keys.first(Command::Findings).unwrap_or_default();
    let style = if report.has_failed() {
        state.theme.alert
    } else {
        state.theme.strong
    };
    (!counts.is_empty()).then(|| {
        Line::from(vec![
            Span::styled(" FINDINGS ", style),
            Span::raw(format!(" {}", counts.join(", "))),
            Span::styled(format!("  {key} shows them"), state.theme.dim),
        ])
    })
}

fn losses(state: &State) -> Option<Line<'static>> {
    (state.snapshot.lost() > 0).then(|| {
        Line::from(vec![
            Span::styled(" LOST ", state.theme.alert),
            Span::raw(format!(" {}", table::losses(&state.snapshot))),
        ])
    })
}

fn degradations(state: &State) -> Option<Line<'static>> {
    let names: Vec<&str> = state.snapshot.degradations.iter().map(|one| one.name).collect();
    (!names.is_empty()).then(|| {
        Line::from(vec![
            Span::styled(" DEGRADED ", state.theme.alert),
            Span::raw(format!(" {}", names.join(", "))),
        ])
    })
}
