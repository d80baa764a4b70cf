//! The line of the filter: what it says, where the cursor is, what is wrong. A long explanation has lines of its
//! own.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};

use crate::tui::state::State;

/// What may be typed, while nothing is.
const HELP: &str = "  dst: port: proc: cgroup: unit: role: outcome: fam:  lost>100ms  !negated";

/// Lines it takes: none where there is nothing to say.
pub fn height(state: &State) -> u16 {
    if state.editing.is_none() && state.filter.text().is_empty() {
        return 0;
    }
    u16::try_from(lines(state).len()).unwrap_or(u16::MAX)
}

/// Draws it.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height > 0 {
        Paragraph::new(lines(state)).render(area, buffer);
    }
}

fn lines(state: &State) -> Vec<Line<'static>> {
    let (theme, width) = (state.theme, usize::from(state.size.0));
    let mut lines = vec![Line::from(text(state))];
    let Some(error) = state.filter.error() else {
        if state.editing.is_some() && state.filter.text().is_empty() {
            lines[0].push_span(Span::styled(HELP, theme.dim));
        }
        return lines;
    };
    if lines[0].width() + 2 + error.message.chars().count() <= width {
        lines[0].push_span(Span::styled(format!("  {}", error.message), theme.accent));
    } else {
        let wrapped = super::wrapped(&error.message, state.size.0);
        lines.extend(wrapped.into_iter().map(|line| line.style(theme.accent)));
    }
    lines
}

/// The filter, of a long one the part around the cursor.
fn text(state: &State) -> Vec<Span<'static>> {
    let (theme, line) = (state.theme, &state.filter);
    let editing = state.editing.is_some();
    let wrong = line.error().map(|error| error.at.clone()).unwrap_or_default();
    let room = usize::from(state.size.0).saturating_sub(2);
    let hidden = if editing {
        line.cursor().saturating_sub(room)
    } else {
        0
    };
    let mut spans = vec![Span::styled("/", theme.accent)];
    for (place, (at, character)) in line.text().char_indices().enumerate().skip(hidden) {
        let style = match (editing && place == line.cursor(), wrong.contains(&at)) {
            (true, _) => theme.cursor,
            (false, true) => theme.wrong,
            (false, false) => theme.strong,
        };
        spans.push(Span::styled(character.to_string(), style));
    }
    if editing && line.cursor() == line.text().chars().count() {
        spans.push(Span::styled(" ", theme.cursor));
    }
    spans
}
