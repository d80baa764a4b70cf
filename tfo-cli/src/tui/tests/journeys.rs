//! Sequences of keys and clicks, and the state they lead to.

use std::sync::Arc;

use super::*;
use crate::{
    model::{SortKey, cgroup, networks::Networks},
    output::column::Column,
    tui::{
        action::Format,
        state::{Page, Popup, View},
        table::TableLine,
    },
};

fn chosen(state: &State) -> Option<String> {
    match state.line()? {
        TableLine::Destination(index) => Some(state.snapshot.rows[index as usize].remote().to_string()),
        _ => None,
    }
}

#[test]
fn q_closes_what_is_open_then_quits_and_escape_never_quits() {
    let mut state = state((80, 24), &small_model());
    for open in ["?", "e"] {
        assert!(typed(&mut state, open).is_empty());
        assert!(typed(&mut state, "q").is_empty());
        assert_eq!(state.popup, None);
    }
    press(&mut state, &[KeyCode::Enter]);
    assert!(state.page.is_some());
    assert!(typed(&mut state, "q").is_empty());
    assert!(state.page.is_none());
    assert!(press(&mut state, &[KeyCode::Esc, KeyCode::Esc]).is_empty());
    assert_eq!(typed(&mut state, "q"), [Effect::Quit]);
    typed(&mut state, "?");
    assert_eq!(ctrl(&mut state, 'c'), [Effect::Quit]);
    typed(&mut state, "q/");
    assert_eq!(ctrl(&mut state, 'c'), [Effect::Quit]);
}

#[test]
fn the_cursor_follows_its_row_when_the_order_changes() {
    let mut state = state((80, 24), &small_model());
    assert_eq!(chosen(&state).as_deref(), Some("198.51.100.7"));
    press(&mut state, &[KeyCode::Down]);
    typed(&mut state, "jk");
    let row = chosen(&state);
    typed(&mut state, "S");
    assert_eq!(chosen(&state), row);
    typed(&mut state, "s");
    assert_eq!((chosen(&state), state.sort), (row, SortKey::Hit));
    typed(&mut state, "g");
    assert_eq!(state.list().index(), Some(0));
    typed(&mut state, "G");
    assert_eq!(state.list().index(), Some(5));
}

#[test]
fn tabs_go_round_and_each_keeps_its_cursor() {
    let mut state = state((80, 24), &small_model());
    typed(&mut state, "j3jj");
    press(&mut state, &[KeyCode::Tab; 4]);
    assert_eq!(state.view, View::Destinations);
    assert_eq!(state.list().index(), Some(1));
    press(&mut state, &[KeyCode::BackTab]);
    assert_eq!(state.view, View::Findings);
    press(&mut state, &[KeyCode::BackTab]);
    assert_eq!(state.view, View::Host);
    typed(&mut state, "3");
    assert_eq!(state.list().index(), Some(2));
}

#[test]
fn three_keys_lead_from_a_finding_to_its_evidence_to_its_fix() {
    let mut state = state_with(&with_permission(Permission::Allowed), (80, 24), &small_model());
    typed(&mut state, "f");
    let shown = |state: &State| screen(state).to_string();
    assert!(
        shown(&state).contains("fail path-drops-syn-data"),
        "{}",
        shown(&state)
    );
    press(&mut state, &[KeyCode::Enter]);
    let page = shown(&state);
    for part in ["unanswered 15 of 15", "policy add --cgroup", "a adds this rule"] {
        let is_there = page.contains(part) || {
            press(&mut state, &[KeyCode::End]);
            shown(&state).contains(part)
        };
        assert!(is_there, "{part}: {page}");
    }
    typed(&mut state, "a");
    assert!(matches!(state.popup, Some(Popup::Rule(_))), "the form of a rule");
    // The page of its destination says the same.
    press(&mut state, &[KeyCode::Esc]);
    typed(&mut state, "1");
    press(&mut state, &[KeyCode::Enter]);
    assert!(shown(&state).contains("path-drops-syn-data  198.51.100.7:443"));
}

