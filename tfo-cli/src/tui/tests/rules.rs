//! Keys that change the policy: the jobs they begin, the plans that have to be confirmed, and that nothing is changed
//! without `--allow-policy`.

use std::time::Duration;

use tfo_common::PolicyAction;

use super::{in_force::rule, screens::Screen, *};
use crate::{
    policy::{
        CgroupRef, InForce, Installed, Plan, Request,
        request::{Operation, Target},
    },
    tui::{
        policy::{Answer, Job},
        state::Popup,
    },
};

const TARGET: Target = Target {
    cgroup_id: 1,
    remote: std::net::IpAddr::V4(std::net::Ipv4Addr::new(198, 51, 100, 7)),
    port: 443,
};
const HOUR: Option<Duration> = Some(Duration::from_hours(1));
const DEFAULT: Operation = Operation::Add {
    action: PolicyAction::NoData,
    all_ports: false,
    ttl: HOUR,
};

fn allowed(size: (u16, u16)) -> State {
    state_with(&with_permission(Permission::Allowed), size, &small_model())
}

fn asks(operation: Operation) -> Effect {
    Effect::Policy(Job::Plan(Request {
        target: TARGET,
        operation,
    }))
}

/// The plan of an operation where this rule is in force.
fn plan(operation: Operation) -> Plan {
    let cgroup = CgroupRef {
        path: "/system.slice/checkout.service".into(),
        id: 1,
    };
    let rules = match operation {
        Operation::Add { .. } => Vec::new(),
        _ => vec![rule(3, "/system.slice", "198.51.100.0/24", 443)],
    };
    let request = Request {
        target: TARGET,
        operation,
    };
    request.plan(cgroup, &rules, 0).expect("there is a plan")
}

fn answer(state: &mut State, answer: Answer) {
    assert!(update(state, Action::Policy(answer)).is_empty());
}

#[test]
fn without_the_flag_keys_only_say_what_is_needed() {
    for (permission, want) in [
        (Permission::ReadOnly, "start `tfo-cli top --allow-policy`"),
        (Permission::Recording, "a recording has no policy"),
    ] {
        for open in ["", "2", "3"] {
            let mut state = state_with(&with_permission(permission), (80, 24), &small_model());
            typed(&mut state, open);
            for keys in ["a", "x", "d", "ay"] {
                let effects = typed(&mut state, keys);
                assert!(
                    !effects.iter().any(|effect| matches!(effect, Effect::Policy(_))),
                    "{keys}: {effects:?}"
                );
                assert!(state.popup.is_none(), "{keys}");
            }
            typed(&mut state, "x");
            assert!(state.message.as_deref().is_some_and(|text| text.contains(want)));
        }
    }
    let mut state = state((80, 24), &small_model());
    typed(&mut state, "?G");
    let text = screen(&state).to_string();
    assert_eq!(text.matches("(with --allow-policy)").count(), 3, "{text}");
    assert!(!text.contains("ALLOW-POLICY "), "{text}");
}

#[test]
fn a_rule_is_chosen_planned_confirmed_and_made() {
    let mut state = allowed((80, 24));
    assert!(typed(&mut state, "a").is_empty());
    assert_eq!(press(&mut state, &[KeyCode::Enter]), [asks(DEFAULT)]);
    // There is nothing to confirm until the plan is there.
    assert!(typed(&mut state, "yad").is_empty());
    assert_eq!(state.popup, Some(Popup::Planning));
    answer(&mut state, Answer::Planned(Ok(plan(DEFAULT))));
    assert!(screen(&state).to_string().contains("1 to add, 0 to change"));
    let request = Request {
        target: TARGET,
        operation: DEFAULT,
    };
    assert_eq!(
        typed(&mut state, "y"),
        [Effect::Policy(Job::Change(request, plan(DEFAULT)))]
    );
    assert_eq!(state.popup, None);
    // A second change has to wait for the first.
    typed(&mut state, "d");
    assert!(
        state.popup.is_none() && state.message.as_deref().is_some_and(|text| text.contains("wait")),
        "{:?}",
        state.message
    );
    answer(&mut state, Answer::Changed(Ok("added it".into())));
    assert_eq!(state.message.as_deref(), Some("added it"));
    assert_eq!(typed(&mut state, "d"), [asks(Operation::Remove)]);
}

