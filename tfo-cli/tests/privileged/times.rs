//! Times that others would stretch: a server that waits for data (`TCP_DEFER_ACCEPT`), a client that acknowledges late
//! (`TCP_QUICKACK` off).

use std::{collections::HashMap, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::{
    client::{Api, ClientOption, Connect, Report},
    lab::{self, Lab},
    server::{Keys, Listen, Server},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel, no_problems,
    sandbox::Sandbox,
};

/// What a client thinks about before it writes: not a time of the network.
const THINKS: Duration = Duration::from_millis(300);
/// Longer than a delayed ACK (`TCP_ATO_MIN`, `TCP_DELACK_MIN`: 40 ms).
const SILENT: Duration = Duration::from_millis(200);
/// Three ticks of the slowest clock there is (`CONFIG_HZ=100`), and less than a delayed ACK.
const TICKS_US: u64 = 30_000;

/// Connects, thinks, and only then sends its request.
fn think(lab: &Lab, connect: &Connect) -> Result<Report> {
    lab.in_client(|| {
        let mut connection = connect.open()?;
        thread::sleep(THINKS);
        connection.exchange()?;
        connection.close()
    })
}

/// Records of one end, by the client's port.
fn by_port(flows: &[Flow], role: Role) -> HashMap<u16, &Flow> {
    let of_role = flows.iter().filter(|flow| flow.role == role);
    of_role
        .map(|flow| {
            let port = if role == Role::Client {
                flow.local_port
            } else {
                flow.remote_port
            };
            (port, flow)
        })
        .collect()
}

#[test]
fn a_server_that_waits_for_data_is_not_charged_with_the_clients_thoughts() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--all"])?;
    let top = sandbox.tool("top", &["--once", "--interval", "1h", "--format", "json"])?;
    let mut thought = Vec::new();
    for address in [lab::server_v4(0), lab::server_v6(0)] {
        // The second would need no wait: its client's data are in the SYN.
        let server = Server::start(
            lab.server(),
            &Listen {
                defer_accept: Some(30),
                ..Listen::new((address, 0).into())
            },
        )?;
        let with = |api| Connect {
            api,
            blocking: false,
            ..Connect::new(server.address(), 100)
        };
        // Without data in the SYN: plain, and one that asks for a cookie first. Neither end has sent anything again.
        for (api, outcome) in [(Api::Plain, "plain"), (Api::MsgFastopen, "cookie-granted")] {
            let report = think(&lab, &with(api))?;
            ensure!(report.reply_matched, "{report:?}");
            thought.push((report.local.context("no address")?.port(), outcome));
        }
        // Data in the SYN: the child is made at once, and its handshake has a length.
        let report = with(Api::MsgFastopen).run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
    }
    top.signal(Signal::SIGINT)?;
    let top: Value = serde_json::from_str(&top.ended()?.stdout.join("\n")).context("top: not JSON")?;
    let (flows, _) = trace.stop()?.complete_records()?;
    let (clients, servers) = (by_port(&flows, Role::Client), by_port(&flows, Role::Server));
    let think_us = u64::try_from(THINKS.as_micros())?;
    let mut problems = Vec::new();
    for (port, outcome) in &thought {
        let (client, server) = (
            clients.get(port).context("no client")?,
            servers.get(port).context("no server")?,
        );
        if server.outcome != *outcome || client.outcome != *outcome {
            problems.push(format!("not {outcome}: {client:?} {server:?}"));
        }
        // The last ACK was dropped (`tcp_check_req`), so nobody knows the length: no number is better than a wrong one.
        if server.syn_retrans == 0 && server.handshake_us.is_some_and(|us| us >= think_us) {
            problems.push(format!("the client's thoughts: {server:?}"));
        }
        if client.handshake_us.is_none() {
            problems.push(format!("the client knows: {client:?}"));
        }
    }
    let accepted = flows
        .iter()
        .filter(|flow| flow.role == Role::Server && flow.outcome == "accepted");
    let accepted: Vec<&Flow> = accepted.collect();
    if accepted.len() != 2 || accepted.iter().any(|flow| flow.handshake_us.is_none()) {
        problems.push(format!("children made from their SYN: {accepted:?}"));
    }
    // Nor do the round trips of the table contain it: what is there is of the child alone.
    let longest = accepted.iter().filter_map(|flow| flow.handshake_us).max();
    for row in top["destinations"].as_array().context("no destinations")? {
        let is_wrong = |us: u64| longest.is_none_or(|longest| us > longest.saturating_mul(2));
        if row["role"] == "server" && row["rtt_us"].as_u64().is_some_and(is_wrong) {
            problems.push(format!("round trip: {row}"));
        }
    }
    no_problems(&problems)
}

