//! What can happen to the state, and what events of the terminal mean in it.

use std::net::IpAddr;

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::{
    command::Command,
    policy::{Answer, FormKey},
    state::{Popup, State},
};
use crate::model::{Snapshot, history::History};

/// Rows one notch of the wheel moves.
const WHEEL: isize = 3;

/// Something that changes the state.
#[derive(Debug)]
pub enum Action {
    /// A key was pressed that is bound to this.
    Command(Command),
    /// The filter is edited.
    Edit(Edit),
    /// A format was chosen in the export popup.
    Export(Format),
    /// The form of a rule is filled in.
    Form(FormKey),
    /// Something about the policy came back.
    Policy(Answer),
    /// The question in the popup was answered with yes.
    Confirm,
    /// The wheel was turned.
    Wheel(isize),
    /// Column and line that were clicked.
    Click(u16, u16),
    /// The terminal has a new size.
    Resize(u16, u16),
    /// There are new data.
    Snapshot(Box<Fresh>),
    /// The name of an address is known; `None` when it has none.
    Resolved(IpAddr, Option<String>),
    /// Something to tell.
    Message(String),
}

/// What the model has.
#[derive(Debug)]
pub struct Fresh {
    /// The latest.
    pub snapshot: Snapshot,
    /// The past up to it.
    pub history: History,
    /// Remarks about where it comes from.
    pub status: Vec<String>,
}

/// A change of the filter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// A character is typed.
    Insert(char),
    /// The one before the cursor goes.
    Backspace,
    /// The one under the cursor goes.
    Delete,
    /// Everything goes.
    Clear,
    /// The cursor moves.
    Move(isize),
    /// It stays as it is.
    Accept,
    /// It becomes what it was before.
    Cancel,
}

/// Formats of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A table for a ticket.
    Markdown,
    /// RFC 4180.
    Csv,
    /// One array of objects.
    Json,
}

/// What an event of the terminal asks for in this state.
pub fn from_event(event: &Event, state: &State) -> Option<Action> {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => from_key(key, state),
        Event::Mouse(mouse) => from_mouse(*mouse),
        Event::Resize(width, height) => Some(Action::Resize(*width, *height)),
        _ => None,
    }
}

fn from_mouse(mouse: MouseEvent) -> Option<Action> {
    match mouse.kind {
        MouseEventKind::Down(MouseButton::Left) => Some(Action::Click(mouse.column, mouse.row)),
        MouseEventKind::ScrollUp => Some(Action::Wheel(-WHEEL)),
        MouseEventKind::ScrollDown => Some(Action::Wheel(WHEEL)),
        _ => None,
    }
}

fn from_key(key: &KeyEvent, state: &State) -> Option<Action> {
    let command = state.keys.command(key);
    // Leaving works wherever one is.
    if let Some(Command::Quit | Command::Suspend | Command::Redraw) = command
        && key.modifiers.contains(KeyModifiers::CONTROL)
    {
        return command.map(Action::Command);
    }
    if state.editing.is_some() {
        return edit(key).map(Action::Edit);
    }
    match state.popup {
        None => command.map(Action::Command),
        Some(Popup::Help) => command
            .filter(|command| is_reading(*command))
            .map(Action::Command),
        Some(Popup::Clear) => match key.code {
            KeyCode::Char('y') | KeyCode::Enter => Some(Action::Confirm),
            _ => Some(Action::Command(Command::Back)),
        },
        Some(Popup::Rule(_)) => form(key, command),
        Some(Popup::Planning) => command
            .filter(|command| is_leaving(*command))
            .map(Action::Command),
        Some(Popup::Plan) => match (key.code, command) {
            (KeyCode::Char('y'), _) if key.modifiers.is_empty() => Some(Action::Confirm),
            // What does not fit can be read all the same.
            (_, Some(command)) if is_reading(command) && command != Command::Help => {
                Some(Action::Command(command))
            }
            _ => Some(Action::Command(Command::Back)),
        },
        Some(Popup::Export) => match key.code {
            KeyCode::Char('m') => Some(Action::Export(Format::Markdown)),
            KeyCode::Char('c') => Some(Action::Export(Format::Csv)),
            KeyCode::Char('j') => Some(Action::Export(Format::Json)),
            _ => command
                .filter(|command| is_leaving(*command))
                .map(Action::Command),
        },
    }
}

fn is_leaving(command: Command) -> bool {
    matches!(command, Command::Close | Command::Back)
}

/// Lines by the keys that move the cursor, choices by the arrows across.
fn form(key: &KeyEvent, command: Option<Command>) -> Option<Action> {
    let key = match (key.code, command) {
        (KeyCode::Enter, _) => FormKey::Done,
        (KeyCode::Left, _) => FormKey::Choose(-1),
        (KeyCode::Right | KeyCode::Char(' '), _) => FormKey::Choose(1),
        (KeyCode::Tab, _) | (_, Some(Command::Down)) => FormKey::Go(1),
        (KeyCode::BackTab, _) | (_, Some(Command::Up)) => FormKey::Go(-1),
        (_, Some(command)) if is_leaving(command) => return Some(Action::Command(command)),
        _ => return None,
    };
    Some(Action::Form(key))
}

/// Under the help the table does not move, but the help does.
fn is_reading(command: Command) -> bool {
    matches!(
        command,
        Command::Help
            | Command::Close
            | Command::Back
            | Command::Up
            | Command::Down
            | Command::PageUp
            | Command::PageDown
            | Command::Top
            | Command::Bottom
    )
}

fn edit(key: &KeyEvent) -> Option<Edit> {
    let ctrl = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('u') if ctrl => Some(Edit::Clear),
        KeyCode::Char(character) if !ctrl => Some(Edit::Insert(character)),
        KeyCode::Backspace => Some(Edit::Backspace),
        KeyCode::Delete => Some(Edit::Delete),
        KeyCode::Left => Some(Edit::Move(-1)),
        KeyCode::Right => Some(Edit::Move(1)),
        KeyCode::Home => Some(Edit::Move(isize::MIN)),
        KeyCode::End => Some(Edit::Move(isize::MAX)),
        KeyCode::Enter => Some(Edit::Accept),
        KeyCode::Esc => Some(Edit::Cancel),
        _ => None,
    }
}
