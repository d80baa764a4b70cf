//! The results of all kernels: written to `target/vm/report.json` after every run, and to `docs/kernels.json` with
//! `--bless`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::release::Series;
use super::verdict::{Program, Verdict};

/// The results of a run.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// One entry for each kernel, the oldest series first.
    pub kernels: Vec<Entry>,
}

/// The result of one kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub series: Series,
    /// The release, as `uname -r` printed it.
    pub version: String,
    pub cpus: u32,
    pub connections: usize,
    pub records: usize,
    /// Names of the degradations that tfo-cli reported.
    pub degradations: Vec<String>,
    pub findings: Vec<String>,
    pub programs: Vec<Program>,
}

impl Entry {
    pub fn of(version: &str, series: Series, cpus: u32, verdict: Verdict) -> Self {
        let name = |line: &String| line.split(": ").next().unwrap_or_default().to_owned();
        Self {
            series,
            version: version.to_owned(),
            cpus,
            connections: verdict.connections,
            records: verdict.records,
            degradations: verdict.degradations.iter().map(name).collect(),
            findings: verdict.problems,
            programs: verdict.programs,
        }
    }

    /// The highest number of instructions that the verifier processed for a program of an object; `None` when the kernel
    /// refused a program or did not tell.
    pub fn highest(&self, object: &str) -> Option<u64> {
        let of_object = self.programs.iter().filter(|program| program.object == object);
        let figures = of_object.map(|program| program.verified_insns.filter(|_| program.refused.is_none()));
        figures.collect::<Option<Vec<_>>>()?.into_iter().max()
    }
}

impl Report {
    pub fn read(text: &str) -> Result<Self> {
        serde_json::from_str(text).context("the report of the kernels")
    }

    pub fn write(&mut self, path: &Path) -> Result<()> {
        self.kernels.sort_by_key(|entry| entry.series);
        let text = serde_json::to_string_pretty(self)? + "\n";
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
    }
}
