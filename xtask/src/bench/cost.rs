//! What a tool costs per connection and at rest.

use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::load::{Kind, Load};
use super::observer::{Observer, Tool, scratch};
use super::rate::median;
use super::stats::{self, RunTime, StatsOn};
use crate::interrupt;

/// The tools whose run time is measured, in the order of [`run_times`].
pub const COMPARED: [Tool; 3] = [Tool::Trace, Tool::Top, Tool::Tcplife];

/// BPF run time in microseconds per connection (both its ends), per tool one value for each round.
pub fn run_times(kind: Kind, rounds: u32, seconds: u32) -> Result<[Vec<f64>; 3]> {
    let mut times: [Vec<f64>; 3] = Default::default();
    for round in 0..rounds {
        for (tool, times) in COMPARED.into_iter().zip(&mut times) {
            times.push(run_time(tool, kind, seconds)?);
        }
        let shown: Vec<_> = COMPARED
            .iter()
            .zip(&times)
            .map(|(tool, times)| {
                format!(
                    "{} {:.2} us",
                    tool.name(),
                    times.last().copied().unwrap_or_default()
                )
            })
            .collect();
        println!("    round {}, {}: {}", round + 1, kind.name(), shown.join(", "));
    }
    Ok(times)
}

/// Statistics are on only here: they slow every program.
fn run_time(tool: Tool, kind: Kind, seconds: u32) -> Result<f64> {
    let _stats = StatsOn::enable()?;
    let observer = Observer::start(tool)?;
    let before = RunTime::of_process(observer.pid)?;
    let load = Load::run(kind, seconds)?;
    let time = RunTime::of_process(observer.pid)?.since(before);
    observer.stop()?;
    anyhow::ensure!(time.runs > 0, "no program of {} ran during the load", tool.name());
    Ok(time.nanoseconds as f64 / 1000.0 / load.connections as f64)
}

/// Milliseconds from start to first count and from SIGINT to exit: medians of several starts of `trace`.
pub fn attach_and_detach(times: u32) -> Result<(f64, f64)> {
    let mut attach = Vec::new();
    let mut detach = Vec::new();
    for _ in 0..times {
        let observer = Observer::start(Tool::Trace)?;
        attach.push(observer.attach_time.as_secs_f64() * 1000.0);
        // Being stopped while still starting up is another matter.
        interrupt::sleep(Duration::from_millis(200))?;
        detach.push(observer.stop()?.0.as_secs_f64() * 1000.0);
    }
    Ok((median(&mut attach), median(&mut detach)))
}

/// What `top` takes while nothing happens, after it has seen some load.
pub struct AtRest {
    pub resident_mib: f64,
    pub cpu_percent: f64,
}

pub fn top_at_rest(seconds: u32) -> Result<AtRest> {
    let observer = Observer::start(Tool::Top)?;
    Load::run(Kind::Tfo, 1)?;
    interrupt::sleep(Duration::from_secs(2))?;
    let (start, before) = (Instant::now(), stats::cpu_nanoseconds(observer.pid)?);
    interrupt::sleep(Duration::from_secs(seconds.into()))?;
    let used = stats::cpu_nanoseconds(observer.pid)?.saturating_sub(before) as f64 / 1e9;
    let at_rest = AtRest {
        resident_mib: stats::resident_kib(observer.pid)? as f64 / 1024.0,
        cpu_percent: 100.0 * used / start.elapsed().as_secs_f64(),
    };
    observer.stop()?;
    Ok(at_rest)
}

/// Events reported and lost by `trace` writing to a file at the highest connection rate of this machine.
pub struct Loss {
    pub events: u64,
    pub lost: u64,
    pub per_second: f64,
}

pub fn loss(seconds: u32) -> Result<Loss> {
    let file = scratch("trace.ndjson")?;
    let observer = Observer::trace_to(&file)?;
    let load = Load::run(Kind::Tfo, seconds)?;
    interrupt::sleep(Duration::from_secs(1))?;
    observer.stop()?;
    let summary = last_line(&file);
    // Hundreds of megabytes, after seconds at 100,000 connections/s.
    let _ = fs::remove_file(&file);
    let (events, lost) = summary_counts(&summary?)?;
    Ok(Loss {
        events,
        lost,
        per_second: load.per_second(),
    })
}

fn last_line(file: &Path) -> Result<String> {
    // More than the longest record, and far less than the file.
    const TAIL: u64 = 64 * 1024;
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(TAIL)))?;
        let mut tail = Vec::new();
        file.read_to_end(&mut tail)?;
        io::Result::Ok(String::from_utf8_lossy(&tail).into_owned())
    };
    let tail = read().with_context(|| format!("cannot read {}", file.display()))?;
    Ok(tail
        .lines()
        .next_back()
        .context("tfo-cli trace wrote nothing")?
        .to_owned())
}

/// Events, and what was lost for any reason, from the summary record.
fn summary_counts(line: &str) -> Result<(u64, u64)> {
    let value: Value = serde_json::from_str(line).context("the last line of the trace is not JSON")?;
    anyhow::ensure!(
        value["type"] == "summary",
        "the last line of the trace is no summary: {line}"
    );
    let events = value["events"]
        .as_u64()
        .context("the summary has no number `events`")?;
    let lost = match &value["lost"] {
        Value::Object(reasons) => reasons.values().filter_map(Value::as_u64).sum(),
        other => other.as_u64().context("the summary has no `lost`")?,
    };
    Ok((events, lost))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_summary() {
        let line =
            r#"{"schema":1,"type":"summary","events":10,"lost":{"ring-full":2,"table-full":1},"totals":{}}"#;
        assert_eq!(summary_counts(line).unwrap(), (10, 3));
    }

    #[test]
    fn a_flow_is_no_summary() {
        assert!(summary_counts(r#"{"type":"flow","events":1}"#).is_err());
        assert!(summary_counts("").is_err());
    }
}