/// What a server did not take out of the SYN comes again with the last ACK, and at once: the round trip is known, unless the
/// server is one that waits for data.
#[test]
fn data_that_were_refused_do_not_hide_the_round_trip() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&[])?;
    let mut refused = Vec::new();
    for address in [lab::server_v4(0), lab::server_v6(0)] {
        for (keys, defer_accept) in [(*b"the first key 16", None), (*b"another key 16 b", Some(30))] {
            // The client has a cookie that was made with another key.
            let listen = |key| Listen {
                keys: Keys::One(key),
                defer_accept,
                ..Listen::new((address, 0).into())
            };
            lab.client().flush_tcp_metrics()?;
            let first = Server::start(lab.server(), &listen(*b"a third key of 1"))?;
            let connect = |server: &Server| Connect::new(server.address(), 100).run_in(lab.client());
            connect(&first)?;
            let server = Server::start(lab.server(), &listen(keys))?;
            let report = connect(&server)?;
            ensure!(report.reply_matched, "{report:?}");
            refused.push((report.local.context("no address")?.port(), defer_accept.is_some()));
        }
    }
    let (flows, _) = trace.stop()?.complete_records()?;
    let (clients, servers) = (by_port(&flows, Role::Client), by_port(&flows, Role::Server));
    let mut problems = Vec::new();
    for (port, waits) in refused {
        let client = clients.get(&port).context("no client")?;
        let server = servers.get(&port).context("no server")?;
        if server.outcome != "cookie-rejected" || server.syn_retrans > 0 {
            problems.push(format!("not refused: {server:?}"));
        }
        if server.rtt_us.is_none() != waits || server.handshake_us.is_none() != waits {
            problems.push(format!("waits: {waits}: {server:?} {client:?}"));
        }
    }
    no_problems(&problems)
}

#[test]
fn a_client_that_acknowledges_late_had_its_first_byte_when_it_came() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--all", "--ttfb-wait", "10s"])?;
    let mut reports = Vec::new();
    for address in [lab::server_v4(0), lab::server_v6(0)] {
        let server = Server::start(
            lab.server(),
            &Listen {
                reply_delay: Duration::from_millis(60),
                ..Listen::new((address, 0).into())
            },
        )?;
        // A cookie asked for, one used, and nothing asked for.
        for api in [
            Api::MsgFastopen,
            Api::MsgFastopen,
            Api::FastopenConnect,
            Api::Plain,
        ] {
            let connect = Connect {
                api,
                options: vec![ClientOption::QuickAckOff],
                ..Connect::new(server.address(), 100)
            };
            let report = lab.in_client(|| {
                let mut connection = connect.open()?;
                connection.exchange()?;
                // Nothing more to say, so that nothing but the delayed ACK leaves.
                thread::sleep(SILENT);
                connection.close()
            })?;
            ensure!(report.reply_matched, "{report:?}");
            reports.push(report);
        }
    }
    let (flows, _) = trace.stop()?.complete_records()?;
    let clients = by_port(&flows, Role::Client);
    let mut problems = Vec::new();
    for report in &reports {
        let port = report.local.context("no address")?.port();
        let flow = clients.get(&port).context("no client")?;
        // When the application had it, it had come: later than that is an ACK's time.
        let (seen, had) = (flow.ttfb_us, report.first_byte_us.context("no first byte")?);
        if seen.is_none_or(|seen| seen > had + TICKS_US) {
            problems.push(format!(
                "first byte at {seen:?} us, the application had it at {had}: {flow:?}"
            ));
        }
        if seen < flow.handshake_us {
            problems.push(format!("before the handshake was over: {flow:?}"));
        }
    }
    no_problems(&problems)
}
