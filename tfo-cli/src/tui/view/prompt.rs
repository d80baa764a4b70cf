//! The line of the filter: its text, the cursor and its error. A long error has lines of its own below.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};

use crate::tui::state::State;

/// Examples of what can be typed, shown while the filter is empty.
const HELP: &str = "  dst: port: proc: cgroup: unit: role: outcome: fam:  lost>100ms  !negated";

/// Lines that the prompt takes: none while there is no filter and nobody edits it.
pub fn height(state: &State) -> u16 {
    if state.editing.is_none() && state.filter.text().is_empty() {
        return 0;
    }
    u16::try_from(lines(state).len()).unwrap_or(u16::MAX)
}

/// Draws the prompt.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height > 0 {
        Paragraph::new(lines(state)).render(area, buffer);
    }
}

fn lines(state: &State) -> Vec<Line<'static>> {
    let (theme, width) = (state.theme, usize::from(state.size.width));
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
        let wrapped = super::wrapped(&error.message, state.size.width);
        lines.extend(wrapped.into_iter().map(|line| line.style(theme.accent)));
    }
    lines
}

/// The text of the filter; of a long one, the part around the cursor.
fn text(state: &State) -> Vec<Span<'static>> {
    let (theme, line) = (state.theme, &state.filter);
    let editing = state.editing.is_some();
    let wrong = line.error().map(|error| error.at.clone()).unwrap_or_default();
    let room = usize::from(state.size.width).saturating_sub(2);
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
