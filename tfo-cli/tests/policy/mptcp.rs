//! Rules and guards on MPTCP sockets, as applications have them: denied, pushed, and used again.

use anyhow::{Context as _, Result, ensure};
use tfo_lab::{
    client::{Api, ClientOption, Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::{
    enforce::{at_once, is_fast, late, service},
    guards::{on, state},
    policy::{self, add, counter, hits},
    support::sandbox::Sandbox,
};

/// An MPTCP server, and MPTCP clients of both interfaces that have its cookie.
fn primed(lab: &Lab, family: Family) -> Result<(Server, [Connect; 2])> {
    let server = Server::start(
        lab.server(),
        &Listen {
            mptcp: true,
            ..Listen::on(service(family, 0), family)
        },
    )?;
    let connect = Connect {
        family,
        options: vec![ClientOption::Mptcp],
        ..Connect::new(server.address(), 300)
    };
    connect.run_in(lab.client())?;
    let deferred = Connect {
        api: Api::FastopenConnect,
        ..connect.clone()
    };
    Ok((server, [connect, deferred]))
}

fn has_mptcp(lab: &Lab) -> Result<bool> {
    let has = lab.server().sysctl("net/mptcp/enabled")?.as_deref() == Some("1");
    if !has {
        println!("  skipped: this kernel has no MPTCP");
    }
    Ok(has)
}

pub fn rules_and_guards() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        if !has_mptcp(&lab)? {
            return Ok(());
        }
        let sandbox = Sandbox::enter()?;
        let (_server, connects) = primed(&lab, family)?;
        for connect in &connects {
            ensure!(is_fast(&at_once(&lab, connect)?), "{family:?}: before the rule");
        }
        let target = service(family, 0).to_string();
        add(sandbox.path(), &target, &[])?;
        let denied = counter("denied")?;
        for connect in &connects {
            // At once, and not by SYN data: pushed like a TCP socket.
            let report = at_once(&lab, connect)?;
            ensure!(!is_fast(&report), "{family:?}: denied: {report:?}");
        }
        let prefix = if family == Family::V6 { 128 } else { 32 };
        ensure!(hits(&format!("{target}/{prefix}"))? == 2, "{family:?}: hits");
        ensure!(counter("denied")? == denied + 2, "{family:?}: denied");
        policy::clear()?;

        // A path that drops SYN data: three pay, the next does not; mended, Fast Open comes back.
        on(&sandbox, &["--failures", "3", "--of", "3", "--backoff", "1h"])?;
        let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(family, 0)))?;
        for _ in 0..3 {
            late(&lab, &connects[0])?;
        }
        let opened = state().with_context(|| format!("{family:?}"))?;
        ensure!(opened["state"] == "open" && opened["failures"] == 3, "{opened}");
        for connect in &connects {
            ensure!(
                !is_fast(&at_once(&lab, connect)?),
                "{family:?}: the guard is open"
            );
        }
        drop(path);
        policy::clear()?;
        ensure!(
            is_fast(&at_once(&lab, &connects[0])?),
            "{family:?}: without a guard"
        );
    }
    Ok(())
}
