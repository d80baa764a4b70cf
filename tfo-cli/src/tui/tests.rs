//! Screens as snapshots, and keys as state changes.

use crossterm::event::{Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::{Terminal, backend::TestBackend};

use super::{
    action::{self, Action},
    state::{Popup, State},
    update::{Effect, update},
    view,
};
use crate::{
    args::{Command, Parsed},
    model::{Snapshot, SortKey, fake::Scenario},
};

fn state(size: (u16, u16), snapshot: Snapshot) -> State {
    let args = ["tfo-cli", "top"].map(Into::into);
    let Ok(Parsed::Run(command)) = crate::args::parse(args) else {
        panic!("a good command line")
    };
    let Command::Top(config) = *command else {
        panic!("it is top")
    };
    let mut state = State::new(&config);
    update(&mut state, Action::Resize(size.0, size.1));
    update(&mut state, Action::Snapshot(Box::new(snapshot)));
    state
}

fn screen(state: &State) -> TestBackend {
    let mut terminal = Terminal::new(TestBackend::new(state.size.0, state.size.1)).expect("a test terminal");
    terminal.draw(|frame| view::draw(frame, state)).expect("it draws");
    terminal.backend().clone()
}

fn press(state: &mut State, keys: &[KeyCode]) -> Vec<Effect> {
    let mut effects = Vec::new();
    for key in keys {
        let event = Event::Key(KeyEvent::new(*key, KeyModifiers::NONE));
        if let Some(action) = action::from_event(&event, state) {
            effects.extend(update(state, action));
        }
    }
    effects
}

fn chosen(state: &State) -> Option<String> {
    state
        .list
        .index()
        .and_then(|place| state.row(place))
        .map(|row| row.remote().to_string())
}

const SIZES: [(u16, u16); 3] = [(80, 24), (120, 40), (200, 60)];

#[test]
fn screens() {
    for size in SIZES {
        let name = |what: &str| format!("{what}-{}x{}", size.0, size.1);
        insta::assert_snapshot!(name("nothing"), screen(&state(size, Snapshot::default())));
        insta::assert_snapshot!(
            name("little"),
            screen(&state(size, Scenario::default().model(5).snapshot()))
        );
        let losses = Scenario::default()
            .with_losses()
            .with_extra(200)
            .model(5)
            .snapshot();
        let mut state = state(size, losses);
        insta::assert_snapshot!(name("losses"), screen(&state));
        press(&mut state, &[KeyCode::Char('?')]);
        insta::assert_snapshot!(name("help"), screen(&state));
    }
}

#[test]
fn tiny_terminals_do_not_panic() {
    for size in [(0, 0), (1, 1), (5, 2), (20, 5), (79, 4)] {
        let mut state = state(size, Scenario::default().with_losses().model(2).snapshot());
        screen(&state);
        press(&mut state, &[KeyCode::Char('?'), KeyCode::End]);
        screen(&state);
    }
}

#[test]
fn q_closes_a_popup_then_quits_and_escape_never_quits() {
    let mut state = state((80, 24), Snapshot::default());
    assert!(press(&mut state, &[KeyCode::Char('?'), KeyCode::Char('q')]).is_empty());
    assert_eq!(state.popup, None);
    assert!(press(&mut state, &[KeyCode::Esc]).is_empty());
    assert_eq!(press(&mut state, &[KeyCode::Char('q')]), [Effect::Quit]);
    press(&mut state, &[KeyCode::F(1)]);
    assert_eq!(state.popup, Some(Popup::Help));
    let interrupt = Event::Key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    let action = action::from_event(&interrupt, &state).expect("Ctrl-C always works");
    assert_eq!(update(&mut state, action), [Effect::Quit]);
}

#[test]
fn the_cursor_follows_its_row_when_the_order_changes() {
    let mut state = state((80, 24), Scenario::default().model(5).snapshot());
    assert_eq!(chosen(&state).as_deref(), Some("198.51.100.7"));
    press(
        &mut state,
        &[KeyCode::Down, KeyCode::Char('j'), KeyCode::Char('k')],
    );
    let row = chosen(&state);
    press(&mut state, &[KeyCode::Char('S')]);
    assert_eq!(chosen(&state), row);
    press(&mut state, &[KeyCode::Char('s')]);
    assert_eq!((chosen(&state), state.sort), (row, SortKey::Hit));
    press(&mut state, &[KeyCode::Char('g')]);
    assert_eq!(state.list.index(), Some(0));
    press(&mut state, &[KeyCode::Char('G')]);
    assert_eq!(state.list.index(), Some(5));
}

#[test]
fn paused_means_that_nothing_moves() {
    let mut state = state((80, 24), Scenario::default().model(5).snapshot());
    press(&mut state, &[KeyCode::Char(' ')]);
    let before = screen(&state);
    update(
        &mut state,
        Action::Snapshot(Box::new(Scenario::default().model(9).snapshot())),
    );
    assert_eq!(screen(&state), before);
    press(&mut state, &[KeyCode::Char(' ')]);
    update(
        &mut state,
        Action::Snapshot(Box::new(Scenario::default().model(9).snapshot())),
    );
    assert_ne!(screen(&state), before);
}

#[test]
fn addresses_are_never_cut() {
    for width in 60..250 {
        let state = state((width, 24), Scenario::default().model(5).snapshot());
        assert!(
            screen(&state)
                .to_string()
                .contains("2001:db8:85a3::8a2e:370:7334"),
            "{width}"
        );
    }
}
