//! `trace --replay FILE`: the flows of a recording, as fast as they can be printed.

use std::{
    io::{self, Write},
    path::Path,
    time::Instant,
};

use tfo_common::flags::Shed;

use super::{Tracer, reader::Batch};
use crate::{
    args::TraceConfig,
    commands::replay::{CUT_SHORT, Replay},
    exit::Failure,
    model::overhead,
    output::Summary,
    recording::Tick,
    signals::Stop,
};

/// Prints the flows of a recording; returns what was seen.
pub fn trace(
    config: &TraceConfig,
    path: &Path,
    stop: &Stop,
    out: &mut dyn Write,
) -> Result<Summary, Failure> {
    let mut recording = Replay::open(path, stop)?;
    recording.check_filter(&config.filter)?;
    let mut tracer = Tracer::new(config, recording.preamble().wall_offset_ns)?;
    let mut counted = Summary::default();
    match tracer.writer.begin(out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        Err(_) => return Ok(counted),
        Ok(()) => {}
    }
    while !stop.raised() && !tracer.is_done() {
        let Some(tick) = recording.next_tick()? else {
            break;
        };
        if tick.reading.at_ns > 0 {
            (counted.totals, counted.losses) = (tick.reading.totals, tick.reading.losses);
        }
        let given_up = tick.degradations.iter().flatten();
        let most = given_up.filter_map(|(name, _)| overhead::step_of(name)).max();
        counted.shed = counted.shed.max(most.unwrap_or(Shed::Nothing));
        if let Some(found) = &mut tracer.found {
            found.tick(&tick);
        }
        let written = tracer
            .take(batch(tick), out)
            .and_then(|()| tracer.release(Instant::now(), out));
        match written {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(tracer.summary),
            other => other?,
        }
    }
    if recording.is_truncated() {
        crate::output::complain(&CUT_SHORT)?;
    }
    tracer.finish(&counted, Ok(()), out)
}

fn batch(tick: Tick) -> Batch {
    Batch {
        cookies: Vec::new(),
        at: Instant::now(),
        records: tick.records,
        names: tick.names,
    }
}
