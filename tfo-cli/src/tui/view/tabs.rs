//! The line of tabs.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget,
};

use crate::tui::state::{Page, State, View};

/// Draws it.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    let mut spans = Vec::new();
    for (view, label) in labels() {
        let chosen = view == state.view;
        let style = if chosen {
            state.theme.cursor
        } else {
            state.theme.dim
        };
        spans.extend([Span::styled(label, style), Span::raw(" ")]);
    }
    match &state.page {
        Some(Page::Destination(_)) => spans.push(Span::styled("> destination", state.theme.accent)),
        Some(Page::Flow(_)) => spans.push(Span::styled("> connection", state.theme.accent)),
        None => {}
    }
    Line::from(spans).render(area, buffer);
}

fn labels() -> impl Iterator<Item = (View, String)> {
    (1..)
        .zip(View::ALL)
        .map(|(number, (view, name))| (view, format!(" {number} {name} ")))
}

/// The tab at this column.
pub fn hit(x: u16) -> Option<View> {
    let mut start = 0;
    for (view, label) in labels() {
        let end = start + u16::try_from(label.len()).unwrap_or(0);
        if (start..end).contains(&x) {
            return Some(view);
        }
        start = end + 1;
    }
    None
}
