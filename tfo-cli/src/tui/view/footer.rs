//! The last line of the screen: the keys that do something now, or a message to the user.

use ratatui::{
    buffer::Buffer,
    layout::Rect,
    text::{Line, Span},
    widgets::{Paragraph, Widget},
};

use super::layout;
use crate::tui::{
    Permission,
    command::Command,
    state::{Popup, State, View},
};

/// Draws the footer.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if state.message.is_some() {
        Paragraph::new(message(state))
            .style(state.theme.strong)
            .render(area, buffer);
        return;
    }
    let place = place(state);
    let room = usize::from(area.width).saturating_sub(place.chars().count() + 1);
    let mut spans = Vec::new();
    let mut used = 0;
    for (index, (key, what)) in hints(state).into_iter().enumerate() {
        used += key.chars().count() + what.len() + 3;
        // A hint that does not fit is left out whole; the first two, help and quit, are always there.
        if used > room && index > 1 {
            break;
        }
        spans.push(Span::styled(key, state.theme.accent));
        spans.push(Span::raw(format!(" {what}  ")));
    }
    Line::from(spans).render(area, buffer);
    if used <= room + 1 || area.width > 60 {
        Line::styled(place, state.theme.dim)
            .right_aligned()
            .render(area, buffer);
    }
}

/// Lines that the footer takes: as many as the message needs, otherwise one.
pub fn height(state: &State) -> u16 {
    u16::try_from(message(state).len()).unwrap_or(1).max(1)
}

fn message(state: &State) -> Vec<Line<'static>> {
    let text = state.message.as_deref().unwrap_or_default();
    if text.chars().count() <= usize::from(state.size.width) {
        vec![text.to_owned().into()]
    } else {
        super::wrapped(text, state.size.width)
    }
}

/// Keys and what they do here, most important first.
fn hints(state: &State) -> Vec<(String, &'static str)> {
    if state.editing.is_some() {
        return [("Enter", "keep"), ("Esc", "cancel"), ("^U", "clear")]
            .map(|(key, what)| (key.into(), what))
            .to_vec();
    }
    let commands: &[(Command, &str)] = match (state.popup, &state.page, state.view) {
        (Some(Popup::Help), _, _) => &[(Command::Close, "close"), (Command::Down, "scroll")],
        (Some(_), _, _) => &[(Command::Back, "close")],
        (None, Some(_), _) => &[
            (Command::Help, "help"),
            (Command::Close, "back"),
            (Command::Down, "scroll"),
            (Command::Pause, "pause"),
            (Command::Copy, "copy"),
        ],
        (None, None, View::Host) => &[
            (Command::Help, "help"),
            (Command::Close, "quit"),
            (Command::NextView, "view"),
            (Command::Down, "scroll"),
        ],
        (None, None, View::Flows | View::Listeners | View::Findings) => &[
            (Command::Help, "help"),
            (Command::Close, "quit"),
            (Command::NextView, "view"),
            (Command::Open, "open"),
            (Command::Filter, "filter"),
            (Command::Pause, "pause"),
            (Command::Export, "export"),
        ],
        (None, None, View::Destinations | View::Services) => &[
            (Command::Help, "help"),
            (Command::Close, "quit"),
            (Command::NextView, "view"),
            (Command::Open, "open"),
            (Command::Filter, "filter"),
            (Command::SortNext, "sort"),
            (Command::Pause, "pause"),
            (Command::Export, "export"),
        ],
    };
    let travel: &[(Command, &str)] = match (state.popup, state.is_paused()) {
        (None, true) => &[
            (Command::Earlier, "earlier"),
            (Command::Later, "later"),
            (Command::Pause, "go on"),
        ],
        _ => &[],
    };
    // Keys that change rules are shown only where they may; the help always has them.
    let rules: &[(Command, &str)] = match (state.permission, state.popup, &state.page, state.view) {
        (Permission::Allowed, None, Some(_), _) => &[
            (Command::AddRule, "add rule"),
            (Command::ExpireRule, "expire"),
            (Command::RemoveRule, "remove"),
        ],
        (
            Permission::Allowed,
            None,
            None,
            View::Destinations | View::Services | View::Flows | View::Findings,
        ) => &[(Command::AddRule, "add rule")],
        _ => &[],
    };
    let is_useless = |command: Command| match command {
        Command::Open => state.view == View::Listeners || state.line().is_none(),
        Command::Pause => state.is_paused(),
        Command::Down => super::max_scroll(state) == 0,
        _ => false,
    };
    let fixed = commands.iter().filter(|(command, _)| !is_useless(*command));
    // Help and quit stay in front at every width.
    let (first, rest): (Vec<_>, Vec<_>) =
        fixed.partition(|(command, _)| matches!(command, Command::Help | Command::Close));
    let all = first.into_iter().chain(travel).chain(rules).chain(rest);
    all.filter_map(|(command, what)| Some((state.keys.first(*command)?, *what)))
        .collect()
}

/// The place of the cursor in the table and what sorts it, or the lines of the text that are shown.
fn place(state: &State) -> String {
    if state.popup.is_some() {
        return String::new();
    }
    if state.page.is_some() || state.view == View::Host {
        return lines_shown(state);
    }
    let place = state.list().index().map_or(0, |index| index + 1);
    let order = match state.view {
        View::Destinations | View::Services => format!(" by {}", state.sort.name()),
        _ => String::new(),
    };
    let unjudged = match state.table.unjudged {
        0 => String::new(),
        count => format!(", {count} unjudged"),
    };
    format!("{place}/{}{order}{unjudged}", state.table.lines.len())
}

/// Which lines of a text are on the screen; empty when all of them are.
fn lines_shown(state: &State) -> String {
    let (below, room) = (super::max_scroll(state), layout::split(state).body.height);
    if below == 0 {
        return String::new();
    }
    let first = state.scroll.min(below);
    format!("lines {}-{} of {}", first + 1, first + room, below + room)
}
