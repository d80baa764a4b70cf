//! The line of tabs.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::Widget,
};

use crate::tui::{
    command::Command,
    state::{Page, State, View},
};

/// Draws the tabs, and the kind of page that is open.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    let mut spans = Vec::new();
    for (view, label) in labels(state) {
        let chosen = view == state.view;
        let style = if chosen {
            state.theme.cursor
        } else {
            state.theme.dim
        };
        spans.extend([Span::styled(label, style), Span::raw(" ")]);
    }
    let page = match &state.page {
        Some(Page::Destination(_)) => "> destination",
        Some(Page::Finding(..)) => "> finding",
        Some(Page::Flow(_)) => "> connection",
        None => "",
    };
    // Left out where it does not fit: the page itself says what it is about.
    let used: usize = spans.iter().map(Span::width).sum();
    if used + page.len() <= area.width.into() {
        spans.push(Span::styled(page, state.theme.accent));
    }
    Line::from(spans).render(area, buffer);
}

/// Each view with the text of its tab: its key, a digit or for findings a letter, and its title.
fn labels(state: &State) -> impl Iterator<Item = (View, String)> {
    (1..).zip(View::ALL).map(|(number, view)| {
        let key = |command| state.keys.first(command).unwrap_or_default();
        match view {
            View::Findings => (view, format!(" {} {} ", key(Command::Findings), view.title())),
            View::Services if state.by_network => (view, format!(" {} Networks ", key(Command::Networks))),
            _ => (view, format!(" {number} {} ", view.title())),
        }
    })
}

/// The view whose tab is at this column of the screen.
pub fn hit(state: &State, x: u16) -> Option<View> {
    let mut start = 0;
    for (view, label) in labels(state) {
        let end = start + u16::try_from(label.len()).unwrap_or(0);
        if (start..end).contains(&x) {
            return Some(view);
        }
        start = end + 1;
    }
    None
}
