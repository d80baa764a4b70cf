//! Screens as snapshots, and keys as state changes.

mod in_force;
mod journeys;
mod rules;
mod screens;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    Appearance, Options, Permission, ThemeChoice,
    action::{self, Action, Fresh},
    state::State,
    update::{Effect, update},
    view,
};
use crate::model::{Model, fake::Scenario};

/// Every screen is looked at in these.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

/// Tests do not depend on the terminal they run in.
fn dark() -> Appearance {
    Appearance {
        theme: ThemeChoice::Dark,
        ..Appearance::default()
    }
}

fn looks(appearance: Appearance) -> Options {
    Options {
        appearance,
        ..Options::default()
    }
}

fn may(permission: Permission) -> Options {
    Options {
        permission,
        ..looks(dark())
    }
}

fn state_with(options: &Options, size: (u16, u16), model: &Model) -> State {
    let mut state = State::new(options);
    update(&mut state, Action::Resize(size.0, size.1));
    feed(&mut state, model);
    state
}

fn state(size: (u16, u16), model: &Model) -> State {
    state_with(&looks(dark()), size, model)
}

fn feed(state: &mut State, model: &Model) {
    let fresh = Fresh {
        snapshot: model.snapshot(),
        history: model.history(),
        status: Vec::new(),
    };
    update(state, Action::Snapshot(Box::new(fresh)));
}

fn little() -> Model {
    Scenario::default().model(5)
}

fn screen(state: &State) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).expect("a test terminal");
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
