//! Screens as snapshots, and keys as state changes.

mod in_force;
mod journeys;
mod rules;
mod screens;

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers, MouseButton, MouseEvent, MouseEventKind};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    action::{self, Action, Fresh},
    state::State,
    update::{Effect, update},
    view,
};
use crate::{
    args::{Command, Parsed},
    config::Config,
    model::{Model, fake::Scenario},
};

/// Every screen is looked at in these.
const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

fn state_with(flags: &str, size: (u16, u16), model: &Model) -> State {
    // Tests do not depend on the terminal they run in.
    let theme = if flags.contains("--theme") {
        ""
    } else {
        "--theme dark"
    };
    let line = format!("tfo-cli top {theme} {flags}");
    let parsed = crate::args::parse(line.split_whitespace().map(Into::into), |_| Ok(Config::default()));
    let Ok(Parsed::Run(command)) = parsed else {
        panic!("{line} is a good command line")
    };
    let Command::Top(config) = *command else {
        panic!("{line} is top")
    };
    let mut state = State::new(&config);
    update(&mut state, Action::Resize(size.0, size.1));
    feed(&mut state, model);
    state
}

fn state(size: (u16, u16), model: &Model) -> State {
    state_with("", size, model)
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
