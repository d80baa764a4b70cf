//! Rare responses and handshakes: each is recorded once, as it happened.

use std::net::{IpAddr, SocketAddr, TcpListener};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect},
    lab::{self, Lab},
    responder::{Cookie, Responder},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel,
    sandbox::Sandbox,
};

const PAYLOAD: usize = 100;
const PORT: u16 = 7777;

/// The records of a responder's clients, in the order of their connections.
fn answered_with(cookie: Cookie, connections: usize) -> Result<Vec<Flow>> {
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let address = SocketAddr::new(lab::server_v4(0), PORT);
    let trace = sandbox.trace(&["--all", "--ttfb-wait", "20s"])?;
    let responder = Responder::start_with(&lab, address, PAYLOAD, cookie)?;
    for _ in 0..connections {
        let report = Connect::new(responder.address(), PAYLOAD).run_in(lab.client())?;
        ensure!(report.established(), "{report:?}");
    }
    drop(responder);
    let (flows, _) = trace.stop()?.complete_records()?;
    Ok(flows
        .into_iter()
        .filter(|flow| flow.role == Role::Client)
        .collect())
}

/// Linux takes a cookie in either kind, whatever it asked with (`tcp_parse_fastopen_option`).
#[test]
fn a_cookie_in_the_other_kind_is_a_cookie() -> Result<()> {
    needs_kernel!();
    let other = Cookie {
        experimental: true,
        length: 8,
    };
    let flows = answered_with(other, 2)?;
    let told: Vec<_> = flows
        .iter()
        .map(|flow| (flow.outcome.as_str(), flow.option_kind, flow.cookie_received))
        .collect();
    assert_eq!(
        told,
        [("cookie-granted", Some(34), true), ("accepted", Some(254), false)],
        "{flows:#?}"
    );
    Ok(())
}

/// MSS 4, timestamps and SACK 12, window scale 4, a cookie of 16 bytes 20: nobody is called while this SYN is built.
#[test]
fn a_syn_with_forty_bytes_of_options_is_seen() -> Result<()> {
    needs_kernel!();
    let long = Cookie {
        experimental: false,
        length: 16,
    };
    let flows = answered_with(long, 2)?;
    let told: Vec<_> = flows
        .iter()
        .map(|flow| {
            let option = (flow.option_sent.as_str(), flow.option_kind);
            (flow.outcome.as_str(), option, flow.syn_data_len)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("cookie-granted", ("request", Some(34)), 0),
            ("accepted", ("cookie", Some(34)), PAYLOAD),
        ],
        "{flows:#?}"
    );
    Ok(())
}

/// Without Fast Open, to a port where nobody listens.
#[test]
fn a_refused_plain_connection_is_shown_by_all() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--all"])?;
    let closed = lab.in_server(|| unused(lab::server_v4(0)))?;
    let connect = Connect {
        api: Api::Plain,
        ..Connect::new(closed, PAYLOAD)
    };
    let report = connect.run_in(lab.client())?;
    ensure!(!report.established(), "{report:?}");
    let (flows, _) = trace.stop()?.complete_records()?;
    let [flow] = flows.as_slice() else {
        panic!("one record expected: {flows:#?}");
    };
    assert_eq!((flow.outcome.as_str(), flow.handshake_us), ("plain", None));
    assert_eq!(flow.remote(), closed);
    Ok(())
}

/// An address whose port was free a moment ago.
fn unused(ip: IpAddr) -> Result<SocketAddr> {
    let listener = TcpListener::bind((ip, 0)).context("a free port: binding to it")?;
    listener.local_addr().context("a free port: reading its number")
}

/// A port that nobody listens at is answered by a RST, or by a firewall with the ICMP message that says the same. The kernel
/// leaves the same error on the socket.
#[test]
fn a_reset_is_told_from_an_icmp_message_that_says_the_same() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let table = "table inet refusing {\nchain c {\ntype filter hook input priority filter;\n\
                 tcp dport 82 reject with icmpx port-unreachable\n}\n}\n";
    lab.server()
        .run(|| tfo_lab::command::run_with_input("nft", &["-f", "-"], table).map(drop))?;
    let trace = sandbox.trace(&[])?;
    let mut wanted = Vec::new();
    for address in [lab::server_v4(0), lab::server_v6(0)] {
        for (port, outcome) in [(81, "reset"), (82, "failed")] {
            let report = Connect::new((address, port).into(), PAYLOAD).run_in(lab.client())?;
            ensure!(!report.established(), "{report:?}");
            wanted.push((address, port, outcome));
        }
    }
    let (flows, _) = trace.stop()?.complete_records()?;
    let told: Vec<_> = flows
        .iter()
        .map(|flow| (flow.remote_addr, flow.remote_port, flow.outcome.as_str()))
        .collect();
    assert_eq!(told, wanted, "{flows:#?}");
    Ok(())
}