#[test]
fn findings_are_filtered_and_the_past_has_its_own() {
    let mut state = state((120, 40), &Scenario::default().model(30));
    typed(&mut state, "f");
    let all = state.table.lines.len();
    assert!(all >= 4, "{all}");
    typed(&mut state, "/port:8443");
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(state.table.lines.len(), 1);
    press(&mut state, &[KeyCode::Esc]);
    // In its first second the host had no more than three lost SYNs, all at one moment.
    typed(&mut state, " ");
    typed(&mut state, "[".repeat(28).as_str());
    let names: Vec<_> = state
        .snapshot
        .diagnosis
        .findings
        .iter()
        .map(|one| one.id.name())
        .collect();
    assert!(!names.contains(&"path-drops-syn-data"), "{names:?}");
    typed(&mut state, " ");
    assert_eq!(state.table.lines.len(), all);
}

#[test]
fn filtering_is_live_wrong_text_changes_nothing_and_escape_takes_it_back() {
    let mut state = state((80, 24), &small_model());
    typed(&mut state, "/role:server");
    assert_eq!(state.table.lines.len(), 2);
    typed(&mut state, " q?");
    assert!(
        state.popup.is_none() && state.editing.is_some(),
        "keys are text now"
    );
    press(
        &mut state,
        &[KeyCode::Backspace, KeyCode::Backspace, KeyCode::Enter],
    );
    assert!(state.editing.is_none());
    assert_eq!(state.table.lines.len(), 2);
    typed(&mut state, "/ outcome:nonsense");
    press(&mut state, &[KeyCode::Enter]);
    assert!(state.editing.is_some(), "a wrong filter is not accepted");
    assert_eq!(state.table.lines.len(), 2, "and changes nothing");
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.filter.text(), "role:server ");
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!((state.filter.text(), state.table.lines.len()), ("", 6));
}

#[test]
fn a_paused_view_steps_through_the_past_and_comes_back() {
    let mut scenario = Scenario::default();
    let mut model = Model::default();
    let mut state = state((80, 24), &model);
    let mut screens = Vec::new();
    for _ in 0..20 {
        let (records, reading) = scenario.step();
        for record in &records {
            model.fold(record);
        }
        model.read(reading);
        model.read_host(scenario.host());
        show_model(&mut state, &model);
        screens.push(state.snapshot.total(tfo_common::Role::Client, |_| true));
    }
    let now = screen(&state);
    typed(&mut state, " ");
    let total = |state: &State| state.snapshot.total(tfo_common::Role::Client, |_| true);
    for back in 1..19 {
        typed(&mut state, "[");
        assert_eq!(total(&state), screens[19 - back], "{back} back");
        assert!(
            state
                .snapshot
                .flows
                .iter()
                .all(|flow| flow.event().end_ns <= state.snapshot.at_ns)
        );
    }
    typed(&mut state, "[[[[[[");
    assert_eq!(total(&state), screens[0], "the past ends where counting began");
    // What comes meanwhile is not shown, but not lost either.
    model.read(scenario.step().1);
    show_model(&mut state, &model);
    assert_eq!(total(&state), screens[0]);
    press(&mut state, &[KeyCode::Right]);
    assert_eq!(total(&state), screens[1]);
    typed(&mut state, "}");
    assert_eq!(total(&state), screens[19]);
    typed(&mut state, "p");
    assert_eq!(screen(&state), now);
    show_model(&mut state, &model);
    assert!(total(&state) > screens[19]);
    typed(&mut state, "[");
    assert!(
        !state.is_paused() && state.readings_back == 0,
        "time travel needs a pause"
    );
}

#[test]
fn enter_opens_what_is_under_the_cursor() {
    let mut state = state((80, 24), &small_model());
    press(&mut state, &[KeyCode::Enter]);
    assert!(matches!(state.page, Some(Page::Destination(key)) if key.port == 443));
    assert!(!state.series.is_empty());
    press(&mut state, &[KeyCode::Esc]);
    typed(&mut state, "3");
    press(&mut state, &[KeyCode::Enter]);
    assert!(matches!(state.page, Some(Page::Flow(_))));
    typed(&mut state, "q2");
    let folded = state.table.lines.len();
    press(&mut state, &[KeyCode::Enter]);
    // Two destinations and one process.
    assert_eq!(state.table.lines.len(), folded + 3);
    press(&mut state, &[KeyCode::Down, KeyCode::Enter]);
    assert!(matches!(state.page, Some(Page::Destination(_))));
    press(&mut state, &[KeyCode::Esc, KeyCode::Up, KeyCode::Enter]);
    assert_eq!(state.table.lines.len(), folded);
}

