//! What `doctor` says without a policy, about one of this version, and about one of another version. It changes none of
//! them.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData};
use serde_json::Value;
use tfo_common::policy::{SWITCHES, Switch};

use crate::{
    policy::{PINS, ok, pinned, run},
    support::sandbox::Sandbox,
};

/// The check on the policy, and the exit code.
fn policy_check() -> Result<(Value, Option<i32>)> {
    let output = run(&["doctor", "--watch", "0", "--format", "json"])?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    for line in text.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        if value["id"] == "policy" {
            return Ok((value, output.status.code()));
        }
    }
    anyhow::bail!("no check on the policy: {text}")
}

pub fn tells_versions_apart() -> Result<()> {
    let (none, _) = policy_check()?;
    ensure!(
        none["status"] == "pass" && none["what"] == "no policy is pinned",
        "{none}"
    );

    let sandbox = Sandbox::enter()?;
    ok(&[
        "policy",
        "add",
        "--cgroup",
        &sandbox.name()?,
        "--dst",
        "203.0.113.0/24",
    ])?;
    let (current, _) = policy_check()?;
    let what = current["what"].as_str().unwrap_or_default();
    ensure!(
        current["status"] == "pass" && what.contains("of this version: 1 rules, 0 guards"),
        "{current}"
    );

    let pin = Path::new(PINS).join(SWITCHES);
    let mut switches: Array<MapData, u32> = pinned(SWITCHES)?;
    switches.set(Switch::Abi as u32, u32::MAX, 0)?;
    let (other, code) = policy_check()?;
    ensure!(other["status"] == "fail" && code == Some(4), "{other} {code:?}");
    ensure!(pin.exists(), "doctor has removed something");

    // The first of the two commands; the second needs the user's file.
    let fix = other["fix"].as_str().context("no fix")?;
    let flush: Vec<&str> = fix
        .split(',')
        .next()
        .unwrap_or_default()
        .split(' ')
        .skip(1)
        .collect();
    ok(&flush)?;
    let (gone, _) = policy_check()?;
    ensure!(gone["status"] == "pass" && !Path::new(PINS).exists(), "{gone}");
    Ok(())
}
