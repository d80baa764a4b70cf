//! `tfo-cli report`: one document, from the live host, a recording or a capture.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
    time::{Duration, Instant},
};

use sha2::{Digest as _, Sha256};

use super::{
    attach,
    replay::{CUT_SHORT, Replay},
    top::{
        reader::{self, Reader, Shared},
        replay,
    },
};
use crate::{
    args::{ReportConfig, ReportFormat},
    exit::{self, Failure},
    model::diagnosis::Finding,
    output::{
        self,
        report::{Format, Origin, Redactor, Report},
    },
    signals::{self, Stop},
};

/// How often the counters are read while watching.
const INTERVAL: Duration = Duration::from_secs(1);

/// Runs the command.
pub fn run(config: &ReportConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    let shared = Shared::new(&config.attach);
    let mut replay = config
        .replay
        .as_ref()
        .map(|path| Replay::open(path, &stop))
        .transpose()?;
    let origin = match (&config.replay, &mut replay) {
        (Some(path), Some(replay)) => replayed(path, replay, &shared, &stop)?,
        _ => watched(config, &shared, &stop)?,
    };
    let (snapshot, history) = {
        let mut model = shared.lock();
        model.diagnose();
        (model.snapshot(), model.history())
    };
    let mut all: Vec<Finding> = snapshot.diagnosis.findings.clone();
    all.extend(
        replay
            .iter()
            .flat_map(|replay| replay.findings(snapshot.elapsed_ns)),
    );
    all.sort_by(Finding::compare);
    let findings: Vec<&Finding> = all.iter().collect();
    let mut report = Report::of(&snapshot, &findings, &history, 0, &origin);
    if config.redact {
        let file = config.replay.as_ref().map(|path| path.display().to_string());
        let name = config
            .replay
            .as_ref()
            .and_then(|path| path.file_name())
            .map(|name| name.to_string_lossy().into_owned());
        let more: Vec<(&str, String)> = file.into_iter().chain(name).map(|text| ("FILE", text)).collect();
        report.redact(&mut Redactor::new(&snapshot, &more));
    }
    let format = match config.format {
        ReportFormat::Markdown => Format::Markdown,
        ReportFormat::Html => Format::Html,
    };
    match &config.output {
        None => {
            let mut out = io::BufWriter::new(io::stdout().lock());
            report.write(format, &mut out)?;
            out.flush()?;
        }
        Some(path) => {
            output::export::new_file(path, |out| report.write(format, out))?;
            output::complain(&format_args!(
                "tfo-cli: written to {}",
                output::clean(&path.display().to_string())
            ))?;
        }
    }
    Ok(exit::DONE)
}

fn replayed(path: &Path, opened: &mut Replay, shared: &Shared, stop: &Stop) -> Result<Origin, Failure> {
    let kind = match opened {
        Replay::Recording(_) => "recording",
        Replay::Capture(_) => "capture",
    };
    let cut_short = replay::play(opened, None, shared, stop)?;
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy();
    Ok(Origin {
        what: format!("the {kind} {name}"),
        command: format!("tfo-cli report --replay {name}"),
        sha256: if path.as_os_str() == "-" {
            None
        } else {
            Some(hash(path)?)
        },
        remarks: cut_short
            .then(|| CUT_SHORT.trim_start_matches("tfo-cli: ").to_owned())
            .into_iter()
            .collect(),
    })
}

fn hash(path: &Path) -> Result<String, Failure> {
    let failed = |error: io::Error| Failure::new(exit::FAILED, format!("hash {}: {error}", path.display()));
    let mut file = File::open(path).map_err(failed)?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let mut hex = String::new();
    for byte in hasher.finalize() {
        write!(hex, "{byte:02x}").map_err(|error| failed(io::Error::other(error)))?;
    }
    Ok(hex)
}

fn watched(config: &ReportConfig, shared: &Shared, stop: &Stop) -> Result<Origin, Failure> {
    let source = attach::attach(&config.attach)?;
    let mut reader = Reader {
        source,
        recorder: None,
    };
    reader.settled_tick(shared)?;
    attach::announce(&*reader.source)?;
    let end = Instant::now() + config.duration;
    let mut next = Instant::now() + INTERVAL;
    while !stop.raised() && Instant::now() < end {
        let wait = end.min(next).saturating_duration_since(Instant::now());
        reader.source.wait(wait.min(reader::POLL))?;
        reader.drain(shared);
        if Instant::now() >= next {
            reader.tick(shared)?;
            next = Instant::now() + INTERVAL;
        }
    }
    reader.settled_tick(shared)?;
    Ok(Origin {
        what: "this host, live".to_owned(),
        command: format!("tfo-cli report --duration {}s", config.duration.as_secs_f64()),
        sha256: None,
        remarks: Vec::new(),
    })
}
