//! What `--replay` reads: a recording of tfo-cli, or a capture, which becomes one by going through the classifier.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

use tfo_common::{Loss, event::Record};

use super::{analyze, record};
use crate::{
    args,
    capture::{
        Analyzer, CaptureError, DEGRADATION, Unknown,
        format::{self, Ending, Packets},
        input,
        table::CAPACITY,
        tally::{self, Tally},
    },
    exit::Failure,
    model::{diagnosis::HostFacts, filter::Filter, source::Host},
    output,
    recording::{Preamble, Recording, Tick},
    signals::Stop,
};

/// Time of a capture between two readings.
const TICK_NS: u64 = 1_000_000_000;
/// What is said when a replay ends before its end.
pub const CUT_SHORT: &str =
    "tfo-cli: the recording or capture ends in the middle: its writer was stopped, or it is damaged";
/// Records one tick may have before it is handed over.
const MOST_RECORDS: usize = 65_536;

/// Something that can be played back, tick by tick.
pub enum Replay {
    /// What the kernel side said.
    Recording(Box<Recording>),
    /// What was on the wire.
    Capture(Box<CaptureReplay>),
}

/// A capture on its way into a model.
pub struct CaptureReplay {
    path: PathBuf,
    packets: Packets<Box<dyn std::io::Read + Send>>,
    analyzer: Analyzer,
    tally: Tally,
    preamble: Preamble,
    next_ns: u64,
    begun: bool,
    /// Packets since the latest reading.
    since_tick: usize,
    ended: bool,
    truncated: bool,
    stop: Stop,
}

impl Replay {
    /// Opens a recording or a capture; `-` is a capture on standard input.
    pub fn open(path: &Path, stop: &Stop) -> Result<Self, Failure> {
        if path.as_os_str() == "-" || is_capture(path) {
            return CaptureReplay::open(path, stop).map(|capture| Self::Capture(Box::new(capture)));
        }
        Recording::open(path)
            .map(|recording| Self::Recording(Box::new(recording)))
            .map_err(|error| record::failure(&error))
    }

    /// Refuses a filter that nothing in a capture can pass.
    pub fn check_filter(&self, filter: &Filter) -> Result<(), Failure> {
        match self {
            Self::Recording(_) => Ok(()),
            Self::Capture(_) => args::check_packet_filter(filter),
        }
    }

    /// What is said at the beginning.
    pub fn preamble(&self) -> &Preamble {
        match self {
            Self::Recording(recording) => recording.preamble(),
            Self::Capture(capture) => &capture.preamble,
        }
    }

    /// The next tick; `None` at the end.
    pub fn next_tick(&mut self) -> Result<Option<Tick>, Failure> {
        match self {
            Self::Recording(recording) => recording.next_tick().map_err(|error| record::failure(&error)),
            Self::Capture(capture) => capture.next_tick(),
        }
    }

    /// What was looked at beyond flows and tables: what rode in the SYNs of a capture.
    pub fn host_facts(&self) -> Option<HostFacts> {
        match self {
            Self::Recording(_) => None,
            Self::Capture(capture) => Some(capture.tally.host_facts()),
        }
    }

    /// What a capture could not tell so far, each reason with its count, but for those that readings count as losses.
    pub fn unknown(&self) -> Vec<String> {
        let Self::Capture(capture) = self else {
            return Vec::new();
        };
        let counts = capture.analyzer.counts();
        let counted: Vec<Unknown> = Loss::ALL.into_iter().filter_map(tally::reason).collect();
        let reasons = Unknown::ALL.iter().filter(|reason| !counted.contains(reason));
        reasons
            .map(|reason| (reason, counts.unknown[*reason as usize]))
            .filter(|(_, count)| *count > 0)
            .map(|(reason, count)| format!("{count} {}: {}", reason.name(), reason.describe()))
            .collect()
    }

    /// Whether it ended in the middle, as that of a killed writer does.
    pub fn is_truncated(&self) -> bool {
        match self {
            Self::Recording(recording) => recording.is_truncated(),
            Self::Capture(capture) => capture.truncated,
        }
    }
}

/// Whether a file begins as captures do. Whoever reads it says what is wrong with it. What is read of a pipe is
/// gone: it is taken for a recording.
fn is_capture(path: &Path) -> bool {
    let mut first = [0; 4];
    if !path.is_file() {
        return false;
    }
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && format::magic(&first).is_some()
}

impl CaptureReplay {
    fn open(path: &Path, stop: &Stop) -> Result<Self, Failure> {
        let input = input::open(path, stop).map_err(|error| analyze::failure(&error))?;
        let missing = "no process, service, listener or kernel counter; denied, local-drop and paused look plain; \
                       both ends are shown";
        Ok(Self {
            path: path.to_owned(),
            packets: Packets::new(input.bytes),
            analyzer: Analyzer::new(&[], CAPACITY),
            tally: Tally::default(),
            preamble: Preamble {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                server_prefixes: (
                    tfo_common::limits::SERVER_V4_PREFIX,
                    tfo_common::limits::SERVER_V6_PREFIX,
                ),
                degradations: vec![(DEGRADATION.to_owned(), missing.to_owned())],
                ..Preamble::default()
            },
            next_ns: 0,
            begun: false,
            since_tick: 0,
            ended: false,
            truncated: false,
            stop: stop.clone(),
        })
    }

    /// Reads on until the capture's clock has moved by a tick.
    fn next_tick(&mut self) -> Result<Option<Tick>, Failure> {
        if self.ended {
            return Ok(None);
        }
        let mut records = Vec::new();
        loop {
            let Self {
                packets,
                analyzer,
                tally,
                ..
            } = self;
            let mut take = |judged| {
                tally.add(&judged);
                if judged.outcome.is_ok_and(|outcome| !outcome.is_plain()) {
                    records.push(Record::Flow(judged.event));
                }
            };
            let ending = packets
                .next(&mut |packet| analyzer.packet(&packet, &mut take))
                .map_err(|error| {
                    analyze::failure(&CaptureError::Io {
                        operation: "read",
                        path: output::clean(&self.path.display().to_string()),
                        error,
                    })
                })?;
            if ending.is_some() || self.stop.raised() {
                analyzer.end(&mut take);
                self.ended = true;
                self.truncated = !matches!(ending, Some(Ending::Whole));
                return Ok(Some(self.tick(records)));
            }
            let now_ns = analyzer.counts().last_ns;
            self.since_tick += 1;
            // A reading costs as much as its rows: with many of them there are fewer.
            let due = now_ns >= self.next_ns && self.since_tick >= self.tally.rows();
            if !self.begun || due || records.len() >= MOST_RECORDS {
                (self.begun, self.since_tick) = (true, 0);
                self.next_ns = now_ns.saturating_add(TICK_NS);
                return Ok(Some(self.tick(records)));
            }
        }
    }

    fn tick(&self, records: Vec<Record>) -> Tick {
        let counts = self.analyzer.counts();
        Tick {
            records,
            // Zero stands for "no reading"; time stamps may be missing.
            reading: self.tally.reading(counts.last_ns.max(1), counts),
            host: Some(Host {
                name: output::clean(&self.path.display().to_string()),
                ..Host::default()
            }),
            ..Tick::default()
        }
    }
}
