//! What the page of a destination says about rules and guards.

use std::net::IpAddr;

use tfo_common::{
    DestKey, Outcome, PolicyAction,
    guard::{GuardState, Phase},
};

use super::*;
use crate::{
    model::{fake, source::Guarded},
    policy::{InForce, Installed, InstalledGuard, guard::Destination, sample},
};

const CHECKOUT: &str = "/system.slice/checkout.service";

/// A rule with a note that says why it was made.
pub fn rule(id: u32, path: &str, dst: &str, port: u16) -> Installed {
    sample::rule(path, dst)
        .on_ports(&[&port.to_string()])
        .noted("ticket 4711: the firewall at the partner eats SYN data")
        .installed(id)
}

/// The destination of the first row: checkout.service to 198.51.100.7 port 443.
fn first() -> DestKey {
    DestKey {
        remote: fake::padded([198, 51, 100, 7]),
        ..fake::dest_key(0)
    }
}

/// The state that the guard 50 has for it: open, with 552 s to the next trial, `elapsed_s` seconds after the start.
fn opened(elapsed_s: u64) -> Destination {
    Destination {
        cgroup_id: 50,
        own_id: Some(7),
        net: 1,
        is_network: false,
        addr: IpAddr::from([198, 51, 100, 7]),
        port: 443,
        state: GuardState {
            phase: Phase::Open as u8,
            window: 0,
            plain_ok: 20,
            until_ns: (elapsed_s + 552) * 1_000_000_000,
            changed_ns: 1,
            attempts: 12,
            failures: 5,
            lost_us: 5_120_000,
            timed: 5,
            denied: 34,
            opened: 1,
            ..GuardState::NEW
        },
    }
}

/// A host where so many connections of checkout.service to its first destination were denied.
fn denied(count: u32) -> Model {
    let mut scenario = Scenario::default();
    let mut model = scenario.clone().model(5);
    let readings = (0..6).map(|_| scenario.step().1);
    let mut reading = readings.last().expect("the sixth");
    for (key, stats) in &mut reading.dests {
        if *key == first() {
            stats.outcomes[Outcome::Denied as usize] = count;
        }
    }
    model.read(reading);
    model
}

/// The lines about the policy on the page of the first destination.
fn page(model: &Model, permission: Permission) -> String {
    let mut state = state_with(&with_permission(permission), (80, 24), model);
    press(&mut state, &[KeyCode::Enter]);
    let text = view::selected_text(&state).expect("a page is open");
    let lines = text
        .lines()
        .skip_while(|line| !line.starts_with("policy in force"));
    lines
        .take_while(|line| !line.is_empty())
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
}

fn with(model: &mut Model, rules: &[Installed], guards: &[InstalledGuard], state: Option<Guarded>) {
    model.read_policy(Some(InForce {
        rules: rules.to_vec(),
        guards: guards.to_vec(),
    }));
    model.read_guarded(state);
}

#[test]
fn what_is_not_known_is_not_none() {
    let mut model = small_model();
    assert_eq!(page(&model, Permission::ReadOnly), "policy in force: not known");
    assert_eq!(
        page(&model, Permission::Recording),
        "policy in force: not known, recordings do not have it"
    );
    with(&mut model, &[], &[], None);
    assert_eq!(
        page(&model, Permission::ReadOnly),
        "policy in force: no rule, no guard"
    );
    model.name(1, None);
    assert_eq!(
        page(&model, Permission::ReadOnly),
        "policy in force: not known, the cgroup is gone"
    );
    let model = denied(7);
    assert_eq!(
        page(&model, Permission::ReadOnly),
        "policy in force: not known\ndenied 7: a rule or a guard withheld SYN data"
    );
}

#[test]
fn the_past_does_not_show_the_present_policy() {
    let mut model = Scenario::default().model(20);
    with(
        &mut model,
        &[rule(3, CHECKOUT, "198.51.100.0/24", 443)],
        &[],
        None,
    );
    let mut state = state((80, 24), &model);
    press(&mut state, &[KeyCode::Enter]);
    let text = |state: &State| view::selected_text(state).expect("a page is open");
    typed(&mut state, " ");
    assert!(text(&state).contains("policy in force: rule 3"));
    typed(&mut state, "[");
    assert!(text(&state).contains("policy in force: not known"));
    typed(&mut state, "]");
    assert!(text(&state).contains("policy in force: rule 3"));
}

#[test]
fn the_rule_that_decides() {
    let of = |rules: &[Installed]| {
        let mut model = small_model();
        with(&mut model, rules, &[], None);
        page(&model, Permission::ReadOnly)
    };
    let elsewhere = rule(1, "/system.slice/nginx.service", "198.51.100.0/24", 443);
    assert_eq!(of(&[elsewhere]), "policy in force: no rule, no guard");
    let wide = rule(2, "/system.slice", "0.0.0.0/0", 80);
    assert_eq!(
        of(std::slice::from_ref(&wide)),
        "policy in force: rule 2 leaves this port alone: no-data for /system.slice to\n\
         0.0.0.0/0 port 80 (ticket 4711: the firewall at the partner eats SYN data)"
    );
    let near = rule(3, CHECKOUT, "198.51.100.0/24", 443);
    let shown = "policy in force: rule 3, no-data for /system.slice/checkout.service to\n\
         198.51.100.0/24 port 443 (ticket 4711: the firewall at the partner eats SYN\ndata)";
    assert_eq!(of(&[wide.clone(), near.clone()]), shown);
    let ends = Installed {
        expires_ns: 600_000_000_000,
        ..near
    };
    let lines = of(&[wide, ends]);
    assert!(lines.ends_with("SYN\ndata); 9m55s left"), "{lines}");
}

