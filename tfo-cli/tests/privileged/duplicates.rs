//! A SYN with data that the network brings twice: the server takes it twice, which `diagnose` tells from the headers alone;
//! equal bytes on new connections, and a duplicate that meets a living connection, are none.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family},
    lab::{self, Lab},
    responder::{Duplicator, Kept},
    server::{Listen, Server},
};

use crate::support::{
    found::{stopped, watch},
    needs_kernel,
    sandbox::Sandbox,
    wait_until,
};

/// The diagnosis.
const ID: &str = "duplicate-syn-data";

/// The one SYN that has arrived.
fn only(network: &Duplicator<'_>) -> Result<Kept> {
    let mut kept = Vec::new();
    wait_until("the SYN", || {
        kept.extend(network.kept()?);
        Ok(!kept.is_empty())
    })?;
    ensure!(kept.len() == 1, "{} SYNs", kept.len());
    kept.pop().context("it was there")
}

/// Waits until the server's namespace has no connection any more.
fn await_ends(lab: &Lab) -> Result<()> {
    wait_until("the connections are gone", || {
        let list = lab.server().command("ss", &["-Htn", "state", "all"])?;
        Ok(list.lines().all(|line| line.starts_with("LISTEN")))
    })
}

fn found(diagnose: crate::support::tool::Tool) -> Result<Vec<Value>> {
    stopped(diagnose, ID)
}

#[test]
fn a_syn_that_the_network_brings_twice() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    for (family, address) in [(Family::V4, lab::server_v4(0)), (Family::V6, lab::server_v6(0))] {
        let server = Server::start(lab.server(), &Listen::new((address, 0).into()))?;
        let network = Duplicator::start(&lab, server.address())?;
        // Both ends forget the connection at once.
        let client = Connect {
            family,
            reset_on_close: true,
            ..Connect::new(server.address(), 100)
        };
        client.run_in(lab.client())?;
        await_ends(&lab)?;
        network.kept()?;

        // Near misses: the same data on new connections, and a duplicate that comes while the connection lives.
        let diagnose = watch(&sandbox)?;
        client.run_in(lab.client())?;
        let mut open = lab.in_client(|| client.open())?;
        let syns = network.kept()?;
        let living = syns.last().context("no SYN has arrived")?;
        network.send_again(living)?;
        lab.in_client(|| open.exchange())?;
        open.close()?;
        await_ends(&lab)?;
        let faults = found(diagnose)?;
        ensure!(faults.is_empty(), "{family:?}: {faults:?}");
        network.kept()?;

        // The fault.
        let diagnose = watch(&sandbox)?;
        client.run_in(lab.client())?;
        let syn = only(&network)?;
        for again in 1..=2 {
            await_ends(&lab)?;
            let before = server.accepted();
            network.send_again(&syn)?;
            wait_until("it is accepted again", || Ok(server.accepted() > before))
                .with_context(|| format!("{family:?}, time {again}"))?;
        }
        await_ends(&lab)?;
        let faults = found(diagnose)?;
        let [one] = &faults[..] else {
            anyhow::bail!("{family:?}: {faults:?}")
        };
        ensure!(one["port"] == server.address().port(), "{one}");
        ensure!(one["counts"]["times"] == 3, "{one}");
        let sentence = one["sentence"].as_str().context("no sentence")?;
        ensure!(sentence.contains(&syn.client().to_string()), "{one}");
        network.kept()?;

        // The fix: what must not be done twice goes without Fast Open. Then a duplicate brings no data.
        let plain = Connect {
            api: Api::Plain,
            ..client.clone()
        };
        let diagnose = watch(&sandbox)?;
        plain.run_in(lab.client())?;
        let syn = only(&network)?;
        await_ends(&lab)?;
        let before = server.accepted();
        network.send_again(&syn)?;
        await_ends(&lab)?;
        let faults = found(diagnose)?;
        ensure!(faults.is_empty(), "{family:?}: {faults:?}");
        ensure!(server.accepted() == before, "a plain SYN is no connection");
    }
    Ok(())
}
