//! The observer names denied connections, whoever was attached first.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::{
    apps::Nginx,
    client::{Api, Connect, Family},
    command,
    lab::{self, Lab},
};

use crate::{
    enforce::{primed, service},
    foreign::{calls, connect_once},
    policy::{self, add},
    support::{
        BINARY, NO_CONFIG,
        flow::Role,
        foreign::{self, Calls, Foreign},
        sandbox::Sandbox,
    },
};

pub fn denied() -> Result<()> {
    for policy_first in [true, false] {
        for family in [Family::V4, Family::V6, Family::Mapped] {
            let lab = Lab::up_unique()?;
            let sandbox = Sandbox::enter()?;
            let (_server, connect) = primed(&lab, family, 0)?;
            let (_other, watched) = primed(&lab, family, 1)?;
            let (_plain, free) = primed(&lab, family, 2)?;
            let rule = || -> Result<()> {
                add(sandbox.path(), &service(family, 0).to_string(), &[])?;
                add(
                    sandbox.path(),
                    &service(family, 1).to_string(),
                    &["--action", "observe"],
                )
            };
            if policy_first {
                rule()?;
            }
            let trace = sandbox.trace(&[])?;
            if !policy_first {
                rule()?;
            }
            let deferred = Connect {
                api: Api::FastopenConnect,
                blocking: false,
                ..connect.clone()
            };
            for connect in [&connect, &deferred, &watched, &free] {
                let report = connect.run_in(lab.client())?;
                ensure!(report.reply_matched, "{report:?}");
            }
            trace.wait_for_lines(8)?;
            let ended = trace.stop()?;
            let (_, summary) = ended.complete_records()?;
            let flows = ended
                .stdout
                .iter()
                .map(|line| serde_json::from_str(line))
                .collect::<Result<Vec<Value>, _>>()?;
            let of = |connect: &Connect| -> Vec<_> {
                flows
                    .iter()
                    .filter(|flow| flow["role"] == "client" && flow["remote_port"] == connect.target.port())
                    .map(|flow| {
                        let number = |name: &str| flow[name].as_u64().unwrap_or(u64::MAX);
                        let outcome = flow["outcome"].as_str().unwrap_or_default();
                        (
                            outcome,
                            flow["policy"].as_str(),
                            number("syn_data_len"),
                            number("syn_retrans"),
                        )
                    })
                    .collect()
            };
            let what = format!("{family:?}, policy first: {policy_first}");
            ensure!(
                of(&connect) == [("denied", Some("no-data"), 0, 0); 2],
                "{what}: {flows:?}"
            );
            ensure!(
                of(&watched) == [("accepted", Some("observe"), 300, 0)],
                "{what}: {flows:?}"
            );
            ensure!(of(&free) == [("accepted", None, 300, 0)], "{what}: {flows:?}");
            ensure!(summary.total("client", "denied") == 2, "{what}: {summary:?}");
            policy::clear().context(what)?;
        }
    }
    Ok(())
}

/// Where the option was taken out, the record says that none was sent, as the wire does.
pub fn stripped() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let trace = sandbox.trace(&[])?;
    connect.run_in(lab.client())?;
    policy::add_strip(sandbox.path(), "10.77.0.2", lab.client().label())?;
    connect.run_in(lab.client())?;
    let (flows, _) = trace.stop()?.complete_records()?;
    let clients = flows.iter().filter(|flow| flow.role == Role::Client);
    let told: Vec<_> = clients
        .map(|flow| {
            (
                flow.outcome.as_str(),
                flow.option_sent.as_str(),
                flow.syn_data_len,
            )
        })
        .collect();
    ensure!(
        told == [("accepted", "cookie", 300), ("denied", "none", 0)],
        "{flows:#?}"
    );
    policy::clear()
}

/// What a killed copy left on sockets goes with the next copy, also where a policy is in force: that is ours, and nobody
/// whose flags these could be. Where somebody else is there they stay, for they may be his.
pub fn flags_of_a_killed_copy() -> Result<()> {
    for others in [false, true] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        add(sandbox.path(), "192.0.2.0/24", &[])?;
        let path = sandbox.path().to_string_lossy().into_owned();
        policy::ok(&["guard", "on", "--cgroup", &path])?;
        let killed = sandbox.trace(&["--all"])?;
        // It listens under the one that is killed, whose flag it keeps and every child inherits.
        let (_server, connect) = primed(&lab, Family::V4, 0)?;
        killed.signal(Signal::SIGKILL)?;
        killed.ended()?;
        let headers = |calls: &Calls| calls.of(foreign::HDR_OPT_LEN);
        let before = witness(&sandbox, &lab, &connect)?;
        ensure!(
            headers(&before) > 0,
            "nothing is left to be taken back: {before:?}"
        );
        let somebody = others.then(|| Foreign::attach(sandbox.path())).transpose()?;
        sandbox.trace(&[])?.stop()?;
        drop(somebody);
        let after = witness(&sandbox, &lab, &connect)?;
        ensure!((headers(&after) > 0) == others, "others {others}: {after:?}");
        policy::clear()?;
    }
    Ok(())
}

/// Calls that a program without flags for headers gets for a connection.
fn witness(sandbox: &Sandbox, lab: &Lab, connect: &Connect) -> Result<Calls> {
    let foreign = Foreign::attach(sandbox.path())?;
    calls(&foreign, || connect_once(lab, connect, false))
}

/// `run` puts its command below the caller's cgroup, where the caller's rules hold, and names what they denied.
pub fn within_run() -> Result<()> {
    let missing = ["nginx", "curl"]
        .into_iter()
        .find(|name| !command::is_installed(name));
    if let Some(missing) = missing {
        println!("skipped: needs `{missing}`");
        return Ok(());
    }
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let nginx = Nginx::start(&lab, SocketAddr::new(lab::server_v4(0), 8080), Some(64))?;
    let url = format!("http://{}/", nginx.address());
    let run = || -> Result<Value> {
        let output = lab.client().run(|| {
            Command::new(BINARY)
                .args([
                    "run",
                    "--format",
                    "json",
                    "--",
                    "curl",
                    "--silent",
                    "--noproxy",
                    "*",
                ])
                .args(["--max-time", "20", "--tcp-fastopen", &url])
                .envs(NO_CONFIG)
                .output()
                .context("run curl")
        })?;
        ensure!(output.status.success() && output.stdout == b"ok", "{output:?}");
        let text = String::from_utf8(output.stderr)?;
        let last = text.lines().last().context("no report")?;
        serde_json::from_str(last).with_context(|| text.clone())
    };
    let count = |report: &Value, outcome: &str| report["totals"]["client"][outcome].as_u64();
    let first = run()?;
    ensure!(count(&first, "cookie-granted") == Some(1), "{first}");
    add(sandbox.path(), "10.77.0.2", &[])?;
    let denied = run()?;
    ensure!(
        count(&denied, "denied") == Some(1) && count(&denied, "accepted") == Some(0),
        "{denied}"
    );
    policy::clear()?;
    let free = run()?;
    ensure!(count(&free, "accepted") == Some(1), "{free}");
    Ok(())
}
