//! What the BPF programs cost: run time as the kernel measures it, sampled.
//!
//! Measuring (`BPF_ENABLE_STATS`, 5.8) adds two clock readings to every run of every BPF program on the host, so
//! it is on for one reading of several (`AttachOptions::measure_every`). The kernel counts who wants it by descriptor: closing ours, also by dying,
//! leaves `kernel.bpf_stats_enabled` and other measurers as they were.

use std::os::fd::OwnedFd;

use aya::{
    Ebpf,
    sys::{Stats, enable_stats},
};

use super::sys;
use crate::model::source::ProgramRuns;

/// Takes the samples.
#[derive(Debug)]
pub struct Sampler {
    one_in: u32,
    measuring: Option<(OwnedFd, u64)>,
    measured_ns: u64,
    turn: u32,
    latest: Vec<ProgramRuns>,
}

impl Sampler {
    /// One reading in so many is a sample.
    pub fn new(one_in: u32) -> Self {
        Self {
            one_in: one_in.max(1),
            measuring: None,
            measured_ns: 0,
            turn: 0,
            latest: Vec::new(),
        }
    }

    /// Called at every reading: ends a sample, or begins the next one when its turn has come.
    pub fn turn(&mut self, ebpf: &Ebpf, measure: impl FnOnce() -> Option<OwnedFd>) -> Vec<ProgramRuns> {
        let now = sys::monotonic_ns();
        if let Some((_, since)) = self.measuring.take() {
            self.measured_ns += now.saturating_sub(since);
            self.latest = runs(ebpf, self.measured_ns);
        }
        if self.turn == 0 {
            self.measuring = measure().map(|stats| (stats, now));
        }
        self.turn = (self.turn + 1) % self.one_in;
        self.latest.clone()
    }
}

/// Begins to measure. Refused to who lacks `CAP_SYS_ADMIN`, absent before 5.8: then nothing is shown.
pub fn measure() -> Option<OwnedFd> {
    enable_stats(Stats::RunTime).ok()
}

/// Counters of every program that is loaded and has run.
fn runs(ebpf: &Ebpf, measured_ns: u64) -> Vec<ProgramRuns> {
    let loaded = ebpf.programs().filter_map(|(name, program)| {
        let info = program.info().ok()?;
        let run_ns = u64::try_from(info.run_time().as_nanos()).unwrap_or(u64::MAX);
        Some(ProgramRuns {
            name: name.to_owned(),
            runs: info.run_count(),
            run_ns,
            measured_ns,
        })
    });
    let mut runs: Vec<_> = loaded.filter(|program| program.runs > 0).collect();
    runs.sort_by(|left, right| left.name.cmp(&right.name));
    runs
}
