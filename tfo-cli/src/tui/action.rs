//! What the user can ask for, and which key asks for it. One table serves the keyboard and the help.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

use super::state::{Popup, State};
use crate::model::Snapshot;

/// Something that changes the state.
#[derive(Clone, Debug)]
pub enum Action {
    /// Leave, at once.
    Quit,
    /// Leave the popup, or the program.
    Close,
    /// Leave the popup; never the program.
    Back,
    /// Show or hide the help.
    Help,
    /// Move by rows.
    Step(isize),
    /// Move by windows.
    Page(isize),
    /// Move to the first row.
    Top,
    /// Move to the last row.
    Bottom,
    /// Sort by the next order.
    SortNext,
    /// Turn the order around.
    SortReverse,
    /// Freeze or go on.
    Pause,
    /// Draw everything anew.
    Redraw,
    /// The terminal has a new size.
    Resize(u16, u16),
    /// There are new data.
    Snapshot(Box<Snapshot>),
}

/// A key, what it asks for and what the help says about it.
pub struct Binding {
    /// Keys that ask for it.
    pub keys: &'static [KeyCode],
    /// How the help names them.
    pub label: &'static str,
    /// What they do.
    pub help: &'static str,
    /// What they ask for.
    pub action: fn() -> Action,
}

const fn binding(
    keys: &'static [KeyCode],
    label: &'static str,
    help: &'static str,
    action: fn() -> Action,
) -> Binding {
    Binding {
        keys,
        label,
        help,
        action,
    }
}

/// Every key, in the order of the help.
pub const BINDINGS: [Binding; 13] = [
    binding(
        &[KeyCode::Char('?'), KeyCode::Char('h'), KeyCode::F(1)],
        "? h F1",
        "this help",
        || Action::Help,
    ),
    binding(&[KeyCode::Char('q')], "q", "quit; close a popup", || {
        Action::Close
    }),
    binding(&[KeyCode::Esc], "Esc", "close a popup", || Action::Back),
    binding(&[KeyCode::Up, KeyCode::Char('k')], "k Up", "one row up", || {
        Action::Step(-1)
    }),
    binding(
        &[KeyCode::Down, KeyCode::Char('j')],
        "j Down",
        "one row down",
        || Action::Step(1),
    ),
    binding(&[KeyCode::PageUp], "PgUp", "one page up", || Action::Page(-1)),
    binding(&[KeyCode::PageDown], "PgDn", "one page down", || Action::Page(1)),
    binding(
        &[KeyCode::Char('g'), KeyCode::Home],
        "g Home",
        "first row, and stay there",
        || Action::Top,
    ),
    binding(&[KeyCode::Char('G'), KeyCode::End], "G End", "last row", || {
        Action::Bottom
    }),
    binding(&[KeyCode::Char('s')], "s", "sort by the next column", || {
        Action::SortNext
    }),
    binding(&[KeyCode::Char('S')], "S", "reverse the order", || {
        Action::SortReverse
    }),
    binding(
        &[KeyCode::Char(' '), KeyCode::Char('p')],
        "Space p",
        "freeze the view, go on",
        || Action::Pause,
    ),
    binding(&[KeyCode::F(5)], "F5", "draw everything anew", || Action::Redraw),
];

/// What an event of the terminal asks for in this state.
pub fn from_event(event: &Event, state: &State) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => from_key(key, state),
        Event::Resize(width, height) => Some(Action::Resize(*width, *height)),
        _ => None,
    }
}

fn from_key(key: &KeyEvent, state: &State) -> Option<Action> {
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return match key.code {
            KeyCode::Char('c') => Some(Action::Quit),
            KeyCode::Char('l') => Some(Action::Redraw),
            _ => None,
        };
    }
    let action = BINDINGS
        .iter()
        .find(|binding| binding.keys.contains(&key.code))
        .map(|found| (found.action)());
    match state.popup {
        // Under the help the table does not move.
        Some(Popup::Help) => action.filter(|action| {
            matches!(
                action,
                Action::Help | Action::Close | Action::Back | Action::Redraw | Action::Quit
            )
        }),
        None => action,
    }
}