#[test]
fn the_guard_that_watches() {
    let mut model = small_model();
    let guards = [
        sample::guard("/", 49),
        sample::guard("/system.slice", 50),
        sample::guard("/user.slice", 51),
    ];
    let settings = "guard on /system.slice: 5 failures of 6, back-off 10m to 1d";
    let guarded = |state| {
        Some(Guarded {
            dest: first(),
            guard: 50,
            state,
        })
    };
    assert_eq!(model.guard_of(&first()), None, "no policy is known yet");
    with(&mut model, &[], &guards, None);
    assert_eq!(model.guard_of(&first()), Some(50));
    let not_known = format!("policy in force: no rule\n{settings}; its state here is\nnot known");
    assert_eq!(page(&model, Permission::ReadOnly), not_known);
    // What was asked about another destination, or of another guard, says nothing here.
    let elsewhere = Guarded {
        dest: fake::dest_key(9),
        guard: 50,
        state: None,
    };
    with(&mut model, &[], &guards, Some(elsewhere));
    assert_eq!(page(&model, Permission::ReadOnly), not_known);
    let other = Guarded {
        dest: first(),
        guard: 49,
        state: None,
    };
    with(&mut model, &[], &guards, Some(other));
    assert_eq!(page(&model, Permission::ReadOnly), not_known);
    with(&mut model, &[], &guards, guarded(None));
    assert_eq!(
        page(&model, Permission::ReadOnly),
        format!("policy in force: no rule\n{settings}; closed, nothing has\nfailed here")
    );
    with(&mut model, &[], &guards, guarded(Some(opened(5))));
    let numbers = "STATE open  ACTION no-data  FAILED 5/12  RECENT -  BARE 0  PLAIN 0/20  DENIED 34\n\
                   SAVED 34.8s  NEXT TRIAL 9m12s";
    assert_eq!(
        page(&model, Permission::ReadOnly),
        format!("policy in force: no rule\n{settings}\n{numbers}")
    );
    let near = rule(3, CHECKOUT, "198.51.100.0/24", 443);
    with(&mut model, &[near], &guards, guarded(Some(opened(5))));
    assert!(page(&model, Permission::ReadOnly).contains("back-off 10m to 1d; the rule beats it\nSTATE open"));
}

#[test]
fn denied_connections_say_who_denied_them() {
    let guards = [sample::guard("/system.slice", 50)];
    let near = rule(3, CHECKOUT, "198.51.100.0/24", 443);
    let watching = near.spec.clone().doing(PolicyAction::Observe).installed(near.id);
    let again = Destination {
        state: GuardState {
            phase: Phase::Closed as u8,
            ..opened(6).state
        },
        ..opened(6)
    };
    let (open, again, closed, unknown) = (Some(Some(opened(6))), Some(Some(again)), Some(None), None);
    let gone = "a rule or a guard that is gone withheld SYN data";
    for (rules, guards, state, want) in [
        (&[near.clone()][..], &[][..], unknown, "rule 3 withholds SYN data"),
        (
            &[],
            &guards,
            open,
            "the guard on /system.slice withholds SYN data",
        ),
        (
            &[near],
            &guards,
            open,
            "rule 3 withholds SYN data, the guard on /system.slice did before",
        ),
        (&[], &guards, again, "the guard on /system.slice did before"),
        (&[watching], &[], unknown, gone),
        (&[], &guards, closed, gone),
        (
            &[],
            &guards,
            unknown,
            "the guard or a rule that is gone withheld SYN data",
        ),
    ] {
        let mut model = denied(7);
        let guarded = state.map(|state| Guarded {
            dest: first(),
            guard: 50,
            state,
        });
        with(&mut model, rules, guards, guarded);
        let lines = page(&model, Permission::ReadOnly);
        assert!(lines.ends_with(&format!("\ndenied 7: {want}")), "{want}: {lines}");
    }
}

#[test]
fn a_guarded_destination() {
    let mut model = denied(34);
    let guarded = Guarded {
        dest: first(),
        guard: 50,
        state: Some(opened(6)),
    };
    with(
        &mut model,
        &[],
        &[sample::guard("/system.slice", 50)],
        Some(guarded),
    );
    for size in [(80, 24), (200, 60)] {
        let mut state = state(size, &model);
        press(&mut state, &[KeyCode::Enter]);
        insta::assert_snapshot!(format!("guarded-{}x{}", size.0, size.1), screen(&state));
    }
}
