//! Ten thousand rules, a full table, and the cost per packet. Sizes are asserted; times are only printed.

use std::{path::Path, time::Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{client::Family, lab::Lab};

use crate::{
    enforce::{is_fast, primed},
    files::temporary,
    policy::{self, add, fails, hits, ok},
    support::sandbox::Sandbox,
};

/// A policy file with so many rules, and one that matters.
fn write_rules(count: u32, name: &str) -> Result<String> {
    let mut text = format!("[[rule]]\ncgroup = \"{name}\"\ndst = \"10.77.0.2\"\n");
    for index in 1..count {
        let net = index + (172 << 16);
        let [_, a, b, c] = net.to_be_bytes();
        let rule = format!("[[rule]]\ncgroup = \"{name}\"\ndst = \"{a}.{b}.{c}.0/24\"\n");
        text.push_str(&rule);
    }
    temporary("rules.toml", &text)
}

pub fn ten_thousand_rules() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let (_other, other) = primed(&lab, Family::V4, 1)?;
    let name = sandbox.name()?;
    let path = write_rules(10_000, &name)?;
    let begun = Instant::now();
    ok(&["policy", "apply", &path])?;
    let applied = begun.elapsed();
    let begun = Instant::now();
    let rules = policy::list()?["rules"].as_array().map_or(0, Vec::len);
    println!(
        "  {rules} rules: applied in {applied:?}, listed in {:?}",
        begun.elapsed()
    );
    ensure!(rules == 10_000, "{rules} rules");
    ensure!(
        !is_fast(&connect.run_in(lab.client())?) && is_fast(&other.run_in(lab.client())?),
        "rules apply"
    );
    ensure!(hits("10.77.0.2/32")? == 1, "hits");
    let begun = Instant::now();
    ok(&["policy", "apply", &path])?;
    println!("  applied again, nothing to do, in {:?}", begun.elapsed());

    // One too many: nothing is changed.
    let path = write_rules(16_385, &name)?;
    let stderr = fails(&["policy", "apply", &path], 1)?;
    ensure!(
        stderr.contains("table is full") && stderr.contains("16384"),
        "{stderr}"
    );
    ensure!(
        policy::list()?["rules"].as_array().map(Vec::len) == Some(10_000),
        "changed all the same"
    );
    let begun = Instant::now();
    policy::clear()?;
    println!("  flushed in {:?}", begun.elapsed());
    Ok(())
}

/// Run time of one program per run, by the kernel's own clock. Of two with the name the older one is being freed.
fn run_time(name: &str) -> Result<(u64, u64)> {
    let named = aya::programs::loaded_programs()
        .flatten()
        .filter(|program| program.name() == name.as_bytes());
    let newest = named.last().with_context(|| format!("{name} is not loaded"))?;
    Ok((nanos(newest.run_time()), newest.run_count()))
}

fn nanos(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// ns per packet of the egress program under bulk TCP: all but a handful of packets are not SYNs.
pub fn cost_per_packet() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let bulk = tfo_lab::client::Connect {
        payload: 4 << 20,
        reply: 0,
        ..connect.clone()
    };
    for rules in [1, 10_000] {
        if rules == 1 {
            add(sandbox.path(), "10.77.0.9", &[])?;
        } else {
            ok(&["policy", "apply", &write_rules(rules, &sandbox.name()?)?])?;
        }
        let _stats = aya::sys::enable_stats(aya::sys::Stats::RunTime).context("BPF statistics")?;
        let before = run_time("tfo_pol_egress")?;
        for _ in 0..20 {
            bulk.run_in(lab.client())?;
        }
        let after = run_time("tfo_pol_egress")?;
        let (ns, runs) = (after.0 - before.0, after.1 - before.1);
        ensure!(runs > 1_000, "only {runs} packets");
        println!("  {rules} rules: {} ns per packet over {runs} packets", ns / runs);
        policy::clear()?;
    }
    ensure!(!Path::new(policy::PINS).exists(), "left behind");
    Ok(())
}

/// The verifier gives up at a million processed instructions, and the same program costs several times more on one
/// kernel than on another: `tfo_pol_egress` was refused on 7.2 with 335,294 on 6.18.
pub fn verified_with_room_to_spare() -> Result<()> {
    // The other object's programs have a test of their own: the exit code is for both.
    let output = policy::run(&["debug", "programs", "--json"])?;
    let text = String::from_utf8(output.stdout)?;
    let costs: Vec<Value> = text.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let ours: Vec<&Value> = costs
        .iter()
        .filter(|cost| cost["object"] == "tfo-policy")
        .collect();
    ensure!(ours.len() >= 3, "{text}");
    for cost in ours {
        println!("  {}: {} instructions", cost["program"], cost["verified_insns"]);
        let fine = cost["verified_insns"].as_u64() <= cost["bound"].as_u64();
        ensure!(
            fine && cost["refused"].is_null() && cost["verified_insns"].is_u64(),
            "{cost}"
        );
    }
    Ok(())
}
