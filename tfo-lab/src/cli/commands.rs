//! The subcommands, each a few lines on top of the library.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{LoadArgs, RunArgs, signals::EndSignals};
use crate::{
    bulk, crowd,
    lab::Lab,
    load::{Limit, Load},
    scenario::Scenario,
    traffic::Traffic,
    vm,
};

pub fn up(tag: &str) -> Result<()> {
    Lab::up(tag)?.keep();
    print_line(&format!(
        "tfo-client{tag} and tfo-server{tag} are up; `tfo-lab down` removes them"
    ))
}

pub fn down(tag: &str) -> Result<()> {
    print_line(if Lab::down(tag) {
        "removed"
    } else {
        "there was no lab"
    })
}

pub fn list() -> Result<()> {
    for scenario in Scenario::ALL {
        print_line(&format!("{:20} {}", scenario.name(), scenario.help()))?;
    }
    Ok(())
}

pub fn run(tag: &str, args: &RunArgs) -> Result<()> {
    let scenarios = match args.scenario.as_str() {
        "all" => Scenario::ALL.to_vec(),
        name => vec![name.parse()?],
    };
    let mut lab = Lab::attach_or_up(tag)?;
    for scenario in scenarios {
        print_json(&scenario.run(&mut lab, args.params())?)?;
    }
    Ok(())
}

pub fn load(args: &LoadArgs) -> Result<()> {
    let limit = args
        .connections
        .map_or(Limit::Duration(args.seconds), Limit::Connections);
    let mut load = Load::new(limit);
    load.fast_open = !args.plain;
    load.v6 = args.v6;
    load.in_flight = args.in_flight;
    load.threads = args.threads.unwrap_or(load.threads);
    load.both_ends = args.both_ends;
    load.rate = args.rate;
    load.destinations = args.destinations;
    load.http = args.http;
    load.beside.clone_from(&args.beside);
    load.every = args.every;
    let report = load.run()?;
    if args.json {
        return print_json(&report);
    }
    print_line(&format!(
        "{} connections in {:.2} s = {:.0}/s, {} with accepted SYN data, {} errors",
        report.connections, report.seconds, report.per_second, report.accepted, report.errors
    ))
}

pub fn bulk(time: Duration, every: Option<Duration>) -> Result<()> {
    print_json(&bulk::run(time, every)?)
}

pub fn traffic(tag: &str, seconds: Option<u64>) -> Result<()> {
    let signals = EndSignals::catch()?;
    let lab = Lab::attach_or_up(tag)?;
    let traffic = Traffic::start(&lab)?;
    match (traffic.cgroup_directory(), traffic.without_cgroups()) {
        (Some(directory), _) => print_line(&format!(
            "traffic is on; services have cgroups in {}",
            directory.display()
        ))?,
        (None, why) => print_line(&format!(
            "traffic is on; no cgroups: {}",
            why.unwrap_or("unknown")
        ))?,
    }
    signals.wait(seconds.map(Duration::from_secs));
    let tallies = traffic.tallies();
    drop(traffic);
    drop(lab);
    tallies.iter().try_for_each(print_json)
}

pub fn vm_scenario(throwaway: bool) -> Result<()> {
    if throwaway {
        vm::prepare()?;
    }
    vm::run(&mut |connection| print_json(connection))
}

pub fn vm_crowd(count: u32) -> Result<()> {
    print_json(&crowd::run(count, count)?)
}

pub fn vm_denied(policy: &[String]) -> Result<()> {
    vm::denied::run(policy, &mut |connection| print_json(connection))
}

fn print_line(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout: writing to it")
}

fn print_json(value: &impl Serialize) -> Result<()> {
    print_line(&serde_json::to_string(value).context("report: turning it into JSON")?)
}
