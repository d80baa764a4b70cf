//! The user side alone: folding records, drawing frames, memory with a full destination table.

use std::{fs, process::Command, process::Stdio, time::Duration, time::Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::observer::{self, scratch};
use super::stats;
use super::terminal;
use crate::commands::program_path;
use crate::interrupt;
use crate::process::{self, Running};

/// Rows of the destination table: as many as it holds.
const DESTINATIONS: &str = "16384";
/// Seconds of the recording with that many rows, and how much faster it is played.
const SECONDS: u64 = 20;
const SPEED: u64 = 5;

/// What `tfo-cli bench-model` says.
pub struct Speed {
    pub events_per_second: f64,
    pub frame_ms: f64,
}

pub fn speed() -> Result<Speed> {
    let mut command = Command::new(program_path("tfo-cli"));
    command.args(["bench-model", "--destinations", DESTINATIONS]);
    let report: Value =
        serde_json::from_str(&process::output(&mut command)?).context("bench-model's report")?;
    let number = |name: &str| {
        report[name]
            .as_f64()
            .with_context(|| format!("bench-model reports no {name}"))
    };
    Ok(Speed {
        events_per_second: number("fold_events_per_s")?,
        frame_ms: number("frame_ms")?,
    })
}

/// What `top` takes at the end of a recording with a full destination table.
pub struct Full {
    pub resident_mib: f64,
    pub cpu_percent: f64,
}

pub fn full_table(seconds: u32) -> Result<Full> {
    let file = scratch("full.tfo")?;
    let _ = fs::remove_file(&file);
    let mut record = Command::new(program_path("tfo-cli"));
    record
        .args(["bench-model", "--destinations", DESTINATIONS, "--recording"])
        .arg(&file)
        .args(["--seconds", &SECONDS.to_string()]);
    process::output(&mut record)?;
    let play = format!("top --replay {} --speed {SPEED}", file.display());
    let mut command = terminal::tfo_cli(&play)?;
    command.stderr(Stdio::null());
    let mut running = Running::start(&mut command)?;
    // The recording has to be over: from then on nothing happens.
    interrupt::sleep(Duration::from_secs(SECONDS / SPEED + 5))?;
    let pid = running.pid();
    ensure!(running.poll()?.is_none(), "tfo-cli top --replay ended early");
    let (start, before) = (Instant::now(), stats::cpu_nanoseconds(pid)?);
    interrupt::sleep(Duration::from_secs(seconds.into()))?;
    let used = stats::cpu_nanoseconds(pid)?.saturating_sub(before) as f64 / 1e9;
    let full = Full {
        resident_mib: stats::resident_kib(pid)? as f64 / 1024.0,
        cpu_percent: 100.0 * used / start.elapsed().as_secs_f64(),
    };
    observer::terminate(pid)?;
    running.wait_for(Duration::from_secs(10))?;
    let _ = fs::remove_file(&file);
    Ok(full)
}
