//! What was there before the tool, and what happens beside it, is not its fault and is not taken for one.

use std::thread;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    ground, needs_kernel, once,
    round::{Pair, round},
    sandbox::Sandbox,
    wait_until,
};

/// Counters that differ, out of `top --once --format json`.
fn differences(top: &Value) -> Result<Vec<&Value>> {
    let lines = top["cross_check"].as_array().context("no cross_check")?;
    Ok(lines.iter().filter(|line| line["difference"] != 0).collect())
}

/// The kernel's counters count since a namespace was made; a recording begins later.
#[test]
fn a_recording_of_trace_raises_no_alarm_about_what_was_before() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    round(&lab, &pair)?;
    let directory = ground::temporary_directory()?;
    let path = directory.join("trace.tfo");
    let path = path.to_string_lossy();
    // All of the host: a recording of one cgroup compares nothing.
    let trace = crate::support::tool::Tool::attached(&["trace", "--format", "json", "--record", &path])?;
    round(&lab, &pair)?;
    trace.stop()?.records()?;
    let shown = once::run(&["top", "--replay", &path, "--once", "--format", "json"])?.ended(0)?;
    let top: Value = serde_json::from_str(&shown.stdout)?;
    std::fs::remove_dir_all(&directory)?;
    let compared = top["cross_check"].as_array().map_or(0, Vec::len);
    ensure!(compared > 0, "nothing was compared: {top}");
    ensure!(differences(&top)?.is_empty(), "{:?}", differences(&top)?);
    drop(sandbox);
    Ok(())
}

/// The kernel counts for a network namespace as a whole, the tool for one cgroup of it.
#[test]
fn traffic_outside_of_a_cgroup_is_not_blamed() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let other = Sandbox::enter()?;
    let path = other.path().to_string_lossy().into_owned();
    let top = [
        "top",
        "--once",
        "--interval",
        "1h",
        "--format",
        "json",
        "--cgroup",
        &path,
    ];
    let watching = crate::support::tool::Tool::attached(&top)?;
    // Out of the cgroup that is watched.
    drop(other);
    round(&lab, &pair)?;
    let ended = watching.stop()?;
    let top: Value = serde_json::from_str(&ended.stdout.join("\n"))?;
    ensure!(differences(&top)?.is_empty(), "{:?}", differences(&top)?);
    ensure!(
        top["destinations"].as_array().is_some_and(Vec::is_empty),
        "{:?}",
        top["destinations"]
    );
    Ok(())
}

/// Its SYN left before anybody looked: told, and no failure of the trace.
#[test]
fn a_handshake_under_way_at_the_start_is_no_failure() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect::new(server.address(), 100);
    connect.run_in(lab.client())?;
    let rule = Rule::new(Effect::DropSyn, server.address().ip()).port(server.address().port());
    let path = Middlebox::on_path(&lab, &rule)?;
    let ended = thread::scope(|scope| -> Result<_> {
        let client = scope.spawn(|| connect.run_in(lab.client()));
        wait_until("the SYN is lost", || Ok(path.hits()? > 0))?;
        let trace = sandbox.trace(&[])?;
        drop(path);
        let report = client
            .join()
            .map_err(|_| anyhow::anyhow!("the client panicked"))??;
        ensure!(report.reply_matched, "{report:?}");
        trace.stop()
    })?;
    let (_, summary) = ended.records()?;
    ensure!(summary.lost("syn-unseen") == 1, "{summary:?}");
    ensure!(ended.code == Some(0), "{ended:?}");
    Ok(())
}
