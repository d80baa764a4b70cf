//! The fix that `diagnose` prints, run as printed: the fault is gone afterwards, and `diagnose` does not find it any more.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::primed,
    policy,
    support::{BINARY, NO_CONFIG, sandbox::Sandbox},
};

/// The findings while these connections are made.
fn diagnosed(sandbox: &Sandbox, connect: impl FnOnce() -> Result<()>) -> Result<(Option<i32>, Vec<Value>)> {
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

/// Types a command into a shell that finds the program under test.
fn typed(command: &str) -> Result<()> {
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
    let _path = Middlebox::on_path(&lab, &rule)?;
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
    typed(one["fix"].as_str().context("no command")?)?;
    let (code, found) = diagnosed(&sandbox, || run(3))?;
    ensure!(code == Some(0) && found.is_empty(), "{code:?} {found:?}");
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
