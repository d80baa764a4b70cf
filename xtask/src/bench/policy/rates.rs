//! What a policy leaves of throughput and of connections per second, in alternating rounds.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::{Rules, Stage};
use crate::bench::load::{Kind, Load};
use crate::bench::rate::{median, ratios};
use crate::commands::program_path;
use crate::process;

/// Medians of one kind of measurement, per contestant in their order; the first is without a policy.
#[derive(Debug)]
pub struct Rates {
    /// Per second.
    pub per_second: Vec<f64>,
    /// Of what the first one did in the same round.
    pub ratios: Vec<f64>,
}

/// Bytes per second over one TCP connection.
pub fn throughput(stage: &Stage, rules: &[Rules], rounds: u32, seconds: u32) -> Result<Rates> {
    alternate(stage, rules, rounds, || bulk(seconds))
}

/// Connections per second.
pub fn connections(stage: &Stage, rules: &[Rules], kind: Kind, rounds: u32, seconds: u32) -> Result<Rates> {
    alternate(
        stage,
        rules,
        rounds,
        || Ok(Load::run(kind, seconds)?.per_second()),
    )
}

/// Sends through one connection and returns bytes per second.
pub fn bulk(seconds: u32) -> Result<f64> {
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
    let mut columns = vec![Vec::new(); rules.len()];
    for round in 0..rounds {
        // Every other round backwards, so that being first or last favours nobody.
        let mut order: Vec<_> = columns.iter_mut().zip(rules).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for (column, rules) in order {
            let _in_force = stage.enforce(*rules)?;
            column.push(measure()?);
        }
        let shown: Vec<_> = rules
            .iter()
            .zip(&columns)
            .map(|(rules, column)| format!("{} {:.0}/s", rules.name(), column[column.len() - 1]))
            .collect();
        println!("    round {}: {}", round + 1, shown.join(", "));
    }
    let base = columns.first().cloned().unwrap_or_default();
    Ok(Rates {
        ratios: columns
            .iter()
            .map(|column| median(&mut ratios(column, &base)))
            .collect(),
        per_second: columns.iter_mut().map(|column| median(column)).collect(),
    })
}
