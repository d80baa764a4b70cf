//! The observer names denied connections, whoever was attached first.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family},
    lab::Lab,
};

use crate::{
    enforce::{primed, service},
    policy::{self, add},
    support::sandbox::Sandbox,
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