#[test]
fn lines_and_choices_of_the_form() {
    let mut state = allowed((80, 24));
    typed(&mut state, "a");
    let keys = [
        KeyCode::Right,
        KeyCode::Down,
        KeyCode::Char(' '),
        KeyCode::Tab,
        KeyCode::Right,
        KeyCode::Right,
        KeyCode::Right,
        KeyCode::Up,
        KeyCode::Enter,
    ];
    let operation = Operation::Add {
        action: PolicyAction::Strip,
        all_ports: true,
        ttl: None,
    };
    assert_eq!(press(&mut state, &keys), [asks(operation)]);
    let mut state = allowed((80, 24));
    typed(&mut state, "x");
    let day = Some(Duration::from_hours(24));
    let keys = [KeyCode::Left, KeyCode::Right, KeyCode::Right, KeyCode::Enter];
    assert_eq!(press(&mut state, &keys), [asks(Operation::Expire(day))]);
}

#[test]
fn whatever_is_not_yes_is_no() {
    for no in [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Char('q'),
        KeyCode::Char('n'),
        KeyCode::Char('Y'),
        KeyCode::Char('a'),
    ] {
        let mut state = allowed((80, 24));
        typed(&mut state, "d");
        answer(&mut state, Answer::Planned(Ok(plan(Operation::Remove))));
        assert_eq!(state.popup, Some(Popup::Plan));
        assert!(press(&mut state, &[no]).is_empty(), "{no:?}");
        assert_eq!(state.popup, None, "{no:?}");
        assert!(
            !typed(&mut state, "y")
                .iter()
                .any(|effect| matches!(effect, Effect::Policy(_))),
            "it is over: {no:?}"
        );
    }
    let mut state = allowed((80, 24));
    typed(&mut state, "d");
    answer(&mut state, Answer::Planned(Ok(plan(Operation::Remove))));
    click(&mut state, 40, 12);
    assert_eq!(state.popup, None, "so is the mouse");
}

#[test]
fn a_plan_nobody_waits_for_is_not_shown() {
    let mut state = allowed((80, 24));
    typed(&mut state, "d");
    press(&mut state, &[KeyCode::Esc]);
    assert_eq!(state.popup, None);
    typed(&mut state, "?");
    answer(&mut state, Answer::Planned(Ok(plan(Operation::Remove))));
    assert_eq!(state.popup, Some(Popup::Help));
    press(&mut state, &[KeyCode::Esc]);
    assert!(matches!(typed(&mut state, "y")[..], [Effect::Copy(_)]));
    typed(&mut state, "d");
    let why = "no rule decides on connections of /a to 192.0.2.1; see `tfo-cli policy list`";
    answer(&mut state, Answer::Planned(Err(why.into())));
    assert_eq!((state.popup, state.message.as_deref()), (None, Some(why)));
}

#[test]
fn only_destinations_this_host_connects_to_have_rules() {
    let says = |keys: &str, codes: &[KeyCode]| {
        let mut state = allowed((120, 40));
        typed(&mut state, keys);
        press(&mut state, codes);
        (typed(&mut state, "d"), state.message.unwrap_or_default())
    };
    let (enter, down) = (KeyCode::Enter, KeyCode::Down);
    for (keys, codes) in [
        ("", &[][..]),
        ("", &[enter]),
        ("2", &[enter, down]),
        ("3/outcome:syn-timeout", &[enter]),
        ("3/outcome:syn-timeout", &[enter, enter]),
    ] {
        assert_eq!(says(keys, codes).0, [asks(Operation::Remove)], "{keys} {codes:?}");
    }
    for (keys, codes, want) in [
        ("/role:server", &[enter][..], "here it is the server"),
        ("/role:server", &[enter, enter], "here it is the server"),
        ("2", &[], "unfold the service"),
        ("4", &[], "none is chosen"),
        ("5", &[], "none is chosen"),
        ("/dst:192.0.2.99", &[enter], "none is chosen"),
    ] {
        let (effects, message) = says(keys, codes);
        assert!(
            effects.is_empty() && message.contains(want),
            "{keys} {codes:?}: {message}"
        );
    }
}

