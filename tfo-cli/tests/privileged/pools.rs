//! Servers behind one address on this host: a balancer that hands connections on to other addresses is found where cookies
//! do not hold because of it, its fix makes it go, and its near misses are not found.

use std::net::SocketAddr;

use anyhow::{Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    command,
    lab::{self, Lab},
    server::{Listen, Server},
};

use crate::support::{
    found::{findings, ids, watch},
    needs_kernel,
    sandbox::Sandbox,
};

/// The diagnosis.
const ID: &str = "load-balancer-dsr-or-nat";
/// The port of the pool, on address number 0.
const PORT: u16 = 7;

/// A balancer in the server's namespace: connections with Fast Open go to both in turns, others to the second.
fn balance(lab: &Lab, servers: [&Server; 2]) -> Result<()> {
    let to = servers.map(|server| format!("dnat to {}", server.address()));
    let pool = format!("ip daddr {} tcp dport {PORT}", lab::server_v4(0));
    let rules = format!(
        "table ip pool\ndelete table ip pool\ntable ip pool {{\nchain c {{\ntype nat hook prerouting priority dstnat;\n\
         {pool} tcp option 34 exists numgen inc mod 2 == 0 {}\n{pool} {}\n}}\n}}\n",
        to[0], to[1]
    );
    let load = || command::run_with_input("nft", &["-f", "-"], &rules).map(drop);
    lab.server().run(load)
}

/// What is found while a client connects to the pool.
fn found(sandbox: &Sandbox, lab: &Lab) -> Result<Vec<Value>> {
    lab.client().flush_tcp_metrics()?;
    let diagnose = watch(sandbox)?;
    let pool = SocketAddr::new(lab::server_v4(0), PORT);
    for _ in 0..10 {
        let report = Connect::new(pool, 200).run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
    }
    findings(&diagnose.stop()?)
}

#[test]
fn a_balancer_that_changes_the_address() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    // One key for all: what differs is the address the cookies are made for.
    let serve = |index| Server::start(lab.server(), &Listen::new((lab::server_v4(index), 0).into()));
    let (first, second) = (serve(1)?, serve(2)?);
    balance(&lab, [&first, &second])?;
    let faults = found(&sandbox, &lab)?;
    ensure!(ids(&faults).contains(&ID), "{faults:?}");
    // Near miss: another address, but always the same.
    balance(&lab, [&first, &first])?;
    let faults = found(&sandbox, &lab)?;
    ensure!(faults.is_empty(), "{faults:?}");
    // The fix it names: the balancer keeps the address, and the servers share their key.
    let (first, second) = (serve(0)?, serve(0)?);
    balance(&lab, [&first, &second])?;
    let faults = found(&sandbox, &lab)?;
    ensure!(faults.is_empty(), "{faults:?}");
    ensure!(
        first.accepted() > 0 && second.accepted() > 0,
        "both servers have clients"
    );
    Ok(())
}
