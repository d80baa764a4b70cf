//! Draws the state. Each region of the screen has a file:
//!
//! ```text
//! +--------------------------------------------------+
//! | header: host, sysctl, totals, losses, cross-check|
//! | tabs: 1 Destinations  2 Services  3 Flows ...    |
//! | body: a table (grid) or a page                   |
//! |   ...                                            |
//! | prompt: the filter and its error                 |
//! | footer: the keys that do something now           |
//! +--------------------------------------------------+
//! ```

mod bars;
mod chart;
mod destination_page;
mod destinations;
mod finding_page;
mod findings;
mod flow_page;
mod flows;
mod footer;
pub mod grid;
mod header;
mod help;
mod host;
mod in_force;
pub mod layout;
mod listeners;
mod popup;
mod prompt;
mod rule_popup;
mod tabs;

use ratatui::{
    Frame,
    buffer::Buffer,
    layout::Rect,
    text::Line,
    widgets::{Paragraph, Widget},
};

use self::layout::Regions;
use super::{
    state::{Page, Popup, State, View},
    table::TableLine,
};
use crate::{clean::is_hostile, model::SortKey};

/// What a mouse click hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hit {
    /// The tab of a view.
    Tab(View),
    /// A heading that sorts by this.
    Heading(SortKey),
    /// A line of the table, by its index.
    Row(usize),
}

/// Draws the whole screen.
pub fn draw(frame: &mut Frame<'_>, state: &State) {
    let screen = frame.area();
    let regions = layout::split(state);
    let buffer = frame.buffer_mut();
    if screen.width < state.size.width || screen.height < state.size.height {
        // The terminal has shrunk. The resize event that follows draws the next frame.
        return;
    }
    header::draw(state, regions.header, buffer);
    tabs::draw(state, regions.tabs, buffer);
    body(state, regions, buffer);
    prompt::draw(state, regions.prompt, buffer);
    footer::draw(state, regions.footer, buffer);
    match state.popup {
        Some(Popup::Help) => help::draw(state, screen, buffer),
        Some(Popup::Clear) => popup::clear(state, screen, buffer),
        Some(Popup::Export) => popup::export(state, screen, buffer),
        Some(Popup::Rule(form)) => rule_popup::form(state, &form, screen, buffer),
        Some(Popup::Planning) => rule_popup::planning(state, screen, buffer),
        Some(Popup::Plan) => rule_popup::plan(state, screen, buffer),
        None => {}
    }
    disarm(buffer);
}

/// What names of others still have in them that could steer the terminal. The regions clean what they know to be a name;
/// this is for what they forgot, and for bidirectional text, which ratatui lets pass.
fn disarm(buffer: &mut Buffer) {
    for cell in &mut buffer.content {
        if cell.symbol().contains(is_hostile) {
            cell.set_symbol("?");
        }
    }
}

fn body(state: &State, regions: Regions, buffer: &mut Buffer) {
    match text(state, regions.body.width) {
        Some(lines) => Paragraph::new(lines)
            .scroll((state.scroll, 0))
            .render(regions.body, buffer),
        None => grid::draw(state, regions.body, buffer),
    }
}

/// The lines of the body where it is a page or the view of the host; `None` where it is a table.
fn text(state: &State, width: u16) -> Option<Vec<Line<'static>>> {
    match (&state.page, state.view) {
        (Some(Page::Destination(key)), _) => Some(destination_page::lines(state, key, width)),
        (Some(Page::Finding(id, subject)), _) => Some(finding_page::lines(state, *id, subject, width)),
        (Some(Page::Flow(flow)), _) => Some(flow_page::lines(state, flow, width)),
        (None, View::Host) => Some(host::lines(state)),
        (None, _) => None,
    }
}

/// Lines by which the popup or the body can be scrolled; 0 when all of it is on the screen, or when it is a table.
pub fn max_scroll(state: &State) -> u16 {
    let regions = layout::split(state);
    let (lines, room) = match (state.popup, text(state, regions.body.width)) {
        (Some(Popup::Help), _) => (help::lines(state).len(), popup::room(state)),
        (Some(Popup::Plan), _) => (rule_popup::plan_lines(state).len(), popup::room(state)),
        (_, Some(lines)) => (lines.len(), regions.body.height),
        (_, None) => (0, 0),
    };
    u16::try_from(lines).unwrap_or(u16::MAX).saturating_sub(room)
}

/// The lines of the table that are on the screen.
pub fn visible(state: &State) -> impl Iterator<Item = TableLine> {
    let height = usize::from(layout::split(state).body.height);
    state
        .table
        .lines
        .iter()
        .skip(state.list().offset())
        .take(height)
        .copied()
}

/// The line under the cursor as text or, where the body is text, that. `None` when the table is empty.
pub fn selected_text(state: &State) -> Option<String> {
    if state.page.is_some() || state.view == View::Host {
        let lines = text(state, state.size.width)?;
        return Some(
            lines
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        );
    }
    Some(grid::text(state, state.line()?))
}

/// What lies at this column and line of the screen; `None` when a click there does nothing.
pub fn hit(state: &State, x: u16, y: u16) -> Option<Hit> {
    let regions = layout::split(state);
    if contains(regions.tabs, x, y) {
        return tabs::hit(state, x).map(Hit::Tab);
    }
    if state.page.is_some() || state.view == View::Host || !contains(regions.body, x, y) {
        return None;
    }
    if y == regions.body.y {
        return grid::heading_at(state, regions.body, x).map(Hit::Heading);
    }
    let place = state.list().offset() + usize::from(y - regions.body.y - 1);
    (place < state.table.lines.len()).then_some(Hit::Row(place))
}

fn contains(area: Rect, x: u16, y: u16) -> bool {
    (area.x..area.right()).contains(&x) && (area.y..area.bottom()).contains(&y)
}

/// A text in lines of at most `width` columns, but no fewer than 20 and no more than 100. A word that is longer than a
/// line, as paths may be, goes over several.
fn wrapped(text: &str, width: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).clamp(20, 100);
    let length = |text: &str| text.chars().count();
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if length(line) + 1 + length(word) <= room => {
                line.push(' ');
                line.push_str(word);
            }
            _ => {
                let characters: Vec<char> = word.chars().collect();
                lines.extend(
                    characters
                        .chunks(room)
                        .map(|part| part.iter().collect::<String>()),
                );
            }
        }
    }
    lines.into_iter().map(Line::from).collect()
}
