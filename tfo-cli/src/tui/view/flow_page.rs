//! The page of a flow: its handshake as a ladder with the times between the segments, and what the outcome means.

use ratatui::text::{Line, Span};
use tfo_common::Role;

use crate::{
    model::{
        Flow,
        ladder::{self, Step},
    },
    output::{clean, flow_text, number, time},
    tui::state::State,
};

/// Columns between the two vertical lines of the ladder.
const WIDTH: usize = 56;

/// The lines of the page.
pub fn lines(state: &State, flow: &Flow, width: u16) -> Vec<Line<'static>> {
    let mut lines = vec![title(state, flow), facts(state, flow), Line::default()];
    let (left, right) = match flow.role() {
        Role::Client => ("this host", "server"),
        Role::Server => ("client", "this host"),
    };
    let wall = state.glyphs.wall;
    lines.push(Line::from(Span::styled(
        format!("{:>12} {left:<half$}{right:>half$}", "", half = WIDTH / 2 + 1),
        state.theme.dim,
    )));
    let mut before = 0;
    for step in ladder::steps(flow) {
        let since = step.at_us.saturating_sub(before);
        before = step.at_us;
        let when = if step.at_us == 0 {
            "0".to_owned()
        } else {
            format!("+{}", number::duration(since))
        };
        lines.push(Line::from(format!("{:>12} {wall}{:WIDTH$}{wall}", "", "")));
        lines.push(arrow(state, &step, &when));
    }
    lines.push(Line::from(format!("{:>12} {wall}{:WIDTH$}{wall}", "", "")));
    lines.push(Line::default());
    let sentence = ladder::sentence(flow.role(), flow.outcome());
    lines.extend(
        super::wrapped(sentence, width)
            .into_iter()
            .map(|line| line.style(state.theme.strong)),
    );
    lines.extend(worth(flow));
    lines
}

fn title(state: &State, flow: &Flow) -> Line<'static> {
    let arrow = if flow.role() == Role::Client { "->" } else { "<-" };
    let remote = match state.host_name(flow.remote_ip()) {
        Some(name) => format!("{} ({})", flow.remote(), clean(name)),
        None => flow.remote().to_string(),
    };
    Line::from(vec![
        Span::styled(flow.outcome().name(), state.theme.accent),
        Span::raw(format!(
            "  {} {} {arrow} {remote}",
            flow.role().name(),
            flow.local()
        )),
    ])
}

fn facts(state: &State, flow: &Flow) -> Line<'static> {
    let event = flow.event();
    let snapshot = &state.snapshot;
    Line::from(format!(
        "{} UTC  {}  {}  netns {}{}",
        time::of_day(snapshot.wall_ns(event.end_ns)),
        flow_text::who(flow, None),
        clean(&snapshot.names.label(event.cgroup_id)),
        event.netns,
        flow.policy()
            .map(|policy| format!("  policy {}", policy.name()))
            .unwrap_or_default(),
    ))
    .style(state.theme.dim)
}

/// One segment of the handshake, as an arrow between the two vertical lines.
fn arrow(state: &State, step: &Step, when: &str) -> Line<'static> {
    let glyphs = state.glyphs;
    let stroke = if step.arrived { glyphs.line } else { glyphs.lost };
    let text = format!(" {} ", step.what);
    let room = WIDTH.saturating_sub(text.chars().count() + 1);
    let (short, long) = (2.min(room), room.saturating_sub(2));
    let strokes = |count: usize| stroke.to_string().repeat(count);
    // The arrow of a segment that was lost has no point.
    let drawn = match (step.to_server, step.arrived) {
        (true, true) => format!("{}{text}{}{}", strokes(short), strokes(long), glyphs.ends.1),
        (true, false) => format!("{}{text}{}x", strokes(short), strokes(long)),
        (false, _) => format!("{}{}{text}{}", glyphs.ends.0, strokes(long), strokes(short)),
    };
    let style = if step.arrived {
        ratatui::style::Style::new()
    } else {
        state.theme.strong
    };
    Line::from(vec![
        Span::styled(format!("{when:>12} "), state.theme.dim),
        Span::raw(glyphs.wall.to_string()),
        Span::styled(drawn, style),
        Span::raw(glyphs.wall.to_string()),
    ])
}

/// The time that the data in the SYN saved, or that a timeout lost; `None` when neither is known.
fn worth(flow: &Flow) -> Option<Line<'static>> {
    let event = flow.event();
    match (event.saved_us, event.lost_us) {
        (0, 0) => None,
        (saved, 0) => Some(format!("saved {}", number::duration(saved.into())).into()),
        (_, lost) => Some(format!("lost {}", number::duration(lost.into())).into()),
    }
}
