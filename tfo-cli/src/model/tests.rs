//! The model as a whole: what goes in comes out of the snapshot.

use tfo_common::{DestStats, Loss, Outcome, Role, event::Record};

use super::{
    Model, cgroup,
    fake::{self, Scenario},
    source::Reading,
};

fn reading(at_s: u64, accepted: u64) -> Reading {
    let mut stats = DestStats::ZERO;
    stats.outcomes[Outcome::Accepted as usize] = accepted;
    let mut reading = Reading {
        at_ns: at_s * 1_000_000_000,
        dests: vec![(fake::dest_key(1), (&stats).into())],
        ..Reading::default()
    };
    reading.totals[Role::Client as usize][Outcome::Accepted as usize] = accepted;
    reading
}

#[test]
fn totals_are_the_readings_and_fresh_is_the_difference() {
    let mut model = Model::default();
    model.read(reading(10, 5));
    model.read(reading(12, 9));
    let snapshot = model.snapshot();
    assert_eq!(snapshot.total(Role::Client, Outcome::is_good), 9);
    assert_eq!(
        snapshot.fresh[Role::Client as usize][Outcome::Accepted as usize],
        4
    );
    assert_eq!(
        (snapshot.interval_ns, snapshot.elapsed_ns),
        (2_000_000_000, 2_000_000_000)
    );
    assert_eq!(snapshot.rows[0].fresh, 4);
}

#[test]
fn a_reading_without_destinations_keeps_the_table() {
    let mut model = Model::default();
    model.read(reading(1, 5));
    model.read(Reading {
        dests: Vec::new(),
        ..reading(2, 6)
    });
    assert_eq!(model.snapshot().rows.len(), 1);
}

#[test]
fn the_first_byte_finds_its_flow() {
    let mut model = Model::default();
    let mut event = fake::flow(Outcome::Accepted);
    event.ttfb_us = tfo_common::time::UNSEEN_US;
    event.id = 42;
    model.fold(&Record::Flow(event));
    model.fold(&fake::first_byte(43, 1));
    assert_eq!(model.snapshot().flows[0].ttfb_us(), None);
    model.fold(&fake::first_byte(42, 777));
    assert_eq!(model.snapshot().flows[0].ttfb_us(), Some(777));
}

#[test]
fn damaged_records_are_counted_not_shown() {
    let mut model = Model::default();
    let mut event = fake::flow(Outcome::Accepted);
    event.outcome = 99;
    model.fold(&Record::Flow(event));
    model.read(Reading::default());
    let snapshot = model.snapshot();
    assert!(snapshot.flows.is_empty());
    assert_eq!(
        snapshot.losses_by_reason().collect::<Vec<_>>(),
        [(Loss::BadRecord, 1)]
    );
}

#[test]
fn records_that_contradict_themselves_are_shown_and_counted() {
    let mut model = Model::default();
    let mut event = fake::flow(Outcome::SynTimeout);
    event.lost_us = 0;
    model.fold(&Record::Flow(event));
    model.fold(&Record::Flow(fake::flow(Outcome::SynTimeout)));
    model.read(Reading::default());
    let snapshot = model.snapshot();
    assert_eq!(snapshot.flows.len(), 2);
    assert_eq!(
        snapshot.losses_by_reason().collect::<Vec<_>>(),
        [(Loss::Contradictory, 1)]
    );
    model.clear();
    model.read(Reading::default());
    assert_eq!(model.snapshot().lost(), 0);
}

#[test]
fn cgroups_are_asked_for_once_and_named() {
    let mut model = Model::default();
    model.fold(&Record::Flow(fake::flow(Outcome::Accepted)));
    model.fold(&Record::Flow(fake::flow(Outcome::Accepted)));
    assert_eq!(model.wanted(), [1]);
    model.name(1, Some(cgroup::parse("/system.slice/web.service")));
    model.fold(&Record::Flow(fake::flow(Outcome::Accepted)));
    assert_eq!(model.wanted(), [0u64; 0]);
    assert_eq!(model.snapshot().names.label(1), "web.service");
}

#[test]
fn processes_are_counted_by_cgroup() {
    let snapshot = Scenario::default().model(2).snapshot();
    let processes = snapshot.processes_of(1);
    assert_eq!(
        (processes.len(), processes[0].comm.as_str(), processes[0].pid),
        (1, "curl", 1_001)
    );
    assert_eq!((processes[0].flows, processes[0].failures), (26, 6));
}

#[test]
fn the_scenario_puts_the_path_that_eats_syn_data_first() {
    let snapshot = Scenario::default().model(5).snapshot();
    assert_eq!(snapshot.rows[0].remote().to_string(), "198.51.100.7");
    assert_eq!(snapshot.rows[0].verdict(), Some(Outcome::SynTimeout));
    let differences: Vec<_> = snapshot
        .cross
        .iter()
        .map(super::crosscheck::CrossLine::difference)
        .collect();
    assert_eq!(differences, [0, 1, 0, 0, 0, 0]);
}
