//! What a policy leaves of throughput and of connections per second, in alternating rounds.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Rules, Stage};
use crate::bench::load::{Kind, Load};
use crate::bench::rate::{self, Rates};
use crate::commands::program_path;
use crate::process;

/// Bytes per second over one TCP connection.
pub fn throughput(stage: &Stage, rules: &[Rules], rounds: u32, seconds: f64) -> Result<Rates> {
    alternate(stage, rules, rounds, || bulk(seconds))
}

/// Connections per second.
pub fn connections(stage: &Stage, rules: &[Rules], kind: Kind, rounds: u32, seconds: f64) -> Result<Rates> {
    alternate(
        stage,
        rules,
        rounds,
        || Ok(Load::run(kind, seconds)?.per_second()),
    )
}

/// Sends through one connection and returns bytes per second.
pub fn bulk(seconds: f64) -> Result<f64> {
    let mut command = Command::new(program_path("tfo-lab"));
    command.args(["bulk", "--seconds", &seconds.to_string()]);
    let report: Value = serde_json::from_str(&process::output(&mut command)?).context("tfo-lab's report")?;
    report["per_second"]
        .as_f64()
        .context("tfo-lab bulk reports no `per_second`")
}

fn alternate(
    stage: &Stage,
    rules: &[Rules],
    rounds: u32,
    measure: impl Fn() -> Result<f64>,
) -> Result<Rates> {
    let names: Vec<_> = rules.iter().map(|rules| rules.name()).collect();
    rate::alternate(&names, rounds, |index| {
        let _in_force = stage.enforce(rules[index])?;
        measure()
    })
}
