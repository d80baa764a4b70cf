//! The actions that change the state, and which of them an event of the terminal asks for.

use std::net::IpAddr;

use crossterm::event::{
    Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, MouseButton, MouseEvent, MouseEventKind,
};

use super::{
    ModelState,
    command::Command,
    policy::{Answer, FormKey},
    state::{Popup, State},
};
/// Rows that one notch of the mouse wheel moves the cursor.
const WHEEL: isize = 3;

/// Something that changes the state.
#[derive(Debug)]
pub enum Action {
    /// A key was pressed that is bound to this command.
    Command(Command),
    /// A key changed the filter line.
    Edit(Edit),
    /// A format was chosen in the popup of the export.
    Export(Format),
    /// A key was pressed in the form of a rule.
    Form(FormKey),
    /// The thread that changes the policy has answered.
    Policy(Answer),
    /// The question in the popup was answered with yes.
    Confirm,
    /// The mouse wheel was turned: rows to move, negative upwards.
    Wheel(isize),
    /// The left mouse button was pressed at this column and line, counted from 0.
    Click(u16, u16),
    /// The terminal has this many columns and lines now.
    Resize(u16, u16),
    /// The model has changed.
    Snapshot(Box<ModelState>),
    /// A name server has answered: the name of the address, `None` when it has none.
    Resolved(IpAddr, Option<String>),
    /// A message to the user, shown in the footer until the next key.
    Message(String),
}

/// A change of the filter line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    /// Inserts a character at the cursor.
    Insert(char),
    /// Removes the character before the cursor.
    Backspace,
    /// Removes the character under the cursor.
    Delete,
    /// Removes all characters.
    Clear,
    /// Moves the cursor by this many characters, negative to the left.
    Move(isize),
    /// Ends editing and keeps the filter.
    Accept,
    /// Ends editing and restores the filter from before it.
    Cancel,
}

/// File formats of an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Markdown table, for a ticket.
    Markdown,
    /// Comma-separated values (RFC 4180).
    Csv,
    /// A JSON array with one object for each row.
    Json,
}

/// The action that an event of the terminal asks for in this state; `None` when the event means nothing here.
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
    // Ctrl+C, Ctrl+Z and Ctrl+L work everywhere, also while text is edited.
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
            // A plan that is longer than the box can be scrolled.
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

/// Keys in the form of a rule: those that move the cursor select a line, Left, Right and Space a choice in it.
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

/// Whether a command scrolls or closes a popup: in front of the table, the other commands do nothing.
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
