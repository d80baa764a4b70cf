//! The thread that plays a recording into the model, at its own pace.

use std::{
    sync::Arc,
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;

use super::reader::Shared;
use crate::{
    commands::replay::Replay,
    exit::Failure,
    kernel,
    model::{overhead, source::Degradation},
    own_cost,
    recording::{Preamble, Tick},
    signals::Stop,
};

/// Longest sleep: how late a signal is noticed.
const POLL: Duration = Duration::from_millis(50);

/// Starts the thread. At the end of the recording the last state stays.
pub fn spawn(
    mut recording: Replay,
    speed: f64,
    shared: Arc<Shared>,
    stop: Stop,
) -> anyhow::Result<JoinHandle<Result<(), Failure>>> {
    thread::Builder::new()
        .name("replay".into())
        .spawn(move || {
            let _held = stop.on_panic();
            shared.set_status(vec![status(speed)]);
            let result = play(&mut recording, Some(speed), &shared, &stop);
            drop(recording);
            // The decoder's buffers are gone now; what is shown may stay for hours.
            kernel::trim_memory();
            shared.set_status(match &result {
                Ok(false) => vec![" END OF RECORDING ".to_owned()],
                Ok(true) => vec![" END OF RECORDING, cut short ".to_owned()],
                Err(error) => vec![" REPLAY STOPPED ".to_owned(), error.message.clone()],
            });
            result.map(|_| ())
        })
        .context("start the replay thread")
}

fn status(speed: f64) -> String {
    if (speed - 1.0).abs() < f64::EPSILON {
        " REPLAY ".to_owned()
    } else {
        format!(" REPLAY x{speed} ")
    }
}

/// Plays a recording, at once where no speed is given; returns whether it was cut short.
pub fn play(
    recording: &mut Replay,
    speed: Option<f64>,
    shared: &Shared,
    stop: &Stop,
) -> Result<bool, Failure> {
    describe(recording.preamble(), shared);
    let start = Instant::now();
    let mut first_ns = None;
    while let Some(tick) = recording.next_tick()? {
        let at_ns = tick.reading.at_ns;
        // Records without a reading of their own come at once.
        if let Some(speed) = speed.filter(|_| at_ns > 0) {
            let first_ns = *first_ns.get_or_insert(at_ns);
            let seconds = at_ns.saturating_sub(first_ns) as f64 / 1e9 / speed;
            let due = start
                + Duration::try_from_secs_f64(seconds)
                    .unwrap_or(Duration::MAX)
                    .min(FOREVER);
            while !stop.raised() && Instant::now() < due {
                thread::sleep(due.saturating_duration_since(Instant::now()).min(POLL));
            }
        }
        if stop.raised() {
            break;
        }
        apply(tick, shared, speed.is_some());
    }
    if let Some(host_facts) = recording.host_facts() {
        shared.lock().note_host_facts(host_facts);
    }
    // Who plays it at once wants to know what was wrong at its end, not after every reading of hours.
    shared.lock().diagnose();
    shared.advance();
    Ok(recording.is_truncated())
}

/// A pause a damaged time may ask for at most: longer than anybody waits, short enough for the clock.
const FOREVER: Duration = Duration::from_hours(366 * 24);

fn describe(preamble: &Preamble, shared: &Shared) {
    // Names of degradations are constants of the program that noticed them; a recording has one preamble.
    let degradations = degradations(&preamble.degradations, |name| name.to_owned().leak());
    let mut model = shared.lock();
    model.describe(preamble.attached.clone(), &degradations, preamble.wall_offset_ns);
    model.set_prefixes(preamble.prefixes());
}

/// What could not be observed.
fn degradations(recorded: &[(String, String)], named: impl Fn(&str) -> &'static str) -> Vec<Degradation> {
    let one = |(name, why): &(String, String)| Degradation {
        name: named(name),
        why: why.clone(),
    };
    recorded.iter().take(MOST_DEGRADATIONS).map(one).collect()
}

/// More than there are names for.
const MOST_DEGRADATIONS: usize = 64;

fn apply(tick: Tick, shared: &Shared, is_watched: bool) {
    let mut model = shared.lock();
    for (id, name) in tick.names {
        model.name(id, name);
    }
    for record in &tick.records {
        model.fold(record);
    }
    // Records after the last reading have none of their own.
    if tick.reading.at_ns > 0 {
        model.read(tick.reading);
    }
    if let Some(host) = tick.host {
        model.read_host(host);
    }
    if let Some(recorded) = &tick.degradations {
        let before = model.degradations();
        let known = |name: &str| {
            let step = overhead::step_of(name).and_then(overhead::degradation);
            let same = before.iter().find(|one| one.name == name);
            step.or(same.map(|one| one.name)).unwrap_or("unknown")
        };
        model.degrade(&degradations(recorded, known));
    }
    model.read_cost(own_cost::read(), Vec::new());
    if let Some(listeners) = tick.listeners {
        model.read_listeners(listeners);
    }
    if let Some(host_facts) = tick.host_facts {
        model.note_host_facts(host_facts);
    }
    if is_watched {
        model.diagnose();
    }
    drop(model);
    shared.advance();
}
