//! The fix that `diagnose` prints, run as printed: the fault is gone afterwards, and `diagnose` does not find it any more.

use std::{
    net::SocketAddr,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family, Source},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::primed,
    policy,
    support::{BINARY, NO_CONFIG, sandbox::Sandbox},
};

/// The findings while these connections are made.
pub fn diagnosed(
    sandbox: &Sandbox,
    connect: impl FnOnce() -> Result<()>,
) -> Result<(Option<i32>, Vec<Value>)> {
    let tool = sandbox.tool("diagnose", &["--format", "json", "--duration", "10m"])?;
    connect()?;
    let ended = tool.stop()?;
    let lines: Vec<Value> = ended
        .stdout
        .iter()
        .map(|line| Ok(serde_json::from_str(line)?))
        .collect::<Result<_>>()?;
    let found = lines.into_iter().filter(|line| line["type"] == "diagnosis");
    Ok((ended.code, found.collect()))
}

/// Types the fix of a finding into a shell that finds the program under test.
pub fn typed(finding: &Value) -> Result<()> {
    let command = finding["fix"].as_str().context("no command")?;
    let command = command.replacen("tfo-cli", BINARY, 1);
    let output = Command::new("sh")
        .args(["-c", &command])
        .envs(NO_CONFIG)
        .output()
        .with_context(|| command.clone())?;
    ensure!(
        output.status.success(),
        "{command}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// The fault of a path with this effect is found, mended as printed, and not found any more.
fn mended(effect: Effect, id: &str, api: Api) -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let (server, connect) = primed(&lab, Family::V4, 0)?;
    let rule = Rule::new(effect, server.address().ip()).port(server.address().port());
    let path = Middlebox::on_path(&lab, &rule)?;
    let connect = Connect { api, ..connect };
    let run = |times| {
        for _ in 0..times {
            lab_connect(&lab, &connect, effect)?;
        }
        Ok(())
    };
    let (code, found) = diagnosed(&sandbox, || run(3))?;
    let one = found.iter().find(|one| one["id"] == id);
    let one = one.with_context(|| format!("{id} is missing: {found:?}"))?;
    ensure!(code == Some(4) && one["severity"] == "fail", "{code:?} {one}");
    typed(one)?;
    let hits = path.hits()?;
    let (code, found) = diagnosed(&sandbox, || run(3))?;
    ensure!(code == Some(0) && found.is_empty(), "{code:?} {found:?}");
    ensure!(path.hits()? == hits, "the path still has something to drop");
    policy::clear()
}

/// A path that eats the option eats it in requests: without a cookie each connection asks anew.
fn lab_connect(lab: &Lab, connect: &Connect, effect: Effect) -> Result<()> {
    if effect == Effect::DropTfoSyn {
        lab.client().flush_tcp_metrics()?;
    }
    let report = connect.run_in(lab.client())?;
    ensure!(report.reply_matched, "{report:?}");
    Ok(())
}

pub fn syn_data() -> Result<()> {
    mended(Effect::DropSynData, "path-drops-syn-data", Api::MsgFastopen)?;
    mended(Effect::DropSynData, "path-drops-syn-data", Api::FastopenConnect)
}

pub fn option() -> Result<()> {
    mended(Effect::DropTfoSyn, "path-drops-tfo-option", Api::MsgFastopen)
}

/// Longer than two moments lie apart.
const MOMENTS: Duration = Duration::from_millis(2_200);

pub fn reset() -> Result<()> {
    // The diagnosis.
    let id = "reset-on-syn-data";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let (server, connect) = primed(&lab, Family::V4, 0)?;
    let rule = Rule::new(Effect::ResetSynData, server.address().ip()).port(server.address().port());
    let _path = Middlebox::on_path(&lab, &rule)?;
    let (code, found) = diagnosed(&sandbox, || {
        let begin = Instant::now();
        while begin.elapsed() < MOMENTS {
            let report = connect.run_in(lab.client())?;
            ensure!(!report.established(), "{report:?}");
            // The port is open: a request for a cookie succeeds.
            lab.client().flush_tcp_metrics()?;
            ensure!(connect.run_in(lab.client())?.reply_matched, "the port is closed");
        }
        Ok(())
    })?;
    let one = found.iter().find(|one| one["id"] == id);
    let one = one.with_context(|| format!("{id} is missing: {found:?}"))?;
    ensure!(code == Some(4), "{code:?} {one}");
    typed(one)?;
    let (code, found) = diagnosed(&sandbox, || {
        (0..4).try_for_each(|_| {
            let report = connect.run_in(lab.client())?;
            ensure!(report.reply_matched, "{report:?}");
            Ok(())
        })
    })?;
    ensure!(code == Some(0) && found.is_empty(), "{code:?} {found:?}");
    policy::clear()
}

/// Makes so many connections at the same time.
fn at_once(lab: &Lab, connect: &Connect, times: usize) -> Result<()> {
    let run = || -> Result<()> {
        let report = connect.run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
        Ok(())
    };
    thread::scope(|scope| {
        let clients: Vec<_> = (0..times).map(|_| scope.spawn(run)).collect();
        clients
            .into_iter()
            .try_for_each(|client| client.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}

pub fn grudge() -> Result<()> {
    // The diagnosis.
    let id = "middlebox-blacklists-client";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let (server, connect) = primed(&lab, Family::V4, 0)?;
    let from = |index| Connect {
        source: Source::Bound(SocketAddr::new(lab::client_v4(index), 0)),
        ..connect.clone()
    };
    let plain = |connect: &Connect| Connect {
        api: Api::Plain,
        ..connect.clone()
    };
    let rule = Rule::new(Effect::Grudge, server.address().ip()).port(server.address().port());
    let path = Middlebox::on_path(&lab, &rule)?;
    let first = from(0);
    let (code, found) = diagnosed(&sandbox, || {
        at_once(&lab, &plain(&first), 5)?;
        // Its SYN is dropped, and the next: three seconds, in which counters are read.
        at_once(&lab, &first, 1)?;
        at_once(&lab, &plain(&first), 5)
    })?;
    let one = found.iter().find(|one| one["id"] == id);
    let one = one.with_context(|| format!("{id} is missing: {found:?}"))?;
    ensure!(code == Some(4), "{code:?} {one}");
    ensure!(one["counts"]["plain-lost-before"] == 0, "{one}");
    ensure!(one["counts"]["plain-lost-after"] == 5, "{one}");
    // The fix as it is printed, once the middlebox has forgotten.
    typed(one)?;
    drop(path);
    let path = Middlebox::on_path(&lab, &rule)?;
    let (code, found) = diagnosed(&sandbox, || {
        at_once(&lab, &first, 3)?;
        at_once(&lab, &plain(&first), 5)
    })?;
    ensure!(code == Some(0) && found.is_empty(), "{code:?} {found:?}");
    let seen = path.hits()?;
    ensure!(
        seen == 0,
        "the middlebox has seen Fast Open {seen} times after {one}"
    );
    policy::clear()?;
    drop(path);
    // Near miss: loss that was there before.
    let _path = Middlebox::on_path(&lab, &rule)?;
    at_once(&lab, &first, 1)?;
    let (_, found) = diagnosed(&sandbox, || {
        at_once(&lab, &plain(&first), 5)?;
        at_once(&lab, &first, 1)?;
        at_once(&lab, &plain(&first), 5)
    })?;
    ensure!(found.iter().all(|one| one["id"] != id), "{found:?}");
    Ok(())
}
