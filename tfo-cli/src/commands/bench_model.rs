//! `tfo-cli bench-model`: speed and memory of the user side, as JSON. `cargo xtask bench` sets it beside the
//! budgets.

use std::{hint::black_box, time::Instant};

use serde::Serialize;
use tfo_common::{Outcome, event::Record};

use super::record;
use crate::{
    args::BenchArgs,
    exit::{self, Failure},
    model::{
        Model,
        fake::{self, EPOCH_NS, Scenario},
        source::Host,
    },
    output, own_cost,
    recording::{Preamble, Recorder, Tick},
    tui,
};

/// Columns and lines of the frames.
const SIZE: (u16, u16) = (200, 60);
/// Destinations that have a story; the others are made up to the number wanted.
const STORIES: u32 = 6;

#[derive(Serialize)]
struct Report {
    /// Records folded into the model per second, one core.
    fold_events_per_s: u64,
    /// CPU time of a reading with every row, ms.
    read_ms: f64,
    /// CPU time of snapshot, table and frame at 200x60, ms.
    frame_ms: f64,
    /// Rows there were.
    destinations: usize,
    /// Resident memory with model, history and screen, and what the history has of it.
    rss_bytes: u64,
    history_bytes: usize,
    /// Resident memory before anything was done.
    rss_start_bytes: u64,
}

/// Measures, or makes a recording.
pub fn run(config: &BenchArgs) -> Result<u8, Failure> {
    if let Some(path) = &config.recording {
        return make_recording(path, config);
    }
    let rss = || own_cost::read().map_or(0, |used| used.rss_bytes);
    let rss_start_bytes = rss();
    let mut model = Model::default();
    let fold_events_per_s = fold(&mut model, config.events);
    let mut scenario = Scenario::default().with_extra(config.destinations.saturating_sub(STORIES));
    let read_ms = read(&mut model, &mut scenario);
    for (id, name) in Scenario::cgroups() {
        model.name(id, Some(name));
    }
    let frame = tui::bench::frame(&model, SIZE, config.frames);
    drop(scenario);
    let report = Report {
        fold_events_per_s,
        read_ms,
        frame_ms: frame.as_secs_f64() * 1e3,
        destinations: model.snapshot().rows.len(),
        rss_bytes: rss(),
        history_bytes: model.history().bytes(),
        rss_start_bytes,
    };
    let text = serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?;
    output::print(&format!("{text}\n"))?;
    Ok(exit::DONE)
}

/// Half of the flows get their first byte later, as with real servers.
fn fold(model: &mut Model, events: u64) -> u64 {
    let mut event = fake::flow(Outcome::Accepted);
    event.ttfb_us = tfo_common::time::UNSEEN_US;
    let start = Instant::now();
    for id in 0..events / 2 {
        event.id = id;
        event.tgid = 1_000 + u32::try_from(id % 8).unwrap_or(0);
        event.cgroup_id = 1 + id % 4;
        model.fold(black_box(&Record::Flow(event)));
        model.fold(black_box(&fake::first_byte(id.saturating_sub(16), 900)));
    }
    let per_second = (events / 2 * 2) as f64 / start.elapsed().as_secs_f64();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a positive rate, for people"
    )]
    let whole = per_second as u64;
    whole
}

fn read(model: &mut Model, scenario: &mut Scenario) -> f64 {
    const READINGS: u32 = 20;
    let mut spent = std::time::Duration::ZERO;
    for _ in 0..READINGS {
        let (records, reading) = scenario.step();
        for record in &records {
            model.fold(record);
        }
        let start = Instant::now();
        model.read(reading);
        model.read_host(Host::default());
        spent += start.elapsed();
    }
    (spent / READINGS).as_secs_f64() * 1e3
}

fn make_recording(path: &std::path::Path, config: &BenchArgs) -> Result<u8, Failure> {
    let failed = |error| record::failure(&error);
    let preamble = Preamble {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        wall_offset_ns: EPOCH_NS,
        server_prefixes: (24, 48),
        attached: vec!["nothing: this host is made up".to_owned()],
        degradations: Vec::new(),
    };
    let mut recorder = Recorder::create(path, &preamble).map_err(failed)?;
    let mut scenario = Scenario::default().with_extra(config.destinations.saturating_sub(STORIES));
    for second in 0..config.seconds {
        let (records, reading) = scenario.step();
        let first = second == 0;
        let names = if first { Scenario::cgroups() } else { Vec::new() };
        let tick = Tick {
            records,
            reading,
            names: names.into_iter().map(|(id, name)| (id, Some(name))).collect(),
            host: Some(scenario.host()),
            listeners: first.then(Scenario::listeners),
            host_facts: first.then(Scenario::host_facts),
            degradations: None,
        };
        recorder.tick(&tick).map_err(failed)?;
    }
    Ok(exit::DONE)
}
