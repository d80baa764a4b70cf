//! `tfo-cli analyze`: captures to lines and a summary, without root and without a kernel.

mod findings;
mod progress;

use std::{
    collections::HashSet,
    io::{self, Write},
    path::{Path, PathBuf},
    sync::Arc,
};

use self::{findings::Findings, progress::Progress};
use super::networks;
use crate::{
    args::AnalyzeConfig,
    capture::{
        Analyzer, CaptureError, Judged,
        format::{Ending, Packets},
        input::{self, Input},
        table::CAPACITY,
    },
    exit::{self, Failure},
    model::{Flow, filterable::FilterableFlow, networks::Networks},
    output::{
        self,
        judged::{JudgedLine, JudgedWriter},
        judged_summary::JudgedSummary,
    },
    signals::{self, Stop},
};

/// Runs the command.
pub fn run(config: &AnalyzeConfig) -> Result<u8, Failure> {
    let stop = signals::watch(|| {})?;
    let mut out = io::BufWriter::with_capacity(1 << 16, stop.progress_writer(io::stdout().lock()));
    let summary = analyze(config, &stop, &mut out)?;
    output::complain(&format_args!("tfo-cli: {}", summary.line()))?;
    for (file, why) in &summary.endings {
        output::complain(&format_args!("tfo-cli: {file}: {why}"))?;
    }
    if stop.raised() {
        output::complain(&"tfo-cli: stopped before the end: the above is what was read so far")?;
    }
    Ok(if summary.is_incomplete() {
        exit::FAILED
    } else {
        exit::DONE
    })
}

/// A capture's error as the user sees it.
pub fn failure(error: &CaptureError) -> Failure {
    let failure = Failure::new(exit::FAILED, error);
    match error {
        CaptureError::Foreign(_) => failure
            .hint("captures are made by 'tcpdump -w FILE'; a recording of tfo-cli is read by 'tfo-cli trace --replay FILE'"),
        CaptureError::Empty(_) => failure.hint("nothing was captured, or the capture was not written yet"),
        CaptureError::Io { .. } => failure,
    }
}

/// Prints what the captures have until they or the user's patience end. A closed pipe is a clean end.
pub fn analyze(config: &AnalyzeConfig, stop: &Stop, out: &mut dyn Write) -> Result<JudgedSummary, Failure> {
    let networks = networks::load(config.networks.as_deref(), &config.filter)?;
    let mut lines = Lines::new(config, networks);
    let written = lines.read_all(stop, out)?;
    let written = written.and_then(|()| lines.end(out)).and_then(|()| out.flush());
    // Also of what was read for somebody who no longer listens.
    lines.summary.counts = lines.analyzer.counts().clone();
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(lines.summary),
    }
}

struct Lines<'a> {
    config: &'a AnalyzeConfig,
    names: Vec<String>,
    writer: Box<dyn JudgedWriter>,
    analyzer: Analyzer,
    summary: JudgedSummary,
    /// Verdicts that wait to be written.
    judged: Vec<Judged>,
    findings: Findings,
    networks: Arc<Networks>,
}

impl<'a> Lines<'a> {
    fn new(config: &'a AnalyzeConfig, networks: Arc<Networks>) -> Self {
        Self {
            config,
            names: config
                .files
                .iter()
                .map(|file| output::clean(&file.display().to_string()))
                .collect(),
            writer: config.format.judged(),
            analyzer: Analyzer::new(&config.local, CAPACITY),
            summary: JudgedSummary::default(),
            judged: Vec::new(),
            findings: Findings::new(Arc::clone(&networks)),
            networks,
        }
    }

    /// Reads every file. The outer error is that of the captures, the inner one that of the output.
    fn read_all(&mut self, stop: &Stop, out: &mut dyn Write) -> Result<io::Result<()>, Failure> {
        // All of them are opened once before anything is printed: a misspelt name says so at once.
        // A pipe is not: what is read of it is gone.
        let is_pipe =
            |file: &PathBuf| file.as_os_str() == "-" || file.metadata().is_ok_and(|kind| !kind.is_file());
        for file in self.config.files.iter().filter(|file| !is_pipe(file)) {
            input::open(file, stop).map_err(|error| failure(&error))?;
        }
        if let Err(error) = self.writer.begin(out).and_then(|()| out.flush()) {
            return Ok(Err(error));
        }
        for (index, file) in self.config.files.iter().enumerate() {
            if stop.raised() {
                break;
            }
            let input = input::open(file, stop).map_err(|error| failure(&error))?;
            self.analyzer.next_file(u32::try_from(index).unwrap_or(u32::MAX));
            if let Err(error) = self.read_one(input, file, stop, out)? {
                return Ok(Err(error));
            }
        }
        Ok(Ok(()))
    }