#[test]
fn clearing_asks_first() {
    let mut state = state((80, 24), &small_model());
    ctrl(&mut state, 'r');
    assert_eq!(state.popup, Some(Popup::Clear));
    assert!(typed(&mut state, "x").is_empty());
    assert_eq!(state.popup, None);
    ctrl(&mut state, 'r');
    assert_eq!(typed(&mut state, "y"), [Effect::Clear]);
}

#[test]
fn copy_and_export_say_what_they_take() {
    let mut state = state((80, 24), &small_model());
    let effects = typed(&mut state, "y");
    assert!(
        matches!(&effects[..], [Effect::Copy(text)] if text.contains("remote=198.51.100.7") && text.contains("lost=15.4s")),
        "{effects:?}"
    );
    assert_eq!(typed(&mut state, "em"), [Effect::Export(Format::Markdown)]);
    assert_eq!(typed(&mut state, "ec"), [Effect::Export(Format::Csv)]);
    assert_eq!(typed(&mut state, "ej"), [Effect::Export(Format::Json)]);
    assert_eq!(typed(&mut state, "R"), [Effect::Report]);
    press(&mut state, &[KeyCode::Enter]);
    assert!(matches!(&typed(&mut state, "y")[..], [Effect::Copy(text)] if text.contains("syn-timeout")));
}

