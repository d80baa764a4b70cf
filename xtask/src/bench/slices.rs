//! What programs leave of bytes or connections per second: the same ones come and go while a load runs.
//!
//! Two loads, one after the other, differ by a tenth, whatever is attached: where their memory lies, how far their buffers
//! have grown, what else the machine does. Neighbouring moments of one load differ by less, and there are many of them.

use std::process::Command;
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::load::Kind;
use super::nginx::{self, Page};
use crate::commands::program_path;
use crate::{interrupt, process};

/// What is attached and detached again and again.
pub trait Switched {
    /// Attaches it, or detaches it; it may be so already.
    fn set(&mut self, on: bool) -> Result<()>;
}

/// Nothing at all: what the measurement itself does.
pub struct Nothing;

impl Switched for Nothing {
    fn set(&mut self, _: bool) -> Result<()> {
        Ok(())
    }
}

/// How long they are attached, and then are not.
const SLICE: Duration = Duration::from_millis(80);
/// After each change, until it is over: attaching the first program to a hook rewrites the code there.
const CHANGE: Duration = Duration::from_millis(10);
/// Notes with more between them: a CPU was taken away meanwhile, and what is said of a moment within would be made up.
const FAR_APART_NS: u64 = 10_000_000;
/// Buffers grow, cookies are fetched.
const BEGINNING: Duration = Duration::from_millis(600);

/// What runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// One connection that carries bytes.
    Bulk,
    /// Connections whose ends are threads that wait for each other.
    Connections(Kind),
    /// Connections of threads that have both ends.
    BothEnds(Kind),
    /// Requests to nginx, which closes each connection.
    Requests(Page),
}

/// Bytes or connections per second without, and for each slice with the programs what is left of the mean of the two beside it.
pub struct Left {
    pub without: Vec<f64>,
    pub left: Vec<f64>,
}

/// Of a load of so many seconds.
pub fn left(programs: &mut dyn Switched, load: Load, seconds: u32) -> Result<Left> {
    let running = thread::spawn(move || noted(load, seconds));
    let end = SystemTime::now() + Duration::from_secs(seconds.into());
    interrupt::sleep(BEGINNING)?;
    let mut slices = Vec::new();
    while SystemTime::now() + SLICE + CHANGE < end {
        // First without, and in turns.
        let attached = slices.len() % 2 == 1;
        programs.set(attached)?;
        interrupt::sleep(CHANGE)?;
        let from = now_ns()?;
        interrupt::sleep(SLICE)?;
        slices.push((from, now_ns()?));
    }
    programs.set(false)?;
    let noted = running
        .join()
        .ok()
        .context("the thread that reads what tfo-lab says panicked")??;
    ensure!(noted.len() > 1, "tfo-lab does not say how far it had come");
    compare(&noted, &slices)
}

/// Rates of slices, the first and then every other one without the programs. A slice that the load slept at an end of is none.
fn compare(noted: &[(u64, f64)], slices: &[(u64, u64)]) -> Result<Left> {
    let rate = |&(from, to): &(u64, u64)| {
        let done = done_at(noted, to)? - done_at(noted, from)?;
        Some(done / to.saturating_sub(from).max(1) as f64 * 1e9)
    };
    let rates: Vec<Option<f64>> = slices.iter().map(rate).collect();
    let left = |three: &[Option<f64>]| Some(three[1]? / f64::midpoint(three[0]?, three[2]?));
    let left: Vec<f64> = rates.windows(3).step_by(2).filter_map(left).collect();
    ensure!(
        !left.is_empty(),
        "the load was too short, or slept too much, to compare anything"
    );
    Ok(Left {
        without: rates.iter().step_by(2).copied().flatten().collect(),
        left,
    })
}

/// What was done at a time, in a straight line between the notes beside it; `None` where those are too far apart to say.
fn done_at(noted: &[(u64, f64)], ns: u64) -> Option<f64> {
    let next = noted.partition_point(|(at, _)| *at < ns);
    let (before, done) = *noted.get(next.checked_sub(1)?)?;
    let (after, more) = *noted.get(next)?;
    let gap = after.saturating_sub(before);
    (gap <= FAR_APART_NS).then(|| done + (more - done) * ((ns - before) as f64 / gap.max(1) as f64))
}

/// (Nanoseconds since 1970, what was done by then) of a load over the loopback.
fn noted(load: Load, seconds: u32) -> Result<Vec<(u64, f64)>> {
    let mut command = Command::new(program_path("tfo-lab"));
    match load {
        Load::Bulk => command.arg("bulk"),
        Load::Connections(kind) => command.args(connections(kind)),
        Load::BothEnds(kind) => command.args(connections(kind)).arg("--both-ends"),
        Load::Requests(page) => command
            .args(connections(Kind::Tfo))
            .args(nginx::requests(page, seconds)?.options),
    };
    command.args(["--seconds", &seconds.to_string(), "--every", "0.002"]);
    let report: Value = serde_json::from_str(&process::output(&mut command)?).context("tfo-lab's report")?;
    let failed = report["errors"].as_u64().unwrap_or(0);
    ensure!(
        failed == 0,
        "{failed} connections failed: the numbers would mean nothing"
    );
    let noted = report["noted"].as_array().context("no list `noted`")?;
    let pair = |one: &Value| Some((one["ns"].as_u64()?, one["done"].as_f64()?));
    Ok(noted.iter().filter_map(pair).collect())
}

const fn connections(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Tfo => &["load", "--json"],
        Kind::Plain => &["load", "--json", "--plain"],
    }
}

fn now_ns() -> Result<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH)?;
    since.as_nanos().try_into().context("a time after 2554")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_done_is_read_between_two_notes() {
        let noted = [
            (100, 0.0),
            (200, 1000.0),
            (400, 1000.0),
            (400 + FAR_APART_NS + 1, 2000.0),
        ];
        let at = |ns| done_at(&noted, ns).map(f64::round);
        assert_eq!([150, 200, 300].map(at), [Some(500.0), Some(1000.0), Some(1000.0)]);
        // Before the first, within a sleep, after the last.
        assert_eq!([50, 500, 400 + FAR_APART_NS + 2].map(at), [None; 3]);
    }

    #[test]
    fn a_slice_is_compared_with_those_beside_it() {
        // 1 per ns, half of it while attached.
        let noted = [(0, 0.0), (100, 100.0), (200, 150.0), (300, 250.0), (400, 450.0)];
        let left = compare(&noted, &[(1, 100), (100, 200), (200, 300)]).unwrap();
        assert_eq!((left.without.len(), left.left.len()), (2, 1));
        assert!((left.left[0] - 0.5).abs() < 1e-9);
        assert!(compare(&noted, &[(1, 100), (100, 200)]).is_err());
        // What is not known is left out.
        assert!(compare(&noted, &[(1, 100), (100, 200), (200, 500)]).is_err());
    }
}
