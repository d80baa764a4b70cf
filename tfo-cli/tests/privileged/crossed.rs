//! Crossed SYNs: both ends are clients, the records say so, and nothing else is counted than the kernel counts.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect},
    crossed::{End, cross, cross_itself},
    lab::{self, Lab},
    mib::Mib,
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel, no_problems,
    sandbox::Sandbox,
    tool::Tool,
};

const PAYLOAD: usize = 200;

/// What a socket is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Fast Open without a cookie at hand.
    Request,
    /// SYN data.
    Data,
}

impl Kind {
    const ALL: [Self; 3] = [Self::Plain, Self::Request, Self::Data];

    fn end(self, address: SocketAddr) -> End {
        End {
            address,
            api: if self == Self::Plain {
                Api::Plain
            } else {
                Api::MsgFastopen
            },
            payload: PAYLOAD,
        }
    }

    /// What becomes of it where the peer is a client as well, which looks neither at cookies nor at data. A SYN that was
    /// sent again, as on a machine that stood still for a second, is told by the record.
    fn outcome(self, retransmitted: bool) -> &'static str {
        match self {
            Self::Plain => "plain",
            _ if retransmitted => "syn-timeout",
            Self::Request => "cookie-refused",
            Self::Data => "data-refused",
        }
    }
}

/// Fetches a cookie of `target`'s address, where no socket listens afterwards.
fn prime(from: &Namespace, to: &Namespace, ip: IpAddr) -> Result<()> {
    let server = Server::start(to, &Listen::new((ip, 0).into()))?;
    Connect::new(server.address(), 1).run_in(from).map(drop)
}

/// The record of this socket.
struct Want {
    netns: u64,
    local: SocketAddr,
    remote: SocketAddr,
    kind: Kind,
}

/// What is wrong with the records of the sockets.
fn problems(wanted: &[Want], flows: &[Flow]) -> Vec<String> {
    let mut problems = Vec::new();
    for want in wanted {
        let is_it = |flow: &&Flow| {
            flow.netns == Some(want.netns) && flow.local() == want.local && flow.remote() == want.remote
        };
        let [one] = flows.iter().filter(is_it).collect::<Vec<_>>()[..] else {
            problems.push(format!(
                "{:?} of {}: {:?}",
                want.kind,
                want.local,
                flows.iter().filter(is_it).collect::<Vec<_>>()
            ));
            continue;
        };
        let data = if want.kind == Kind::Data { PAYLOAD } else { 0 };
        let sound = one.role == Role::Client
            && one.outcome == want.kind.outcome(one.syn_retrans > 0)
            && (one.syn_data_len, one.syn_data_acked) == (data, 0)
            && !one.cookie_received
            && one.handshake_us.is_some();
        if !sound {
            problems.push(format!("{:?}: {one:?}", want.kind));
        }
    }
    problems
}

#[test]
fn crossed_syns_are_two_clients() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--all"])?;
    // The kernel counts by namespace, so only the whole host is compared.
    let top = Tool::attached(&["top", "--once", "--format", "json", "--interval", "1h"])?;
    let before = [Mib::read(lab.client())?, Mib::read(lab.server())?];
    let (mut wanted, mut port, mut primed) = (Vec::new(), 7_000, 0);
    for (near, far) in [
        (lab::server_v4(0), lab::client_v4(0)),
        (lab::server_v6(0), lab::client_v6(0)),
    ] {
        for kind in Kind::ALL {
            for peer in [Kind::Plain, Kind::Data] {
                lab.client().flush_tcp_metrics()?;
                lab.server().flush_tcp_metrics()?;
                if kind == Kind::Data {
                    prime(lab.server(), lab.client(), far)?;
                }
                if peer == Kind::Data {
                    prime(lab.client(), lab.server(), near)?;
                }
                primed += u64::from(kind == Kind::Data) + u64::from(peer == Kind::Data);
                port += 1;
                let (first, second) = (SocketAddr::new(near, port), SocketAddr::new(far, port));
                cross(&lab, &kind.end(first), &peer.end(second))
                    .with_context(|| format!("{kind:?} and {peer:?} of {near}"))?;
                wanted.push(Want {
                    netns: lab.server().inode()?,
                    local: first,
                    remote: second,
                    kind,
                });
                wanted.push(Want {
                    netns: lab.client().inode()?,
                    local: second,
                    remote: first,
                    kind: peer,
                });
            }
            // A socket that connects to itself.
            lab.server().flush_tcp_metrics()?;
            if kind == Kind::Data {
                prime(lab.server(), lab.server(), near)?;
                primed += 1;
            }
            port += 1;
            let address = SocketAddr::new(near, port);
            cross_itself(&lab, &kind.end(address)).with_context(|| format!("{kind:?} of {near}"))?;
            wanted.push(Want {
                netns: lab.server().inode()?,
                local: address,
                remote: address,
                kind,
            });
        }
    }
    let moved = [
        Mib::read(lab.client())?.since(&before[0]),
        Mib::read(lab.server())?.since(&before[1]),
    ];
    top.signal(Signal::SIGINT)?;
    let top = top.ended()?;
    // Nothing is lost: neither `unprimed-listener` nor `flags-lost` is counted.
    let (flows, summary) = trace.stop()?.complete_records()?;
    let mut problems = problems(&wanted, &flows);
    let servers: u64 = summary.totals["server"].values().sum();
    if servers != primed || summary.total("server", "cookie-granted") != primed {
        problems.push(format!("{primed} servers, all others are clients: {summary:?}"));
    }
    let snapshot: Value = serde_json::from_str(&top.stdout.join("\n")).context("top: not JSON")?;
    let lines = snapshot["cross_check"].as_array().context("no cross_check")?;
    for (namespace, moved) in [lab.client(), lab.server()].into_iter().zip(&moved) {
        for line in lines
            .iter()
            .filter(|line| line["netns"] == namespace.inode().unwrap_or(0))
        {
            if line["difference"] != 0 {
                problems.push(format!("{}: {line} ({moved:?})", namespace.label()));
            }
        }
    }
    ensure!(
        moved[0].of("TCPFastOpenActiveFail") > 0,
        "no SYN data of a second socket was refused: {moved:?}"
    );
    no_problems(&problems)
}
