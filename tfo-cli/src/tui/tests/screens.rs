//! What every view and popup looks like, at three sizes, with nothing, little, much, losses and degradations.

use super::*;

const VIEWS: [(char, &str); 5] = [
    ('1', "destinations"),
    ('2', "services"),
    ('3', "flows"),
    ('4', "listeners"),
    ('5', "host"),
];

fn name(what: &str, size: (u16, u16)) -> String {
    format!("{what}-{}x{}", size.0, size.1)
}

#[test]
fn views_with_nothing() {
    for size in SIZES {
        let mut state = state(size, &Model::default());
        for (key, view) in VIEWS {
            typed(&mut state, &key.to_string());
            insta::assert_snapshot!(name(&format!("nothing-{view}"), size), screen(&state));
        }
    }
}

#[test]
fn views_with_little() {
    for size in SIZES {
        let mut state = state(size, &little());
        for (key, view) in VIEWS {
            typed(&mut state, &key.to_string());
            insta::assert_snapshot!(name(&format!("little-{view}"), size), screen(&state));
        }
    }
}

#[test]
fn views_with_losses_and_degradations() {
    let model = Scenario::default().with_losses().with_extra(200).model(5);
    for size in SIZES {
        let mut state = state(size, &model);
        for (key, view) in VIEWS {
            typed(&mut state, &key.to_string());
            insta::assert_snapshot!(name(&format!("losses-{view}"), size), screen(&state));
        }
    }
}

#[test]
fn views_with_all_destinations_there_can_be() {
    let model = Scenario::default().with_extra(16_384 - 6).model(2);
    for size in SIZES {
        let mut state = state(size, &model);
        for (key, view) in &VIEWS[..2] {
            typed(&mut state, &key.to_string());
            press(&mut state, &[KeyCode::End]);
            insta::assert_snapshot!(name(&format!("full-{view}"), size), screen(&state));
        }
    }
}

#[test]
fn pages() {
    let model = Scenario::default().model(30);
    for size in SIZES {
        let mut state = state(size, &model);
        press(&mut state, &[KeyCode::Enter]);
        insta::assert_snapshot!(name("page-destination", size), screen(&state));
        typed(&mut state, "3/outcome:syn-timeout");
        press(&mut state, &[KeyCode::Enter, KeyCode::Enter]);
        insta::assert_snapshot!(name("page-flow", size), screen(&state));
        typed(&mut state, "q2");
        press(&mut state, &[KeyCode::Esc, KeyCode::Enter]);
        insta::assert_snapshot!(name("services-unfolded", size), screen(&state));
    }
}

#[test]
fn popups_and_prompts() {
    for size in SIZES {
        let mut state = state(size, &little());
        typed(&mut state, "?");
        insta::assert_snapshot!(name("popup-help", size), screen(&state));
        typed(&mut state, "q");
        ctrl(&mut state, 'r');
        insta::assert_snapshot!(name("popup-clear", size), screen(&state));
        typed(&mut state, "n");
        typed(&mut state, "e");
        insta::assert_snapshot!(name("popup-export", size), screen(&state));
        press(&mut state, &[KeyCode::Esc]);
        typed(&mut state, "/role:client outcome:late");
        insta::assert_snapshot!(name("filter-wrong", size), screen(&state));
    }
}

#[test]
fn paused_in_the_past() {
    let model = Scenario::default().model(90);
    for size in SIZES {
        let mut state = state(size, &model);
        typed(&mut state, " {[[");
        insta::assert_snapshot!(name("paused", size), screen(&state));
    }
}

#[test]
fn ascii_means_ascii() {
    let mut state = state_with("--ascii", (120, 40), &Scenario::default().model(20));
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
    for (theme, coloured) in [("mono", false), ("dark", true), ("light", true)] {
        let state = state_with(&format!("--theme {theme}"), (120, 40), &little());
        let backend = screen(&state);
        let colours: Vec<Color> = backend
            .buffer()
            .content
            .iter()
            .flat_map(|cell| [cell.fg, cell.bg])
            .filter(|color| *color != Color::Reset)
            .collect();
        assert_eq!(!colours.is_empty(), coloured, "{theme}");
        assert!(
            colours.windows(2).all(|pair| pair[0] == pair[1]),
            "{theme} has one accent"
        );
    }
}

#[test]
fn addresses_are_never_cut() {
    for width in 60..=250 {
        for keys in ["1", "3"] {
            let mut state = state((width, 24), &little());
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
