//! What a policy's programs take per connection, beside empty ones at the same hooks.

use anyhow::{Result, ensure};

use super::{Rules, Stage};
use crate::bench::bpftool;
use crate::bench::load::Shape;
use crate::bench::stats::StatsOn;

/// How the names of the policy's programs begin.
const OURS: &str = "tfo_pol_";

/// Run time of `sock_ops` and egress together, us per connection, both its ends; and how often they ran.
pub fn run_time(stage: &Stage, rules: Rules, shape: &Shape) -> Result<(f64, f64)> {
    let _stats = StatsOn::enable()?;
    let in_force = stage.enforce(rules)?;
    let sum = || -> Result<(u64, u64)> {
        let all = bpftool::programs()?;
        let chosen = all.iter().filter(|(id, program)| match in_force.empty() {
            Some(empty) => empty.contains(id),
            None => program.name.starts_with(OURS),
        });
        Ok(chosen.fold((0, 0), |(ns, runs), (_, program)| {
            (ns + program.nanoseconds, runs + program.runs)
        }))
    };
    let before = sum()?;
    let load = shape.run()?;
    let after = sum()?;
    ensure!(after.1 > before.1, "no program of a policy ran during the load");
    let each = |after: u64, before: u64| after.saturating_sub(before) as f64 / load.connections as f64;
    Ok((each(after.0, before.0) / 1000.0, each(after.1, before.1)))
}