#[test]
fn names_are_asked_for_once_and_only_when_wanted() {
    let mut state = state((80, 24), &small_model());
    assert!(typed(&mut state, "j").is_empty());
    let effects = typed(&mut state, "n");
    let [Effect::Resolve(wanted)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(wanted.len(), 4, "clients have a remote host, servers a block");
    let first = wanted[0];
    assert!(typed(&mut state, "j").is_empty(), "they are on their way");
    update(&mut state, Action::Resolved(first, Some("db.example.org".into())));
    assert!(screen(&state).to_string().contains("db.example.org"));
    typed(&mut state, "n");
    assert!(!screen(&state).to_string().contains("db.example.org"));
}

/// Rows that stand still are not measured again, but what they are called may change meanwhile.
#[test]
fn widths_follow_names_also_of_rows_that_stand_still() {
    let mut model = small_model();
    let mut state = state((120, 40), &model);
    let first = state.widths;
    let cgroup_id = state.snapshot.rows[0].key.cgroup_id;
    let long = "/system.slice/a-service-with-a-very-long-name-indeed.service";
    model.name(cgroup_id, Some(cgroup::parse(long)));
    show_model(&mut state, &model);
    assert!(state.widths.service > first.service, "{:?}", state.widths);
    assert_eq!(state.widths.remote, first.remote);
    let by_address = state.widths;
    let effects = typed(&mut state, "n");
    let [Effect::Resolve(wanted)] = &effects[..] else {
        panic!("{effects:?}")
    };
    // One comes at once, a longer one later.
    for name in [
        "a-host-with-a-long-name.example.org",
        "one-with-a-still-longer-name.example.org",
    ] {
        let before = state.widths.remote;
        update(&mut state, Action::Resolved(wanted[0], Some(name.into())));
        show_model(&mut state, &model);
        assert!(state.widths.remote > before, "{name}");
    }
    typed(&mut state, "n");
    show_model(&mut state, &model);
    assert_eq!(state.widths, by_address);
}

#[test]
fn the_mouse_chooses_opens_sorts_and_scrolls() {
    let mut state = state((120, 40), &small_model());
    let body = view::layout::split(&state).body;
    click(&mut state, 5, body.y + 3);
    assert_eq!(state.list().index(), Some(2));
    click(&mut state, 5, body.y + 3);
    assert!(state.page.is_some(), "the second click opens");
    press(&mut state, &[KeyCode::Esc]);
    let heading = screen(&state).to_string();
    let line = heading.lines().nth(body.y.into()).expect("it is on the screen");
    let column =
        u16::try_from(line.find("HIT").expect("there is a HIT column") - 1).expect("it is on the screen");
    click(&mut state, column, body.y);
    assert_eq!((state.sort, state.reverse), (SortKey::Hit, false));
    click(&mut state, column, body.y);
    assert!(state.reverse, "the second click turns it around");
    let tabs = view::layout::split(&state).tabs;
    click(&mut state, 20, tabs.y);
    assert_eq!(state.view, View::Services);
    let wheel = MouseEvent {
        kind: MouseEventKind::ScrollDown,
        column: 1,
        row: 1,
        modifiers: KeyModifiers::NONE,
    };
    send(&mut state, &Event::Mouse(wheel));
    assert_eq!(state.list().index(), Some(3));
}

#[test]
fn reset_brings_back_the_beginning() {
    let mut state = state_with(
        &Options {
            sort: SortKey::Rtt,
            filter: "role:client".into(),
            ..with_appearance(dark())
        },
        (80, 24),
        &small_model(),
    );
    typed(&mut state, "ssSjj/ fam:4");
    press(&mut state, &[KeyCode::Enter]);
    typed(&mut state, "r");
    assert_eq!(
        (state.sort, state.reverse, state.filter.text()),
        (SortKey::Rtt, false, "role:client")
    );
    assert_eq!(state.list().index(), Some(0));
}

#[test]
fn hints_are_true() {
    let mut state = state((200, 60), &small_model());
    let footer = |state: &State| {
        screen(state)
            .to_string()
            .lines()
            .last()
            .unwrap_or_default()
            .to_owned()
    };
    assert!(footer(&state).contains("Enter open") && !footer(&state).contains("earlier"));
    typed(&mut state, " ");
    assert!(footer(&state).contains("[ earlier") && footer(&state).contains("Space go on"));
    typed(&mut state, " 4");
    assert!(!footer(&state).contains("Enter open"));
    for width in 20..80 {
        update(&mut state, Action::Resize(width, 24));
        assert!(footer(&state).starts_with("\"? help  q quit"), "{width}");
    }
}

#[test]
fn columns_are_those_one_asked_for() {
    let state = state_with(
        &with_appearance(Appearance {
            columns: Some(vec![Column::Remote, Column::Lost]),
            ..dark()
        }),
        (120, 40),
        &small_model(),
    );
    let body = view::layout::split(&state).body;
    let text = screen(&state).to_string();
    let heading = text
        .lines()
        .nth(body.y.into())
        .expect("it is on the screen")
        .trim_matches(['"', ' ']);
    assert_eq!(
        heading.split_whitespace().collect::<Vec<_>>(),
        ["REMOTE", "LOSTv"]
    );
}

/// The key leads to the sums by network from everywhere, and from there back; a network unfolds like a service.
#[test]
fn n_adds_up_by_network() {
    let mut without = state((120, 30), &small_model());
    typed(&mut without, "N");
    assert_eq!(without.view, View::Destinations);
    assert!(
        without
            .message
            .is_some_and(|text| text.contains("--networks FILE"))
    );

    let mut model = small_model();
    let file = "192.0.2.0/24 = office\n198.51.100.0/24 = mobile";
    model.set_networks(Arc::new(Networks::parse(file).expect("it is a file")));
    let mut state = state((120, 30), &model);
    typed(&mut state, "N");
    assert_eq!((state.view, state.by_network), (View::Services, true));
    let groups = state.table.services.len();
    let rows: usize = state.table.services.iter().map(|one| one.rows.len()).sum();
    assert_eq!((groups, rows), (3, state.snapshot.rows.len()));
    let text = screen(&state).to_string();
    assert!(
        text.contains(" N Networks ") && text.contains("NETWORK"),
        "{text}"
    );
    assert!(!text.contains("SERVICE"), "{text}");
    for name in ["mobile", "office", "(other)"] {
        assert!(text.contains(name), "{name}: {text}");
    }
    let first = state.table.services[0].rows.len();
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(state.table.lines.len(), groups + first);
    press(&mut state, &[KeyCode::Down]);
    press(&mut state, &[KeyCode::Enter]);
    assert!(matches!(state.page, Some(Page::Destination(_))));
    typed(&mut state, "qsN");
    assert_eq!((state.view, state.by_network), (View::Services, false));
    typed(&mut state, "N2");
    assert!(!state.by_network, "2 stands for services");
    // A filter holds for sums, too.
    typed(&mut state, "N/network:office");
    press(&mut state, &[KeyCode::Enter]);
    assert_eq!(state.table.services.len(), 1);
    typed(&mut state, "r");
    assert!(!state.by_network);
}
