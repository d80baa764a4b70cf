//! `cargo xtask bench`: cost and speed of tfo-cli, next to libbpf-tools' `tcplife`, in one run.

mod policy;

use std::fs;

use anyhow::Result;
use clap::ValueEnum;

use super::build;
use crate::bench::captures;
use crate::bench::cost::{self, COMPARED};
use crate::bench::dashboard;
use crate::bench::load::Kind;
use crate::bench::observer::Tool;
use crate::bench::rate::{self, median, ratios};
use crate::bench::report::{self, Budget, Row};
use crate::packages::{self, User};
use crate::{elevate, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Rounds of the connection rate, each with nothing, tfo-cli top and tcplife attached
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A first impression in two minutes: two rounds of one second
    #[arg(long)]
    quick: bool,
    /// Measure one part only
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What watching costs, and how fast the dashboard is
    Observer,
    /// What a policy costs
    Policy,
    /// How fast captures are read
    Captures,
}

// The budgets of the design.
const RUN_TIME_US: Budget = Budget::AtMost(4.0);
const OF_TCPLIFE: Budget = Budget::AtMost(0.125);
const RATE: Budget = Budget::AtLeast(0.97);
const LOST: Budget = Budget::AtMost(0.0);
const ATTACH_MS: Budget = Budget::AtMost(200.0);
const DETACH_MS: Budget = Budget::AtMost(100.0);
const RESIDENT_MIB: Budget = Budget::AtMost(30.0);
const IDLE_CPU_PERCENT: Budget = Budget::AtMost(0.5);
const FOLDED: Budget = Budget::AtLeast(2_000_000.0);
const ANALYZED: Budget = Budget::AtLeast(1_000_000.0);
const FRAME_MS: Budget = Budget::AtMost(10.0);

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&[User::Lab, User::Bench])?;
    build::everything()?;
    if elevate::run_again_as_root()? {
        return Ok(());
    }
    let (rounds, seconds) = if args.quick {
        (args.rounds.min(2), 1)
    } else {
        (args.rounds, 3)
    };

    let mut rows = Vec::new();
    let wants = |part| args.only.is_none_or(|only| only == part);
    if wants(Part::Captures) {
        capture_reading(&mut rows)?;
    }
    if wants(Part::Observer) {
        run_time(rounds.min(3), seconds, &mut rows)?;
        connection_rate(rounds, seconds, &mut rows)?;
        the_rest(seconds, &mut rows)?;
        user_side(seconds, &mut rows)?;
    }
    // Last: it does not leave its mount namespace.
    if wants(Part::Policy) {
        policy::run(rounds, seconds, &mut rows)?;
    }
    println!("\n{}\n", machine());
    print!("{}", report::table(&rows));
    Ok(())
}

fn run_time(rounds: u32, seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    println!("\n==> BPF run time per loopback connection, both ends, {rounds} rounds of {seconds} s");
    for kind in [Kind::Tfo, Kind::Plain] {
        let name = kind.name();
        let times = cost::run_times(kind, rounds, seconds)?;
        for (tool, values) in COMPARED.iter().zip(&times) {
            let budget = if *tool == Tool::Tcplife {
                Budget::None
            } else {
                RUN_TIME_US
            };
            let what = format!("run time, {name}, {}", tool.name());
            rows.push(Row::new(what, median(&mut values.clone()), "us", budget));
        }
        let [trace, top, tcplife] = &times;
        for (tool, values) in [(Tool::Trace, trace), (Tool::Top, top)] {
            let what = format!("  {} / tcplife, median of rounds", tool.name());
            rows.push(Row::new(
                what,
                median(&mut ratios(values, tcplife)),
                "",
                OF_TCPLIFE,
            ));
        }
    }
    Ok(())
}

fn connection_rate(rounds: u32, seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    println!("\n==> connections per second, {rounds} rounds of {seconds} s");
    let rates = rate::measure(rounds, seconds)?;
    let ([none, top, tcplife], [_, top_ratio, tcplife_ratio]) = (&rates.per_second[..], &rates.ratios[..])
    else {
        anyhow::bail!("three are measured");
    };
    rows.push(Row::new(
        "connections, nothing attached",
        *none,
        "/s",
        Budget::None,
    ));
    rows.push(Row::new("connections, tfo-cli top", *top, "/s", Budget::None));
    rows.push(Row::new("connections, tcplife", *tcplife, "/s", Budget::None));
    rows.push(Row::new(
        "  tfo-cli top / nothing, median of rounds",
        *top_ratio,
        "",
        RATE,
    ));
    rows.push(Row::new(
        "  tcplife / nothing, median of rounds",
        *tcplife_ratio,
        "",
        Budget::None,
    ));
    Ok(())
}

fn the_rest(seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    println!("\n==> loss, attach and detach, memory and idle CPU");
    let loss = cost::loss(seconds)?;
    println!(
        "    {} events at {:.0} connections/s",
        loss.events, loss.per_second
    );
    rows.push(Row::new(
        "events lost at that rate, trace to a file",
        loss.lost as f64,
        "",
        LOST,
    ));
    let (attach, detach) = cost::attach_and_detach(5)?;
    rows.push(Row::new("attach, start to first count", attach, "ms", ATTACH_MS));
    rows.push(Row::new("detach, SIGINT to exit", detach, "ms", DETACH_MS));
    let at_rest = cost::top_at_rest(4 * seconds)?;
    rows.push(Row::new(
        "resident memory of top",
        at_rest.resident_mib,
        "MiB",
        RESIDENT_MIB,
    ));
    rows.push(Row::new(
        "idle CPU of top",
        at_rest.cpu_percent,
        "%",
        IDLE_CPU_PERCENT,
    ));
    Ok(())
}

fn capture_reading(rows: &mut Vec<Row>) -> Result<()> {
    println!("\n==> a capture of two million packets, CPU time");
    let speed = captures::speed()?;
    rows.push(Row::new(
        "packets analyzed, one core",
        speed.per_second,
        "/s",
        ANALYZED,
    ));
    rows.push(Row::new(
        "  analyze / tshark, same fields",
        speed.of_tshark,
        "",
        Budget::None,
    ));
    Ok(())
}

fn user_side(seconds: u32, rows: &mut Vec<Row>) -> Result<()> {
    println!("\n==> the dashboard alone, with 16,384 destinations");
    let speed = dashboard::speed()?;
    rows.push(Row::new(
        "events folded, one core",
        speed.events_per_second,
        "/s",
        FOLDED,
    ));
    rows.push(Row::new("frame at 200x60, CPU", speed.frame_ms, "ms", FRAME_MS));
    let full = dashboard::full_table(4 * seconds)?;
    rows.push(Row::new(
        "resident memory, history included",
        full.resident_mib,
        "MiB",
        RESIDENT_MIB,
    ));
    rows.push(Row::new(
        "idle CPU at the end of a recording",
        full.cpu_percent,
        "%",
        IDLE_CPU_PERCENT,
    ));
    Ok(())
}

/// Numbers mean little without the machine they come from.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let rustc = workspace::host_rustc()
        .map(|version| version.release)
        .unwrap_or_default();
    let model = model.map_or("unknown CPU", |(_, name)| name);
    format!("Linux {}, {cores} cores of {model}, rustc {rustc}", kernel.trim())
}
