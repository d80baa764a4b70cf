//! The observer names denied connections, whoever was attached first.

use std::{net::SocketAddr, process::Command};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    apps::Nginx,
    client::{Api, Connect, Family},
    command,
    lab::{self, Lab},
};

use crate::{
    enforce::{primed, service},
    policy::{self, add},
    support::{BINARY, NO_CONFIG, sandbox::Sandbox},
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
