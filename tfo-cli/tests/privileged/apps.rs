//! A third-party server and client: nginx with `fastopen=` and curl with `--tcp-fastopen`, recorded at both ends.

use std::{collections::HashMap, net::SocketAddr};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    apps::{Nginx, curl},
    lab::{self, Lab},
};

use crate::support::{
    flow::{Flow, Key, Role, by_connection},
    needs_kernel, needs_programs, no_problems,
    tool::Tool,
};

/// The request curl sends is not ours to choose; it fits into a SYN and is never this short.
const SHORTEST_REQUEST: usize = 40;

#[test]
fn nginx_and_curl_are_seen_from_both_ends() -> Result<()> {
    needs_kernel!();
    needs_programs!("nginx", "curl");
    let lab = Lab::up_unique()?;
    // One that was there before the tool, one that comes later.
    let v4 = Nginx::start(&lab, SocketAddr::new(lab::server_v4(0), 8080), Some(64))?;
    // On the whole host, as a user starts it.
    let trace = Tool::attached(&["trace", "--all", "--format", "json", "--ttfb-wait", "20s"])?;
    let v6 = Nginx::start(&lab, SocketAddr::new(lab::server_v6(0), 8081), Some(64))?;
    let mut made = Vec::new();
    for nginx in [&v4, &v6] {
        for (fast_open, outcome) in [(true, "cookie-granted"), (true, "accepted"), (false, "plain")] {
            let report = curl(&lab, nginx.address(), fast_open)?;
            ensure!((report.status, report.body.as_str()) == (200, "ok"), "{report:?}");
            made.push((report.local, nginx.address(), outcome));
        }
    }
    let (flows, _) = trace.stop()?.records()?;
    let (client, server) = (lab.client().inode()?, lab.server().inode()?);
    let here = |flow: &&Flow| [Some(client), Some(server)].contains(&flow.netns);
    let count = flows.iter().filter(here).count();
    ensure!(count == 2 * made.len(), "{count} records");
    let found = by_connection(&flows);
    let mut problems = Vec::new();
    for (local, remote, outcome) in made {
        let client = one(&found, &(Some(client), Role::Client, local, remote))?;
        let server = one(&found, &(Some(server), Role::Server, remote, local))?;
        for flow in [client, server] {
            let accepted = outcome == "accepted";
            let whole = flow.syn_data_len >= SHORTEST_REQUEST && flow.syn_data_acked == flow.syn_data_len;
            let right = flow.outcome == outcome
                && flow.family == if local.is_ipv4() { 4 } else { 6 }
                && if accepted { whole } else { flow.syn_data_len == 0 }
                && flow.lost_us == 0
                && flow.ttfb_us.is_some();
            if !right {
                problems.push(format!("expected {outcome}: {flow:?}"));
            }
        }
        let asked = outcome != "plain";
        if client.comm.as_deref() != Some("curl") || client.pid.is_none() || client.tfo_requested != asked {
            problems.push(format!("not what curl did: {client:?}"));
        }
    }
    no_problems(&problems)
}

fn one<'a>(found: &HashMap<Key, Vec<&'a Flow>>, key: &Key) -> Result<&'a Flow> {
    match found.get(key).map(Vec::as_slice) {
        Some([flow]) => Ok(*flow),
        other => Err(anyhow::anyhow!("{key:?}: {other:?}")).context("expected one record"),
    }
}
