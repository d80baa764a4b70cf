//! `top --once` on live traffic: the destinations with the right numbers, as JSON and as text.

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::lab::Lab;

use crate::support::{
    needs_kernel, no_problems,
    round::{Pair, round},
    sandbox::Sandbox,
    tool::Tool,
};

const ROUNDS: u64 = 4;
/// SYN data of the round's connections, twice per round: accepted once, refused once.
const PAYLOAD: u64 = 120;

/// What the table must show of one service: role, open or closed port, counts by outcome, SYN bytes, acked.
type Row = (&'static str, bool, &'static [(&'static str, u64)], u64, u64);

/// Per round.
const ROWS: [Row; 4] = [
    (
        "client",
        true,
        &[("cookie-granted", 1), ("accepted", 1), ("plain", 1)],
        PAYLOAD,
        PAYLOAD,
    ),
    (
        "client",
        false,
        &[("cookie-refused", 1), ("data-refused", 1)],
        PAYLOAD,
        0,
    ),
    (
        "server",
        true,
        &[("cookie-granted", 1), ("accepted", 1), ("plain", 1)],
        PAYLOAD,
        PAYLOAD,
    ),
    ("server", false, &[("not-enabled", 2)], PAYLOAD, 0),
];

#[test]
fn top_shows_the_destinations_with_their_numbers() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    // An interval without end: a signal ends it once the traffic is over.
    let start = |format| sandbox.tool("top", &["--once", "--interval", "1h", "--format", format]);
    let (json, text) = (start("json")?, start("text")?);
    for _ in 0..ROUNDS {
        round(&lab, &pair)?;
    }
    let stop = |top: Tool| {
        top.signal(Signal::SIGINT)?;
        let ended = top.ended()?;
        ensure!(ended.code == Some(0), "{ended:?}");
        Ok(ended.stdout)
    };
    let json: Value = serde_json::from_str(&stop(json)?.join("\n")).context("not JSON")?;
    let text = stop(text)?;

    let rows = json["destinations"].as_array().context("no destinations")?;
    let mut problems = Vec::new();
    if rows.len() != ROWS.len() {
        problems.push(format!("{} destinations: {rows:#?}", rows.len()));
    }
    for (role, open, outcomes, sent, acked) in ROWS {
        let port = if open {
            pair.address().port()
        } else {
            pair.closed_address().port()
        };
        // A server's remote addresses are cut to their network.
        let remote = if role == "client" {
            "10.77.0.2"
        } else {
            "10.77.0.0"
        };
        let found = |row: &&Value| row["role"] == role && row["port"] == port && row["remote_addr"] == remote;
        let Some(row) = rows.iter().find(found) else {
            problems.push(format!("no {role} row for {remote} port {port}: {rows:#?}"));
            continue;
        };
        let mut same = |what: &str, got: &Value, want: u64| {
            if got.as_u64() != Some(want) {
                problems.push(format!(
                    "{role} {remote} port {port}: {what} is {got}, expected {want}"
                ));
            }
        };
        for (outcome, count) in row["outcomes"].as_object().context("no outcomes")? {
            let want = outcomes.iter().find(|(name, _)| name == outcome);
            same(outcome, count, want.map_or(0, |(_, count)| count * ROUNDS));
        }
        let attempts: u64 = outcomes
            .iter()
            .filter(|(name, _)| *name != "plain")
            .map(|(_, count)| count)
            .sum();
        same("attempts", &row["attempts"], attempts * ROUNDS);
        same("syn_bytes", &row["syn_bytes"], sent * ROUNDS);
        same("syn_bytes_acked", &row["syn_bytes_acked"], acked * ROUNDS);
        same("lost_us", &row["lost_us"], 0);
        if (row["saved_us"].as_u64() > Some(0)) != open {
            problems.push(format!("saved_us: {row}"));
        }
        let shown = text
            .iter()
            .any(|line| line.contains(remote) && line.contains(&port.to_string()));
        if !shown {
            problems.push(format!("text has no line of {remote} port {port}: {text:#?}"));
        }
    }
    if rows
        .iter()
        .any(|row| row["cgroup"] != sandbox.name().unwrap_or_default())
    {
        problems.push(format!("a row of another cgroup: {rows:#?}"));
    }
    no_problems(&problems)
}
