//! Connects that wait for a first write that never comes: nothing is sent, and `diagnose` names them all the same.

use std::{thread, time::Duration};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Family, Unsent},
    lab::{self, Lab},
    server::{Listen, Server},
};

use crate::support::{
    found::{stopped, watch},
    needs_kernel,
    sandbox::Sandbox,
};

/// The diagnosis.
const ID: &str = "deferred-never-sent";
/// Longer than it takes until one is told of.
const LONG: Duration = Duration::from_millis(1_500);

/// A server of each family whose cookie is known.
fn servers(lab: &Lab) -> Result<Vec<(Family, Server)>> {
    [
        (Family::V4, lab::server_v4(0)),
        (Family::V6, lab::server_v6(0)),
        (Family::Mapped, lab::server_v4(1)),
    ]
    .into_iter()
    .map(|(family, address)| {
        let server = Server::start(lab.server(), &Listen::new((address, 0).into()))?;
        let connect = Connect {
            family,
            ..Connect::new(server.address(), 10)
        };
        connect.run_in(lab.client())?;
        Ok((family, server))
    })
    .collect()
}

#[test]
fn a_connect_without_a_write_is_found_with_its_process() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let servers = servers(&lab)?;
    let open = || -> Result<Vec<Unsent>> {
        let all = servers.iter();
        all.map(|(family, server)| Unsent::open(lab.client(), *family, server.address()))
            .collect()
    };
    let (waiting, written, closed) = (open()?, open()?, open()?);
    // The first walk over the sockets is done when it says that it is attached, the last one at its end.
    let diagnose = watch(&sandbox)?;
    thread::sleep(LONG);
    // Near misses: one that is written to, and one that is closed.
    for one in &written {
        one.write()?;
    }
    drop(closed);
    let found = stopped(diagnose, ID)?;
    for (family, server) in &servers {
        let to = |one: &&Value| one["remote_addr"] == server.address().ip().to_string();
        let [one] = found.iter().filter(to).collect::<Vec<_>>()[..] else {
            anyhow::bail!("{family:?}: {found:?}")
        };
        ensure!(one["port"] == server.address().port(), "{one}");
        ensure!(one["counts"]["deferred"] == 1, "{one}");
        let oldest_us = one["counts"]["oldest-us"].as_u64().context("no age")?;
        ensure!(oldest_us >= 1_000_000, "{one}");
        let line = one["evidence"][0].as_str().context("no evidence")?;
        ensure!(line.contains(&format!("/{}", std::process::id())), "{line}");
    }
    ensure!(found.len() == servers.len(), "{found:?}");
    // What mends it: a write, or a connect() that sends its SYN.
    for one in &waiting {
        one.write()?;
    }
    let plain = Connect {
        api: Api::Plain,
        ..Connect::new(servers[0].1.address(), 10)
    };
    let _held = lab.client().run(|| plain.open())?;
    let diagnose = watch(&sandbox)?;
    thread::sleep(LONG);
    let found = stopped(diagnose, ID)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}