#[test]
fn only_what_is_there_can_expire() {
    let mut model = small_model();
    let mut says = |rules: &[Installed]| {
        let rules = rules.to_vec();
        model.read_policy(Some(InForce {
            rules,
            ..Default::default()
        }));
        let mut state = state_with(&with_permission(Permission::Allowed), (80, 24), &model);
        assert!(typed(&mut state, "x").is_empty());
        (screen(&state).to_string(), state.popup, state.message)
    };
    let there = Installed {
        expires_ns: 600_000_000_000,
        ..rule(3, "/system.slice", "198.51.100.0/24", 443)
    };
    let elsewhere = rule(4, "/system.slice", "192.0.2.0/24", 443);
    let (_, popup, message) = says(std::slice::from_ref(&elsewhere));
    let message = message.unwrap_or_default();
    assert!(
        popup.is_none() && message.contains("no rule decides on connections to 198.51.100.7"),
        "{message}"
    );
    let (text, popup, _) = says(&[elsewhere, there]);
    assert!(
        matches!(popup, Some(Popup::Rule(_)))
            && text.contains("rule 3, no-data for /system.slice")
            && text.contains("9m55s left"),
        "{text}"
    );
}

#[test]
fn boxes_and_messages() {
    let screens: [Screen; 6] = [
        ("form-add", |state| drop(typed(state, "a"))),
        ("form-expire", |state| {
            press(state, &[KeyCode::Enter]);
            typed(state, "x");
        }),
        ("planning", |state| drop(typed(state, "d"))),
        ("plan-add", |state| {
            typed(state, "a");
            press(state, &[KeyCode::Enter]);
            answer(state, Answer::Planned(Ok(plan(DEFAULT))));
        }),
        ("plan-expire", |state| {
            press(state, &[KeyCode::Enter]);
            typed(state, "x");
            press(state, &[KeyCode::Enter]);
            let operation = Operation::Expire(Some(Duration::from_mins(10)));
            answer(state, Answer::Planned(Ok(plan(operation))));
        }),
        ("not-done", |state| {
            typed(state, "d");
            let why = "nothing was done: the policy has changed since the plan was shown; ask again to see what \
                       would change now";
            answer(state, Answer::Planned(Ok(plan(Operation::Remove))));
            typed(state, "y");
            answer(state, Answer::Changed(Err(why.into())));
        }),
    ];
    for size in [(80, 24), (200, 60)] {
        for (name, open) in screens {
            let mut state = allowed(size);
            open(&mut state);
            insta::assert_snapshot!(format!("rules-{name}-{}x{}", size.0, size.1), screen(&state));
        }
        let mut state = state(size, &small_model());
        typed(&mut state, "a");
        insta::assert_snapshot!(format!("rules-read-only-{}x{}", size.0, size.1), screen(&state));
    }
}

#[test]
fn no_plan_is_too_long_to_be_read() {
    let mut state = allowed((40, 12));
    let path = format!("/kubepods.slice/{}", "0123456789abcdef/".repeat(60));
    let request = Request {
        target: TARGET,
        operation: DEFAULT,
    };
    let long = request
        .plan(CgroupRef { path, id: 1 }, &[], 0)
        .expect("there is a plan");
    typed(&mut state, "a");
    press(&mut state, &[KeyCode::Enter]);
    answer(&mut state, Answer::Planned(Ok(long)));
    assert!(screen(&state).to_string().contains("more"));
    press(&mut state, &[KeyCode::End]);
    let end = screen(&state).to_string();
    assert!(end.contains("1 to add") && end.contains("y do it"), "{end}");
    assert!(matches!(
        typed(&mut state, "y")[..],
        [Effect::Policy(Job::Change(..))]
    ));
    for size in [(0, 0), (1, 1), (5, 2), (20, 5)] {
        let mut state = allowed(size);
        typed(&mut state, "a");
        screen(&state);
        press(&mut state, &[KeyCode::Enter]);
        answer(&mut state, Answer::Planned(Ok(plan(DEFAULT))));
        screen(&state);
    }
}
