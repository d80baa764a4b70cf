//! A path whose second link takes shorter packets than the first, behind a router that says so: SYNs full of data are sent
//! again without. It is found, the fix makes it go, and a first write that fits is not blamed.

use std::process;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    command,
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::{
    found::{findings, watch},
    needs_kernel,
    sandbox::Sandbox,
};

/// The diagnosis.
const ID: &str = "syn-data-over-pmtu";
/// The network of the server.
const NETWORK: &str = "10.83.1.0/24";
/// Longest packet of the second link.
const MTU: &str = "1300";

/// Client, router and server.
struct Path {
    names: [String; 3],
    hosts: Vec<Namespace>,
}

impl Path {
    fn up() -> Result<Self> {
        let names = ["c", "r", "s"].map(|role| format!("tfo-pmtu-{}-{role}", process::id()));
        let [client, router, server] = &names;
        let links = format!(
            "netns add {client}\nnetns add {router}\nnetns add {server}\n\
             link add right netns {client} type veth peer name left netns {router}\n\
             link add right netns {router} mtu {MTU} type veth peer name left netns {server} mtu {MTU}\n"
        );
        // From here on everything made is removed with it.
        let mut path = Self {
            names: names.clone(),
            hosts: Vec::new(),
        };
        command::run_with_input("ip", &["-batch", "-"], &links)?;
        for (name, lines) in names.iter().zip([
            format!(
                "addr add 10.83.0.1/24 dev right\nlink set right up\n\
                 route add {NETWORK} via 10.83.0.2\n"
            ),
            "addr add 10.83.0.2/24 dev left\nlink set left up\n\
             addr add 10.83.1.1/24 dev right\nlink set right up\n"
                .to_owned(),
            // Its own announcements do not tell: it may send long packets elsewhere.
            "addr add 10.83.1.2/24 dev left\nlink set left up\n\
             route add 10.83.0.0/24 via 10.83.1.1 advmss 1460\n"
                .to_owned(),
        ]) {
            let host = Namespace::open_named(name)?;
            host.set_sysctl("net/ipv4/ip_forward", "1")?;
            host.set_sysctl("net/ipv4/icmp_ratelimit", "0")?;
            host.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
            let batch = format!("link set lo up\n{lines}");
            host.run(|| command::run_with_input("ip", &["-batch", "-"], &batch).map(drop))?;
            path.hosts.push(host);
        }
        Ok(path)
    }

    fn client(&self) -> &Namespace {
        &self.hosts[0]
    }

    /// Connections whose client has forgotten what the router said, as it does after ten minutes
    /// (`net.ipv4.route.mtu_expires`).
    fn connect(&self, connect: &Connect, times: usize) -> Result<()> {
        for _ in 0..times {
            self.client().command("ip", &["route", "flush", "cache"])?;
            let report = connect.run_in(self.client())?;
            ensure!(report.reply_matched, "{report:?}");
        }
        Ok(())
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.hosts.clear();
        for name in &self.names {
            // One that was never made is fine.
            let _ = command::run("ip", &["netns", "delete", name]);
        }
    }
}

fn found(sandbox: &Sandbox, connect: impl FnOnce() -> Result<()>) -> Result<Vec<Value>> {
    let diagnose = watch(sandbox)?;
    connect()?;
    findings(&diagnose.stop()?)
}

#[test]
fn a_router_says_that_a_syn_is_too_long() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let path = Path::up()?;
    let server = Server::start(&path.hosts[2], &Listen::new("10.83.1.2:0".parse()?))?;
    let full = Connect::new(server.address(), 1_400);
    path.connect(&full, 1)?;
    let faults = found(&sandbox, || path.connect(&full, 3))?;
    let one = faults.iter().find(|one| one["id"] == ID);
    let one = one.with_context(|| format!("{faults:?}"))?;
    ensure!(one["counts"]["sent-again"] == 3, "{one}");
    // The command it prints shows the route.
    let command = one["fix"].as_str().context("no fix")?;
    let args: Vec<&str> = command.split_whitespace().skip(1).collect();
    let route = path.client().command("ip", &args)?;
    ensure!(route.contains("via 10.83.0.2"), "{route}");
    // Near miss, and one of the two fixes: a first write that fits.
    let fitting = Connect::new(server.address(), 1_000);
    let faults = found(&sandbox, || path.connect(&fitting, 3))?;
    ensure!(faults.is_empty(), "{faults:?}");
    // The other: the route says how long packets may be.
    let change = ["route", "change", NETWORK, "via", "10.83.0.2", "mtu", MTU];
    path.client().command("ip", &change)?;
    let faults = found(&sandbox, || path.connect(&full, 3))?;
    ensure!(faults.iter().all(|one| one["id"] != ID), "{ID}: {faults:?}");
    Ok(())
}
