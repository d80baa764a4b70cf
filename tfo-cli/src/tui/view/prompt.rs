//! The line of the filter: what it says, where the cursor is, what is wrong.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget,
};

use crate::tui::state::State;

/// Whether there is anything to say.
pub fn is_shown(state: &State) -> bool {
    state.editing.is_some() || !state.filter.text().is_empty()
}

/// Draws it.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    let (theme, line) = (state.theme, &state.filter);
    let mut spans = vec![Span::styled("/", theme.accent)];
    let wrong = line.error().map(|error| error.at.clone()).unwrap_or_default();
    for (place, (at, character)) in line.text().char_indices().enumerate() {
        let style = match (
            state.editing.is_some() && place == line.cursor(),
            wrong.contains(&at),
        ) {
            (true, _) => theme.cursor,
            (false, true) => theme.wrong,
            (false, false) => theme.strong,
        };
        spans.push(Span::styled(character.to_string(), style));
    }
    if state.editing.is_some() && line.cursor() == line.text().chars().count() {
        spans.push(Span::styled(" ", theme.cursor));
    }
    if let Some(error) = line.error() {
        spans.push(Span::styled(format!("  {}", error.message), theme.accent));
    } else if state.editing.is_some() && line.text().is_empty() {
        let help = "  dst: port: proc: cgroup: unit: role: outcome: fam:  lost>100ms  !negated";
        spans.push(Span::styled(help, theme.dim));
    }
    Line::from(spans).render(area, buffer);
}
