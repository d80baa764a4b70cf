//! `cargo xtask bench`: cost and speed of tfo-cli beside empty programs and other tools, in one run, and the page it makes.

mod observer;
mod peers;
mod policy;
mod rates;
mod sliced;
mod user;

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result};
use clap::ValueEnum;

use super::build;
use crate::bench::policy::Stage;
use crate::bench::report::document::{self, Place};
use crate::bench::report::{self, Section};
use crate::packages::{self, User};
use crate::{elevate, process, workspace};

#[derive(clap::Args)]
pub struct Args {
    /// Rounds of what is compared by connections per second
    #[arg(long, value_name = "N", default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,
    /// A first impression in three minutes: two rounds of one second. Writes target/bench/cost.md
    #[arg(long)]
    quick: bool,
    /// Measure the release programs that are there instead of building them first
    #[arg(long)]
    built: bool,
    /// Measure one part only. Writes target/bench/cost.md
    #[arg(long, value_enum)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What watching costs per connection, beside empty programs
    Observer,
    /// What other tools cost in the same run
    Peers,
    /// Connections and requests per second
    Rates,
    /// What a policy costs
    Policy,
    /// Start, memory, idle CPU, the dashboard
    User,
    /// How fast captures are read
    Captures,
}

/// How long to measure.
#[derive(Clone, Copy)]
struct Time {
    /// Rounds of rates, which differ most from one to the next.
    rounds: u32,
    /// Rounds of run times.
    few: u32,
    /// Of each round of run times.
    seconds: u32,
    /// Seconds of each measurement of a rate: short, because what it is compared with has to be near, but not so short that
    /// most of it is the beginning, in which a tool meets new namespaces and services.
    slice: f64,
}

pub fn run(args: &Args) -> Result<()> {
    packages::ensure(&[User::Lab, User::Bench])?;
    if !args.built {
        build::everything()?;
    }
    if elevate::run_again_as_root()? {
        return Ok(());
    }
    let time = if args.quick {
        Time {
            rounds: 2,
            few: 2,
            seconds: 1,
            slice: 0.4,
        }
    } else {
        Time {
            rounds: args.rounds,
            few: 8,
            seconds: 2,
            slice: 1.5,
        }
    };
    let start = Instant::now();
    let stage = Stage::enter()?;
    let mut sections = Vec::new();
    let wants = |part| args.only.is_none_or(|only| only == part);
    if wants(Part::Observer) {
        sections.extend(observer::run(time)?);
    }
    if wants(Part::Peers) {
        sections.extend(peers::run(time)?);
    }
    if wants(Part::Rates) {
        sections.extend(rates::run(&stage, time)?);
    }
    if wants(Part::Policy) {
        sections.extend(policy::run(&stage, time)?);
    }
    if wants(Part::User) {
        sections.push(user::run(time)?);
    }
    if wants(Part::Captures) {
        sections.push(user::captures()?);
    }
    let place = Place {
        machine: machine(),
        versions: versions(),
        date: process::output(process::command("date").args(["--utc", "+%Y-%m-%d"]))?
            .trim()
            .to_owned(),
        seconds: start.elapsed().as_secs(),
    };
    println!("\n{}\n", place.machine);
    print!(
        "{}",
        report::table(sections.iter().flat_map(|section| &section.rows))
    );
    for missing in sections.iter().flat_map(|section| &section.missing) {
        println!("not measured: {missing}");
    }
    write(&place, &sections, !args.quick && args.only.is_none())
}

/// A whole run makes the page of the documentation; any other one beside it.
fn write(place: &Place, sections: &[Section], whole: bool) -> Result<()> {
    let directory = if whole {
        workspace::root().join("docs")
    } else {
        workspace::target("bench")
    };
    let mut raw = serde_json::to_string_pretty(&document::json(place, sections))?;
    raw.push('\n');
    for (name, text) in [
        ("cost.md", document::markdown(place, sections)),
        ("cost.json", raw),
    ] {
        let path = directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        println!("==> {}", path.display());
    }
    Ok(())
}

/// Numbers mean little without the machine they come from. What it does against Spectre is part of it: with retpolines each call of a
/// program takes some 14 ns more, which is a third of an empty one.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let kernel = read("/proc/sys/kernel/osrelease");
    let spectre = read("/sys/devices/system/cpu/vulnerabilities/spectre_v2");
    let rustc = workspace::host_rustc()
        .map(|version| version.release)
        .unwrap_or_default();
    let model = model.map_or("unknown CPU", |(_, name)| name);
    format!(
        "Linux {}, {cores} cores of {model}, BPF statistics by the kernel, rustc {rustc}; spectre_v2: {}",
        kernel.trim(),
        spectre.trim()
    )
}

/// The packages of the tools that were compared.
fn versions() -> Vec<String> {
    let packages = [
        "libbpf-tools",
        "bpftrace",
        "tcpdump",
        "nginx",
        "tshark",
        "bpftool",
    ];
    let mut lines = Vec::new();
    if let Ok(commit) = process::output(process::command("git").args(["rev-parse", "--short", "HEAD"])) {
        lines.push(format!("tfo-cli at commit {}", commit.trim()));
    }
    let mut query = process::command("dpkg-query");
    query
        .args(["--show", "--showformat", "${Package} ${Version}, "])
        .args(packages);
    if let Ok(text) = process::output(&mut query) {
        lines.push(text.trim_end_matches([',', ' ']).to_owned());
    }
    lines.push(
        "`cargo xtask bench`; load: `tfo-lab load`, 100 bytes each way, ended by a RST of the client"
            .to_owned(),
    );
    lines
}
