//! `tfo-cli report`: one document, from the live host, a recording or a capture.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _, Write},
    path::Path,
};

use sha2::{Digest as _, Sha256};

use super::{
    diagnose, networks,
    observe::Observer,
    replay::{CUT_SHORT, Replay},
    top::{reader::Shared, replay},
};
use crate::{
    args::{ReportConfig, ReportFormat},
    exit::{self, Failure},
    model::filter::Filter,
    output::{
        self,
        report::{Format, Origin, Redactor, Report},
    },
    signals::{self, Stop},
};

/// Runs the command.
pub fn run(config: &ReportConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    let networks = networks::load(config.networks.as_deref(), &Filter::default())?;
    let shared = Shared::new(&config.attach);
    shared.lock().set_networks(networks);
    let origin = match &config.replay {
        Some(path) => replayed(path, &shared, &stop)?,
        None => watched(config, &shared, &stop)?,
    };
    let (snapshot, history) = {
        let mut model = shared.lock();
        model.diagnose();
        (model.snapshot(), model.history())
    };
    let mut report = Report::new(&snapshot, &history, 0, &origin);
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

fn replayed(path: &Path, shared: &Shared, stop: &Stop) -> Result<Origin, Failure> {
    let mut opened = Replay::open(path, stop)?;
    let kind = match &opened {
        Replay::Recording(_) => "recording",
        Replay::Capture(_) => "capture",
    };
    let cut_short = replay::play(&mut opened, None, shared, stop)?;
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
            .chain(opened.unknown())
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
    let observer = Observer::attach(&config.attach, None)?;
    diagnose::watch(observer, config.duration, shared, stop)?;
    diagnose::note_keys(config.salt.as_deref(), shared);
    Ok(Origin {
        what: "this host, live".to_owned(),
        command: format!("tfo-cli report --duration {}s", config.duration.as_secs_f64()),
        sha256: None,
        remarks: Vec::new(),
    })
}
