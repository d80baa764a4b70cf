//! `tfo-cli diagnose`: watches for a while, or plays a recording, and says what is wrong.

use std::{
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use super::{
    attach, keys, networks,
    observe::Observer,
    replay::{CUT_SHORT, Replay},
    top::{
        reader::{self, Reader, Shared},
        replay,
    },
};
use crate::{
    args::{DiagnoseConfig, DiagnoseFormat},
    exit::{self, Failure},
    fingerprint::Salt,
    model::{
        DestRow, Snapshot,
        diagnosis::{Finding, Severity},
        filter::Filter,
    },
    output::{self, diagnosis, diagnosis_json, diagnosis_markdown, diagnosis_text, table},
    signals::{self, Stop},
};

/// How often the counters are read while watching.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command on the live kernel or on a recording.
pub fn run(config: &DiagnoseConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    let snapshot = match &config.replay {
        Some(path) => replayed(config, path, &stop)?,
        None => watched(config, &stop)?,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let shown = chosen(&config.filter, &snapshot);
    write(config, &shown, &snapshot, &mut out)?;
    out.flush()?;
    if config.format == DiagnoseFormat::Text {
        output::complain(&format_args!("tfo-cli: {}", summary(config, &shown, &snapshot)))?;
    }
    if snapshot.lost() > 0 {
        output::complain(&format_args!("tfo-cli: incomplete: {}", table::losses(&snapshot)))?;
    }
    Ok(exit_code(&shown))
}

/// 4 where something is broken.
fn exit_code(shown: &[&Finding]) -> u8 {
    if shown.iter().any(|finding| finding.severity == Severity::Fail) {
        exit::FOUND
    } else {
        exit::DONE
    }
}

/// The end of a recording.
fn replayed(config: &DiagnoseConfig, path: &Path, stop: &Stop) -> Result<Snapshot, Failure> {
    let mut recording = Replay::open(path, stop)?;
    recording.check_filter(&config.filter)?;
    let shared = shared(config)?;
    if replay::play(&mut recording, None, &shared, stop)? {
        output::complain(&CUT_SHORT)?;
    }
    Ok(judged(&shared))
}

/// An empty model, with what networks are called.
fn shared(config: &DiagnoseConfig) -> Result<Shared, Failure> {
    let networks = networks::load(config.networks.as_deref(), &config.filter)?;
    let shared = Shared::new(&config.attach);
    shared.lock().set_networks(networks);
    Ok(shared)
}

fn judged(shared: &Shared) -> Snapshot {
    let mut model = shared.lock();
    model.diagnose();
    model.snapshot()
}

/// This host, after it was watched for a while.
fn watched(config: &DiagnoseConfig, stop: &Stop) -> Result<Snapshot, Failure> {
    let observer = Observer::attach(&config.attach, config.record.as_deref())?;
    let shared = shared(config)?;
    watch(observer, config.duration, &shared, stop)?;
    note_keys(config.salt.as_deref(), &shared);
    Ok(judged(&shared))
}

/// Reads the keys in use, where a salt says that they are wanted.
pub(super) fn note_keys(salt: Option<&str>, shared: &Shared) {
    if let Some(salt) = salt {
        let found = keys::in_use(&Salt::of_text(salt));
        shared.lock().note_keys(found);
    }
}

/// Folds what is observed in this time into a model.
pub(super) fn watch(
    observer: Observer,
    duration: Duration,
    shared: &Shared,
    stop: &Stop,
) -> Result<(), Failure> {
    let mut reader = Reader::new(observer);
    reader.settled_tick(shared)?;
    attach::announce(reader.observer.source())?;
    let end = Instant::now() + duration;
    let mut next = Instant::now() + INTERVAL;
    while !stop.raised() && Instant::now() < end {
        let wait = end.min(next).saturating_duration_since(Instant::now());
        reader.observer.wait(wait.min(reader::POLL))?;
        reader.drain(shared);
        if Instant::now() >= next {
            reader.tick(shared)?;
            next = Instant::now() + INTERVAL;
        }
    }
    Ok(reader.settled_tick(shared)?)
}

/// Findings about what passes the filter. Those about the host pass always.
pub fn chosen<'a>(filter: &Filter, snapshot: &'a Snapshot) -> Vec<&'a Finding> {
    let findings = snapshot.diagnosis.findings.iter();
    findings
        .filter(|finding| snapshot.passes(finding, filter))
        .collect()
}

fn write(
    config: &DiagnoseConfig,
    shown: &[&Finding],
    snapshot: &Snapshot,
    out: &mut dyn Write,
) -> io::Result<()> {
    let rows = snapshot.rows.iter();
    let rows: Vec<&DestRow> = rows
        .filter(|row| config.filter.matches(&snapshot.filterable(row)))
        .collect();
    match config.format {
        DiagnoseFormat::Text => {
            diagnosis_text::write(shown, snapshot, config.details, out)?;
            table::write_networks(snapshot, &rows, out)
        }
        DiagnoseFormat::Markdown => diagnosis_markdown::write(shown, &rows, snapshot, out),
        DiagnoseFormat::Json => diagnosis_json::write(shown, &rows, snapshot, out),
    }
}

fn summary(config: &DiagnoseConfig, shown: &[&Finding], snapshot: &Snapshot) -> String {
    let mut line = diagnosis::totals(shown, snapshot.diagnosis.window_ns);
    if !config.details && !shown.is_empty() {
        line.push_str("; --details has evidence and fixes");
    }
    line
}
