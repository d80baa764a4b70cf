//! Every view, page and popup as a snapshot, in three sizes: without data, with little and with as much as there can be,
//! and with losses and degradations.

use tfo_common::Outcome;

use super::*;
use crate::tui::state::Point;

/// The name of a screen, and the keys that lead to it from the start of the dashboard.
pub type Screen = (&'static str, fn(&mut State));

const VIEWS: [Screen; 6] = [
    ("destinations", |_| {}),
    ("services", |state| drop(typed(state, "2"))),
    ("flows", |state| drop(typed(state, "3"))),
    ("listeners", |state| drop(typed(state, "4"))),
    ("host", |state| drop(typed(state, "5"))),
    ("findings", |state| drop(typed(state, "f"))),
];

/// Screens that open only where the table has lines.
const PAGES: [Screen; 4] = [
    ("page-destination", |state| {
        press(state, &[KeyCode::Enter]);
    }),
    ("page-finding", |state| {
        typed(state, "f");
        press(state, &[KeyCode::Enter]);
    }),
    ("page-flow", |state| {
        typed(state, "3/outcome:syn-timeout");
        press(state, &[KeyCode::Enter, KeyCode::Enter]);
    }),
    ("services-unfolded", |state| {
        typed(state, "2");
        press(state, &[KeyCode::Enter]);
    }),
];

const POPUPS: [Screen; 3] = [
    ("popup-help", |state| drop(typed(state, "?"))),
    ("popup-clear", |state| drop(ctrl(state, 'r'))),
    ("popup-export", |state| drop(typed(state, "e"))),
];

const PROMPTS: [Screen; 5] = [
    ("filter-empty", |state| drop(typed(state, "/"))),
    ("filter-wrong", |state| {
        typed(state, "/role:client outcome:late");
    }),
    ("filter-long", |state| {
        typed(state, "/");
        typed(state, &"!dst:198.51.100.0/24 ".repeat(12));
    }),
    ("message-exported", |state| {
        let path = "tfo-destinations-20260102T030410Z.md";
        update(state, Action::Message(format!("written to {path}")));
    }),
    ("message-not-exported", |state| {
        let why = "not exported: tfo-destinations-20260102T030410Z.md: No space left on device (os error 28)";
        update(state, Action::Message(why.into()));
    }),
];

/// The same destinations after thirty readings.
fn small_model_with_history() -> Model {
    Scenario::default().model(30)
}

/// As many destinations as the table of the kernel side holds by default.
fn full_model() -> Model {
    let model = Scenario::default()
        .with_extra(tfo_common::limits::DESTS - 6)
        .model(2);
    assert_eq!(model.snapshot().rows.len(), 16_384);
    model
}

fn model_with_losses() -> Model {
    Scenario::default().with_losses().with_extra(200).model(5)
}

/// Compares each of these screens in every size with its snapshot, whose name begins with `prefix`.
fn assert_screens(prefix: &str, model: &Model, screens: &[Screen]) {
    for size in SIZES {
        for (name, open) in screens {
            let mut state = state(size, model);
            open(&mut state);
            insta::assert_snapshot!(format!("{prefix}-{name}-{}x{}", size.0, size.1), screen(&state));
        }
    }
}

#[test]
fn with_nothing() {
    assert_screens("nothing", &Model::default(), &VIEWS);
    // Nothing opens, and nothing breaks.
    for (name, open) in PAGES {
        let mut state = state((80, 24), &Model::default());
        open(&mut state);
        assert!(state.page.is_none(), "{name}");
        screen(&state);
    }
}

#[test]
fn with_little() {
    assert_screens("little", &small_model(), &VIEWS);
    assert_screens("little", &small_model_with_history(), &PAGES);
    assert_screens("little", &small_model(), &POPUPS);
    assert_screens("little", &small_model(), &PROMPTS);
}

#[test]
fn with_all_destinations_there_can_be() {
    let model = full_model();
    assert_screens("full", &model, &VIEWS);
    assert_screens("full", &model, &PAGES);
}

#[test]
fn with_losses_and_degradations() {
    assert_screens("losses", &model_with_losses(), &VIEWS);
    assert_screens("losses", &model_with_losses(), &PAGES);
}

#[test]
fn the_end_of_what_does_not_fit() {
    let last: [Screen; 4] = [
        ("end-destinations", |state| drop(press(state, &[KeyCode::End]))),
        ("end-host", |state| {
            typed(state, "5");
            press(state, &[KeyCode::End]);
        }),
        ("end-page-destination", |state| {
            press(state, &[KeyCode::Enter, KeyCode::End]);
        }),
        ("end-popup-help", |state| {
            typed(state, "?");
            press(state, &[KeyCode::End]);
        }),
    ];
    assert_screens("losses", &model_with_losses(), &last);
    assert_screens("full", &full_model(), &last[..2]);
}

/// The lines of the box in front of the view, borders included.
fn boxed(state: &State) -> Vec<String> {
    let text = screen(state).to_string();
    let lines: Vec<Vec<char>> = text.lines().map(|line| line.chars().collect()).collect();
    let corner = |wanted: char| {
        lines.iter().enumerate().find_map(|(y, line)| {
            let x = line.iter().position(|character| *character == wanted)?;
            Some((x, y))
        })
    };
    let (Some((left, top)), Some((right, bottom))) = (corner('┌'), corner('┘')) else {
        panic!("there is no box:\n{text}")
    };
    lines[top..=bottom]
        .iter()
        .map(|line| line[left..=right].iter().collect())
        .collect()
}

#[test]
fn boxes_are_the_same_in_front_of_everything() {
    for size in SIZES {
        for (name, open) in POPUPS {
            let of = |model: &Model| {
                let mut state = state(size, model);
                open(&mut state);
                boxed(&state)
            };
            let want = of(&small_model());
            for model in [Model::default(), model_with_losses()] {
                assert_eq!(of(&model), want, "{name} {size:?}");
            }
        }
    }
    let of = |model: &Model| {
        let mut state = state((80, 24), model);
        typed(&mut state, "?");
        boxed(&state)
    };
    assert_eq!(of(&full_model()), of(&small_model()));
}

/// A path that begins to eat SYN data after a while.
fn incident(readings: u32) -> Vec<Point> {
    let point = |reading: u32| {
        let mut gained = [0; Outcome::COUNT];
        let broken = reading * 3 >= readings * 2;
        gained[Outcome::Accepted as usize] = if broken { 0 } else { 40 + reading * 7 % 23 };
        gained[Outcome::SynTimeout as usize] = if broken { 1 + reading % 4 } else { 0 };
        gained[Outcome::CookieGranted as usize] = u32::from(reading % 10 == 3);
        Point {
            at_ns: u64::from(reading + 1) * 1_000_000_000,
            interval_ns: 1_000_000_000,
            gained,
        }
    };
    (0..readings).map(point).collect()
}

#[test]
fn an_incident_as_a_chart() {
    for (ascii, readings) in [(false, 40), (true, 40), (false, 600), (false, 1), (false, 0)] {
        for size in SIZES {
            let mut state = state_with(
                &with_appearance(Appearance { ascii, ..dark() }),
                size,
                &small_model(),
            );
            press(&mut state, &[KeyCode::Enter]);
            state.series = incident(readings);
            // Scrolls past the numbers above the chart.
            press(&mut state, &[KeyCode::Down; 5]);
            let glyphs = if ascii { "ascii" } else { "" };
            let name = format!("chart{glyphs}-{readings}-{}x{}", size.0, size.1);
            insta::assert_snapshot!(name, screen(&state));
        }
    }
}

#[test]
fn paused_in_the_past() {
    let model = Scenario::default().model(90);
    for size in SIZES {
        let mut state = state(size, &model);
        typed(&mut state, " {[[");
        insta::assert_snapshot!(format!("paused-{}x{}", size.0, size.1), screen(&state));
    }
}

#[test]
fn ascii_means_ascii() {
    let mut state = state_with(
        &with_appearance(Appearance {
            ascii: true,
            ..dark()
        }),
        (120, 40),
        &Scenario::default().model(20),
    );
    for keys in ["1", "2", "3", "4", "5", "1?"] {
        typed(&mut state, keys);
        assert!(screen(&state).to_string().lines().all(str::is_ascii), "{keys}");
        press(&mut state, &[KeyCode::Esc]);
    }
    press(&mut state, &[KeyCode::Enter]);
    insta::assert_snapshot!("ascii-page-destination", screen(&state));
    typed(&mut state, "q3");
    press(&mut state, &[KeyCode::Enter]);
    insta::assert_snapshot!("ascii-page-flow", screen(&state));
}

#[test]
fn without_colour_nothing_has_one() {
    use ratatui::style::Color;
    for (theme, coloured) in [
        (ThemeChoice::Mono, false),
        (ThemeChoice::Dark, true),
        (ThemeChoice::Light, true),
    ] {
        let state = state_with(
            &with_appearance(Appearance { theme, ..dark() }),
            (120, 40),
            &small_model(),
        );
        let backend = screen(&state);
        let colours: Vec<Color> = backend
            .buffer()
            .content
            .iter()
            .flat_map(|cell| [cell.fg, cell.bg])
            .filter(|color| *color != Color::Reset)
            .collect();
        assert_eq!(!colours.is_empty(), coloured, "{theme:?}");
        assert!(
            colours.windows(2).all(|pair| pair[0] == pair[1]),
            "{theme:?} has one accent"
        );
    }
}

#[test]
fn addresses_are_never_cut() {
    for width in 60..=250 {
        for keys in ["1", "3"] {
            let mut state = state((width, 24), &small_model());
            typed(&mut state, keys);
            assert!(
                screen(&state)
                    .to_string()
                    .contains("2001:db8:85a3::8a2e:370:7334"),
                "{width} {keys}"
            );
        }
    }
}

#[test]
fn no_size_panics() {
    let model = Scenario::default().with_losses().model(12);
    for size in [
        (0, 0),
        (1, 1),
        (5, 2),
        (20, 5),
        (79, 4),
        (3, 80),
        (250, 80),
        (65, 9),
    ] {
        let mut state = state(size, &model);
        for keys in ["1", "2", "3", "4", "5", "?", "q", "1/x", ""] {
            typed(&mut state, keys);
            press(&mut state, &[KeyCode::End, KeyCode::Home, KeyCode::Enter]);
            screen(&state);
            press(&mut state, &[KeyCode::Esc, KeyCode::Esc]);
            click(&mut state, size.0.saturating_sub(1), size.1.saturating_sub(1));
            screen(&state);
        }
    }
}
