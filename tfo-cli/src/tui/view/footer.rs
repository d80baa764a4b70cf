//! The last line: keys that do something now, help and quit first.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget,
};

use crate::tui::state::{Popup, State};

/// Draws it.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    let hints: &[(&str, &str)] = match state.popup {
        Some(Popup::Help) => &[("q Esc ?", "close")],
        None => &[
            ("?", "help"),
            ("q", "quit"),
            ("s", "sort"),
            ("S", "reverse"),
            ("Space", "pause"),
        ],
    };
    let mut spans = Vec::new();
    for (key, what) in hints {
        spans.push(Span::styled((*key).to_owned(), state.theme.accent));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    if state.popup.is_none() {
        let place = state.list.index().map_or(0, |index| index + 1);
        spans.push(Span::styled(
            format!("{place}/{} by {}", state.shown.len(), state.sort.name()),
            state.theme.dim,
        ));
    }
    Line::from(spans).render(area, buffer);
}
