//! Faults of this host as a client: each is found with what makes it, and gone once that is mended.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    found::{stopped, watch},
    needs_kernel,
    sandbox::Sandbox,
};

/// The diagnoses.
const DISABLED: &str = "client-disabled";
const LOCAL_DROP: &str = "local-drop";

#[test]
fn a_namespace_with_the_client_side_off() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let inode = lab.client().inode()?;
    let here = |found: &[Value]| found.iter().filter(|one| one["netns"] == inode).count();
    for (value, wanted) in [("0", 1), ("2", 1), ("1", 0), ("3", 0)] {
        lab.client().set_sysctl("net/ipv4/tcp_fastopen", value)?;
        let found = stopped(watch(&sandbox)?, DISABLED)?;
        ensure!(here(&found) == wanted, "{value}: {found:?}");
    }
    Ok(())
}

#[test]
fn a_firewall_rule_that_drops_syn_data_is_named() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect::new(server.address(), 100);
    connect.run_in(lab.client())?;
    let rule = Rule::new(Effect::DropSynData, server.address().ip()).port(server.address().port());
    let firewall = Middlebox::on_client(&lab, &rule)?;
    let diagnose = watch(&sandbox)?;
    connect.run_in(lab.client())?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    let [one] = &found[..] else {
        anyhow::bail!("{found:?}")
    };
    let lines = one["evidence"].as_array().context("no evidence")?;
    let names_it = |line: &Value| {
        line.as_str()
            .is_some_and(|line| line.contains("nft inet tfo_lab"))
    };
    ensure!(lines.iter().any(names_it), "{one}");
    // What mends it: without the rule data leaves.
    drop(firewall);
    let diagnose = watch(&sandbox)?;
    connect.run_in(lab.client())?;
    let found = stopped(diagnose, LOCAL_DROP)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}
