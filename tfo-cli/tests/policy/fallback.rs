//! Kernels without the push (before Linux 6.1): SYNs of sockets that would stall pass, at the price they would have
//! without a rule; all others are denied as on newer kernels.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData};
use tfo_common::policy::{LEARNED, push};
use tfo_lab::{
    client::{Api, ClientOption, Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{SYN_TIMEOUT_US, is_fast, is_late, prefix, primed, service, time},
    matrix::run_all,
    policy::{self, add, counter, hits, ok},
};

/// Writes down what the programs would find out on such a kernel with the first connection.
fn refuse_pushes() -> Result<()> {
    let mut known: Array<MapData, [u32; 4]> = policy::pinned(LEARNED)?;
    let [_, marked, troubled, pad] = known.get(&0, 0).context(LEARNED)?;
    known
        .set(0, [push::REFUSED, marked, troubled, pad], 0)
        .context(LEARNED)
}

/// Each interface, blocking and not, with each of these set before connecting.
fn variants(connect: &Connect, options: &[ClientOption]) -> Vec<Connect> {
    let mut all = Vec::new();
    for option in options {
        for api in [Api::MsgFastopen, Api::FastopenConnect] {
            for blocking in [true, false] {
                all.push(Connect {
                    api,
                    blocking,
                    options: vec![*option],
                    ..connect.clone()
                });
            }
        }
    }
    all
}

pub fn without_the_push() -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let lab = Lab::up_unique()?;
        let (_server, connect) = primed(&lab, family, 0)?;
        let address = service(family, 0);
        add(Path::new("/"), &address.to_string(), &[])?;
        refuse_pushes()?;
        let at_risk = variants(&connect, &[ClientOption::QuickAckOff, ClientOption::DeferAccept]);
        let others = variants(
            &connect,
            &[ClientOption::Cork, ClientOption::More, ClientOption::NoDelay],
        );
        let (mut passed, mut denied) = (0, 0);
        for healthy in [true, false] {
            let path = (!healthy)
                .then(|| Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, address)))
                .transpose()?;
            for (variant, report) in at_risk.iter().zip(run_all(&lab, &at_risk)?) {
                let in_time = if healthy {
                    !is_late(&report)
                } else {
                    time(&report) >= SYN_TIMEOUT_US
                };
                ensure!(
                    report.reply_matched && in_time && is_fast(&report) == healthy,
                    "{variant:?}: {report:?}"
                );
            }
            for (variant, report) in others.iter().zip(run_all(&lab, &others)?) {
                ensure!(
                    report.reply_matched && !is_late(&report) && !is_fast(&report),
                    "{variant:?}: {report:?}"
                );
            }
            passed += at_risk.len() as u64;
            denied += others.len() as u64;
            if let Some(path) = path {
                // One SYN with data each; its repetition carries none.
                ensure!(path.hits()? == passed / 2, "{} SYNs, {passed}", path.hits()?);
            }
            ensure!(
                counter("passed_at_risk")? == passed && counter("denied")? == denied,
                "{passed} should have passed, {denied} not: {}",
                policy::list()?
            );
        }
        ensure!(
            counter("at_risk")? == 0 && hits(&prefix(address))? == passed + denied,
            "{}",
            policy::list()?
        );
        let text = ok(&["policy", "list"])?;
        ensure!(
            text.contains(&format!(
                "\n{passed} SYNs with data passed: this kernel cannot push their sockets"
            )),
            "{text}"
        );
        policy::clear()?;
    }
    Ok(())
}