    fn read_one(
        &mut self,
        input: Input,
        file: &Path,
        stop: &Stop,
        out: &mut dyn Write,
    ) -> Result<io::Result<()>, Failure> {
        /// Packets between two looks at the clock and at the stop flag.
        const BATCH: u32 = 4_096;
        let progress = Progress::begin(&input);
        let mut packets = Packets::new(input.bytes);
        loop {
            let mut ended = None;
            for _ in 0..BATCH {
                let Self { analyzer, judged, .. } = self;
                let next = packets.next(&mut |packet| analyzer.packet(&packet, &mut |one| judged.push(one)));
                ended = next.map_err(|error| {
                    failure(&CaptureError::Io {
                        operation: "read",
                        path: output::clean(&file.display().to_string()),
                        error,
                    })
                })?;
                if ended.is_some() || (input.live && !packets.has_buffered()) {
                    break;
                }
            }
            let written = progress.suspend(|| {
                self.write(out)?;
                if input.live { out.flush() } else { Ok(()) }
            });
            if written.is_err() {
                return Ok(written);
            }
            if stop.raised() {
                return Ok(Ok(()));
            }
            match ended {
                None => {}
                Some(Ending::Whole) => return Ok(Ok(())),
                Some(Ending::Truncated) => {
                    self.ending(
                        file,
                        "ends inside a packet: whoever wrote it was stopped, or it was cut",
                    );
                    return Ok(Ok(()));
                }
                Some(Ending::Damaged(why)) => {
                    self.summary.damaged = true;
                    self.ending(file, why);
                    return Ok(Ok(()));
                }
            }
        }
    }

    fn ending(&mut self, file: &Path, why: &'static str) {
        let packets = self.analyzer.packets_of_file();
        self.summary.endings.push((
            output::clean(&file.display().to_string()),
            format!("after {packets} packets: {why}"),
        ));
    }

    /// Writes what waits: each end of a connection that is known, or, where neither is, the first; under `--all` all.
    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let known: HashSet<u64> = self
            .judged
            .iter()
            .filter(|judged| judged.outcome.is_ok())
            .map(|judged| judged.event.id / 2)
            .collect();
        let mut said = HashSet::new();
        for judged in std::mem::take(&mut self.judged) {
            self.summary.events += 1;
            self.findings.add(&judged);
            let connection = judged.event.id / 2;
            if let Ok(outcome) = judged.outcome {
                self.summary.totals[usize::from(judged.event.role)][outcome as usize] += 1;
            } else if !self.config.all && (known.contains(&connection) || !said.insert(connection)) {
                continue;
            }
            let Some(flow) = Flow::new(&judged.event) else {
                continue;
            };
            if !self.passes(&judged, &flow) {
                continue;
            }
            self.summary.printed += 1;
            let file = self.names.get(judged.place.0 as usize).map_or("", String::as_str);
            let line = JudgedLine {
                judged: &judged,
                flow: &flow,
                file,
                network: self.networks.label(flow.remote_ip()).map(|label| &**label),
            };
            self.writer.line(&line, out)?;
        }
        Ok(())
    }

    fn passes(&self, judged: &Judged, flow: &Flow) -> bool {
        // A bare SYN says nothing of Fast Open, whatever became of it.
        let has_part = judged.option != Some(tfo_common::TfoOption::None) || judged.data_len != Some(0);
        (self.config.all || has_part)
            && self.config.filter.matches(&FilterableFlow {
                flow,
                cgroup: None,
                network: self.networks.label(flow.remote_ip()).map(|label| &**label),
            })
            // An outcome nobody knows is not the one that was asked for.
            && (judged.outcome.is_ok() || self.config.filter.is_empty())
    }

    fn end(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let Self { analyzer, judged, .. } = self;
        analyzer.end(&mut |one| judged.push(one));
        self.write(out)?;
        self.summary.counts = self.analyzer.counts().clone();
        let snapshot = std::mem::take(&mut self.findings).judge(&self.summary.counts);
        self.writer.end(&self.summary, &snapshot, out)
    }
}

#[cfg(test)]
mod tests;
