//! What the screens look like, and what keys and clicks change.

mod in_force;
mod journeys;
mod rules;
mod screens;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    Appearance, ModelState, Options, Permission, ThemeChoice,
    action::{self, Action},
    state::State,
    update::{Effect, update},
    view,
};
use crate::model::{Model, fake::Scenario};

/// Columns and lines of the screens that are compared with snapshots.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// A fixed theme, so that tests do not depend on the terminal they run in.
fn dark() -> Appearance {
    Appearance {
        theme: ThemeChoice::Dark,
        ..Appearance::default()
    }
}

fn with_appearance(appearance: Appearance) -> Options {
    Options {
        appearance,
        ..Options::default()
    }
}

fn with_permission(permission: Permission) -> Options {
    Options {
        permission,
        ..with_appearance(dark())
    }
}

fn state_with(options: &Options, size: (u16, u16), model: &Model) -> State {
    let mut state = State::new(options);
    update(&mut state, Action::Resize(size.0, size.1));
    show_model(&mut state, model);
    state
}

fn state(size: (u16, u16), model: &Model) -> State {
    state_with(&with_appearance(dark()), size, model)
}

fn show_model(state: &mut State, model: &Model) {
    let model_state = ModelState {
        snapshot: model.snapshot(),
        history: model.history(),
        status: Vec::new(),
    };
    update(state, Action::Snapshot(Box::new(model_state)));
}

/// Six destinations after five readings.
fn small_model() -> Model {
    Scenario::default().model(5)
}

fn screen(state: &State) -> TestBackend {
    let mut terminal =
        Terminal::new(TestBackend::new(state.size.width, state.size.height)).expect("a test terminal");
    terminal.draw(|frame| view::draw(frame, state)).expect("it draws");
    terminal.backend().clone()
}

fn send(state: &mut State, event: &Event) -> Vec<Effect> {
    action::from_event(event, state)
        .map(|action| update(state, action))
        .unwrap_or_default()
}

fn press(state: &mut State, keys: &[KeyCode]) -> Vec<Effect> {
    let event = |key: &KeyCode| Event::Key(KeyEvent::new(*key, KeyModifiers::NONE));
    keys.iter().flat_map(|key| send(state, &event(key))).collect()
}

fn ctrl(state: &mut State, character: char) -> Vec<Effect> {
    send(
        state,
        &Event::Key(KeyEvent::new(KeyCode::Char(character), KeyModifiers::CONTROL)),
    )
}

fn typed(state: &mut State, text: &str) -> Vec<Effect> {
    press(state, &text.chars().map(KeyCode::Char).collect::<Vec<_>>())
}

fn click(state: &mut State, column: u16, row: u16) -> Vec<Effect> {
    let kind = MouseEventKind::Down(MouseButton::Left);
    send(
        state,
        &Event::Mouse(MouseEvent {
            kind,
            column,
            row,
            modifiers: KeyModifiers::NONE,
        }),
    )
}
