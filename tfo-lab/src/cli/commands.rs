//! What each subcommand does, in a few lines on top of the library.

use std::{io::Write, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

use super::{LoadArgs, RunArgs};
use crate::{
    lab::Lab,
    load::{Limit, Load},
    scenario::Scenario,
};

/// The lab made by hand has the plain names.
const TAG: &str = "";

pub fn up() -> Result<()> {
    Lab::up(TAG)?.keep();
    say("tfo-client and tfo-server are up; `tfo-lab down` removes them")
}

pub fn down() -> Result<()> {
    say(if Lab::down(TAG) { "removed" } else { "there was no lab" })
}

pub fn list() -> Result<()> {
    for scenario in Scenario::ALL {
        say(&format!("{:20} {}", scenario.name(), scenario.help()))?;
    }
    Ok(())
}

pub fn run(args: &RunArgs) -> Result<()> {
    let scenarios = match args.scenario.as_str() {
        "all" => Scenario::ALL.to_vec(),
        name => vec![name.parse()?],
    };
    let mut lab = Lab::attach_or_up(TAG)?;
    for scenario in scenarios {
        say_json(&scenario.run(&mut lab, args.params())?)?;
    }
    Ok(())
}

pub fn load(args: &LoadArgs) -> Result<()> {
    let limit =
        args.connections.map_or(Limit::Duration(Duration::from_secs(args.seconds)), Limit::Connections);
    let mut load = Load::new(limit);
    load.fast_open = !args.plain;
    load.v6 = args.v6;
    load.in_flight = args.in_flight;
    load.threads = args.threads.unwrap_or(load.threads);
    let report = load.run()?;
    if args.json {
        return say_json(&report);
    }
    say(&format!(
        "{} connections in {:.2} s = {:.0}/s, {} with accepted SYN data, {} errors",
        report.connections, report.seconds, report.per_second, report.accepted, report.errors
    ))
}

fn say(line: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{line}").context("stdout: writing to it")
}

fn say_json(value: &impl Serialize) -> Result<()> {
    say(&serde_json::to_string(value).context("report: turning it into JSON")?)
}
