//! What a tool costs per connection and at rest.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::bpftool;
use super::load::{Kind, Load, Shape};
use super::observer::{Observer, Tool, scratch};
use super::stats::{self, StatsOn};
use super::watcher::Watcher;
use crate::interrupt;

/// What programs took during one run of the load, per connection, both its ends.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Run time of all programs, us.
    pub us: f64,
    /// Runs of `sock_ops` programs.
    pub sock_ops: f64,
    /// Runs of the program at the end of a socket.
    pub destroy: f64,
    /// Runs of the program that is called for errors, which a RST makes of each end that is still open (before 5.14: for the RST).
    pub by_reset: f64,
    /// Connections per second meanwhile, with statistics on.
    pub per_second: f64,
    /// Events that the tool says it has lost.
    pub lost: u64,
}

/// Measures one watcher under one load. Statistics are on only here: they slow every program.
pub fn sample(watcher: Watcher, shape: &Shape) -> Result<Sample> {
    let _stats = StatsOn::enable()?;
    let watching = watcher.start()?;
    let ids = watching.programs()?;
    let before = bpftool::programs()?;
    let load = shape.run()?;
    let after = bpftool::programs()?;
    let said = watching.stop()?;
    let mut sample = Sample {
        per_second: load.per_second(),
        lost: said.iter().filter_map(|line| lost_events(line)).sum(),
        ..Sample::default()
    };
    for id in ids {
        let (Some(before), Some(after)) = (before.get(&id), after.get(&id)) else {
            continue;
        };
        let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / load.connections as f64;
        let runs = each(after.runs, before.runs);
        sample.us += each(after.nanoseconds, before.nanoseconds) / 1000.0;
        if after.name.contains("sock_ops") {
            sample.sock_ops += runs;
        } else if after.name.contains("destroy") {
            sample.destroy += runs;
        } else if after.name.contains("sk_error") || after.name.contains("rcv_reset") {
            sample.by_reset += runs;
        }
    }
    anyhow::ensure!(
        sample.us > 0.0,
        "no program of {} ran during the load",
        watcher.name()
    );
    Ok(sample)
}

/// How many events libbpf-tools say they have lost, if this line does.
fn lost_events(line: &str) -> Option<u64> {
    let (_, rest) = line.split_once("ost ")?;
    let (number, rest) = rest.split_once(' ')?;
    rest.starts_with("events").then(|| number.parse().ok())?
}

/// Bytes of machine code of each program of `trace`, by name.
pub fn machine_code() -> Result<BTreeMap<String, u64>> {
    let watching = Watcher::TRACE.start()?;
    let ids = watching.programs()?;
    let all = bpftool::programs()?;
    watching.stop()?;
    let ours = ids.iter().filter_map(|id| all.get(id));
    Ok(ours
        .map(|program| (program.name.clone(), program.jited))
        .collect())
}

/// Milliseconds from start to first count and from SIGINT to exit, of several starts of `trace`.
pub fn attach_and_detach(times: u32) -> Result<(Vec<f64>, Vec<f64>)> {
    let mut attach = Vec::new();
    let mut detach = Vec::new();
    for _ in 0..times {
        let observer = Observer::start(Tool::Trace)?;
        attach.push(observer.attach_time.as_secs_f64() * 1000.0);
        // Being stopped while still starting up is another matter.
        interrupt::sleep(Duration::from_millis(200))?;
        detach.push(observer.stop()?.0.as_secs_f64() * 1000.0);
    }
    Ok((attach, detach))
}

/// What `top` takes while nothing happens, after it has seen some load.
pub struct AtRest {
    pub resident_mib: f64,
    pub cpu_percent: f64,
}

/// After some load of every core.
pub fn top_at_rest(seconds: u32) -> Result<AtRest> {
    let observer = Observer::start(Tool::Top)?;
    Load::run(Kind::Tfo, 1)?;
    interrupt::sleep(Duration::from_secs(2))?;
    let (start, before) = (Instant::now(), stats::cpu_nanoseconds(observer.pid())?);
    interrupt::sleep(Duration::from_secs(seconds.into()))?;
    let used = stats::cpu_nanoseconds(observer.pid())?.saturating_sub(before) as f64 / 1e9;
    let at_rest = AtRest {
        resident_mib: stats::resident_kib(observer.pid())? as f64 / 1024.0,
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

/// CPU of `top`, percent of one core, with as many rows as its table has by default: while nothing happens, and while
/// every row changes each second.
pub fn full_table(seconds: u32) -> Result<(f64, f64)> {
    // One less than rows: what the servers see is a row, too.
    let shape = |seconds| Shape::fastest(Kind::Plain, seconds).with(&format!("--destinations {}", ROWS - 1));
    let observer = Observer::start(Tool::Top)?;
    // At any rate a machine makes it is through in a few seconds.
    shape(3).run()?;
    interrupt::sleep(Duration::from_secs(3))?;
    let cpu = |during: &dyn Fn() -> Result<()>| -> Result<f64> {
        let (start, before) = (Instant::now(), stats::cpu_nanoseconds(observer.pid())?);
        during()?;
        let used = stats::cpu_nanoseconds(observer.pid())?.saturating_sub(before) as f64 / 1e9;
        Ok(100.0 * used / start.elapsed().as_secs_f64())
    };
    let idle = cpu(&|| interrupt::sleep(Duration::from_secs(seconds.into())).map_err(Into::into))?;
    let changing = cpu(&|| shape(seconds).at_rate(ROWS).run().map(|_| ()))?;
    observer.stop()?;
    Ok((idle, changing))
}

/// Rows of [`full_table`].
const ROWS: u32 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_lost_is_read_from_what_tools_say() {
        assert_eq!(lost_events("lost 57 events on CPU #1"), Some(57));
        assert_eq!(lost_events("Lost 3 events"), Some(3));
        assert_eq!(lost_events("PID COMM LADDR"), None);
        assert_eq!(lost_events("lost connection to events"), None);
    }

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
