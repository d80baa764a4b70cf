//! The kernel's own counters as second witness: over thousands of mixed connections in two namespaces the
//! identities of docs/kernel-facts.md section 3 hold with zero unexplained difference, between the counters and the
//! records of `trace`, and in the cross-check of `top`.

use std::{net::IpAddr, thread};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;
use serde_json::Value;
use tfo_lab::{
    client::{Api, ClientOption, Connect, Source},
    lab::{self, Lab},
    mib::Mib,
    middlebox::{Effect, Middlebox, Rule},
    netns::Namespace,
    server::{Keys, Listen, Server},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel, no_problems,
    sandbox::Sandbox,
    tool::Tool,
    wait_until,
};

const COUNTERS: [&str; 6] = [
    "TCPFastOpenActive",
    "TCPFastOpenActiveFail",
    "TCPFastOpenPassive",
    "TCPFastOpenPassiveFail",
    "TCPFastOpenListenOverflow",
    "TCPFastOpenCookieReqd",
];

/// Connections of each prompt kind and family.
const MANY: usize = 250;
/// Connections that wait for timers, side by side.
const SLOW: usize = 24;
const PAYLOAD: usize = 200;

#[test]
fn records_and_cross_check_agree_with_the_kernel() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--all"])?;
    // Ended by a signal, as soon as the traffic is over.
    // On the whole host: the kernel counts by namespace, so with --cgroup nothing is compared.
    let top = Tool::attached(&["top", "--once", "--format", "json", "--interval", "1h"])?;
    let before = counters(&lab)?;
    mixed_traffic(&lab)?;
    let [client, server] = counters(&lab)?;
    let moved = [client.since(&before[0]), server.since(&before[1])];
    top.signal(Signal::SIGINT)?;
    let top = top.ended()?;
    let (flows, _) = trace.stop()?.complete_records()?;

    ensure!(flows.len() > 2 * 4 * MANY, "only {} records", flows.len());
    let mut problems = Vec::new();
    let snapshot: Value = serde_json::from_str(&top.stdout.join("\n")).context("top: not JSON")?;
    for (namespace, moved) in [lab.client(), lab.server()].into_iter().zip(&moved) {
        let inode = namespace.inode()?;
        for counter in COUNTERS {
            let kernel = moved.of(counter);
            let here = flows.iter().filter(|flow| flow.netns == Some(inode));
            let records = here.map(|flow| expected(flow, counter)).sum::<u64>();
            if records != kernel {
                problems.push(format!(
                    "{} {counter}: kernel {kernel}, records {records}",
                    namespace.label()
                ));
            }
            let shown = cross_check(&snapshot, inode, counter);
            if shown != Some((kernel, kernel, 0)) {
                problems.push(format!(
                    "{} {counter}: kernel {kernel}, cross-check (kernel, seen, difference) {shown:?}",
                    namespace.label()
                ));
            }
        }
    }
    // A counter that never moved proves nothing.
    let still = |counter: &&&str| moved.iter().all(|side| side.of(counter) == 0);
    problems.extend(
        COUNTERS
            .iter()
            .filter(still)
            .map(|counter| format!("{counter} did not move")),
    );
    no_problems(&problems)
}

/// What a record says this counter must have moved by, in its own namespace.
fn expected(flow: &Flow, counter: &str) -> u64 {
    let established = flow.handshake_us.is_some();
    let whole = flow.syn_data_len > 0 && flow.syn_data_acked == flow.syn_data_len;
    let with_tfo = flow.option_sent != "none" || flow.syn_data_len > 0;
    // `tcp_fastopen_active_detect_blackhole`: once, at the third consecutive timeout or at expiry before it.
    let suspected = with_tfo && (flow.syn_retrans >= 3 || flow.outcome == "failed");
    u64::from(match (flow.role, counter) {
        (Role::Client, "TCPFastOpenActive") => established && whole,
        (Role::Client, "TCPFastOpenActiveFail") => {
            let refused = established && flow.syn_data_acked < flow.syn_data_len;
            return u64::from(refused) + u64::from(suspected);
        }
        (Role::Server, "TCPFastOpenPassive") => flow.outcome == "accepted",
        (Role::Server, "TCPFastOpenPassiveFail") => flow.outcome == "cookie-rejected",
        (Role::Server, "TCPFastOpenListenOverflow") => flow.outcome == "queue-overflow",
        (Role::Server, "TCPFastOpenCookieReqd") => flow.option_sent == "request",
        _ => false,
    })
}

fn counters(lab: &Lab) -> Result<[Mib; 2]> {
    Ok([Mib::read(lab.client())?, Mib::read(lab.server())?])
}

/// `(kernel, seen, difference)` of a counter in the output of `top`.
fn cross_check(snapshot: &Value, netns: u64, counter: &str) -> Option<(u64, u64, i64)> {
    let lines = snapshot["cross_check"].as_array()?;
    let line = lines
        .iter()
        .find(|line| line["netns"] == netns && line["counter"] == counter)?;
    Some((
        line["kernel"].as_u64()?,
        line["seen"].as_u64()?,
        line["difference"].as_i64()?,
    ))
}

/// Everything at once, as on a real host: prompt kinds one after the other, slow ones beside them.
fn mixed_traffic(lab: &Lab) -> Result<()> {
    thread::scope(|scope| {
        let mut kinds = vec![scope.spawn(move || suspected_blackholes(lab))];
        for address in [lab::server_v4, lab::server_v6] {
            kinds.push(scope.spawn(move || prompt_kinds(lab, address)));
            kinds.push(scope.spawn(move || syn_timeouts(lab, address(4))));
        }
        for kind in kinds {
            kind.join().expect("traffic does not panic")?;
        }
        Ok(())
    })
}

/// SYN retransmissions that come after a second each, before the time doubles; part of the limit, too.
const LINEAR: &str = "net/ipv4/tcp_syn_linear_timeouts";

/// Connections whose timeouts the kernel counts as a suspected blackhole: given up after two and after four
/// timeouts, and answered after three.
fn suspected_blackholes(lab: &Lab) -> Result<()> {
    for linear in ["0", "2"] {
        // Older kernels do not have it; there everything takes longer.
        if lab.client().sysctl(LINEAR)?.is_some() {
            lab.client().set_sysctl(LINEAR, linear)?;
        }
        thread::scope(|scope| {
            let mut kinds = Vec::new();
            for address in [lab::server_v4, lab::server_v6] {
                kinds.push(scope.spawn(move || failures(lab, address(5))));
                if linear != "0" {
                    kinds.push(scope.spawn(move || answered_after_three_timeouts(lab, address(6))));
                }
            }
            kinds
                .into_iter()
                .try_for_each(|kind| kind.join().expect("traffic does not panic"))
        })?;
    }
    Ok(())
}

fn prompt_kinds(lab: &Lab, address: fn(u8) -> IpAddr) -> Result<()> {
    let listen = |index, fast_open| Listen {
        fast_open,
        ..Listen::new((address(index), 0).into())
    };
    let start = |listen: Listen| Server::start(lab.server(), &listen);
    // One cookie per address: both ports of address 0 share it.
    let (web, legacy) = (start(listen(0, Some(256)))?, start(listen(0, None))?);
    let keyed = |key| Listen {
        keys: Keys::One(key),
        ..listen(1, Some(256))
    };
    let (one, other) = (
        start(keyed(*b"key of server 1!"))?,
        start(keyed(*b"key of server 2!"))?,
    );
    let never = start(listen(2, None))?;
    let small = start(listen(3, Some(1)))?;
    let connect = |server: &Server| Connect {
        reset_on_close: true,
        ..Connect::new(server.address(), PAYLOAD)
    };
    let plain = Connect {
        api: Api::Plain,
        ..connect(&web)
    };
    let deferred = Connect {
        api: Api::FastopenConnect,
        ..connect(&web)
    };

    repeat(lab.client(), &[connect(&web), deferred, connect(&legacy), plain])?;
    repeat(lab.client(), &[connect(&one), connect(&other)])?;
    repeat(lab.client(), &[connect(&never)])?;
    let _squatter = fill_queue(lab, &small)?;
    repeat(lab.client(), &[connect(&small)])
}

/// Makes each of these connections many times, in turn.
fn repeat(namespace: &Namespace, connects: &[Connect]) -> Result<()> {
    namespace.run(|| {
        for _ in 0..MANY {
            for connect in connects {
                let report = connect.run()?;
                ensure!(report.reply_matched, "{connect:?}: {report:?}");
            }
        }
        Ok(())
    })
}

/// Occupies the only place in a TFO queue by a handshake that never ends on the server's side, and leaves
/// the ordinary client with a cookie.
fn fill_queue(lab: &Lab, server: &Server) -> Result<(Middlebox, tfo_lab::client::Connection)> {
    let target = server.address();
    Connect::new(target, PAYLOAD).run_in(lab.client())?;
    let squatter = if target.is_ipv4() {
        lab::client_v4(1)
    } else {
        lab::client_v6(1)
    };
    let connect = Connect {
        source: Source::Bound((squatter, 0).into()),
        reset_on_close: true,
        ..Connect::new(target, PAYLOAD)
    };
    connect.run_in(lab.client())?;
    let rule = Rule::new(Effect::DropAfterSyn, target.ip())
        .port(target.port())
        .client(squatter);
    let path = Middlebox::on_path(lab, &rule)?;
    let filler = lab.in_client(|| connect.open())?;
    Ok((path, filler))
}

/// Many connections at once whose SYN data is dropped.
fn syn_timeouts(lab: &Lab, ip: IpAddr) -> Result<()> {
    let server = Server::start(lab.server(), &Listen::new((ip, 0).into()))?;
    let connect = Connect::new(server.address(), PAYLOAD);
    connect.run_in(lab.client())?;
    let _path = Middlebox::on_path(lab, &Rule::new(Effect::DropSynData, ip))?;
    side_by_side(lab, &vec![connect; SLOW], true)
}

/// Connections that never get an answer.
fn failures(lab: &Lab, ip: IpAddr) -> Result<()> {
    let server = Server::start(lab.server(), &Listen::new((ip, 0).into()))?;
    let connect = Connect {
        options: vec![ClientOption::SynCount(1)],
        ..Connect::new(server.address(), PAYLOAD)
    };
    connect.run_in(lab.client())?;
    let _path = Middlebox::on_path(lab, &Rule::new(Effect::DropSyn, ip))?;
    side_by_side(lab, &vec![connect; SLOW / 4], false)
}

/// The path opens after the third timeout: such a connection counts twice in `TCPFastOpenActiveFail`.
fn answered_after_three_timeouts(lab: &Lab, ip: IpAddr) -> Result<()> {
    let server = Server::start(lab.server(), &Listen::new((ip, 0).into()))?;
    let connect = Connect::new(server.address(), PAYLOAD);
    connect.run_in(lab.client())?;
    let path = Middlebox::on_path(lab, &Rule::new(Effect::DropSyn, ip))?;
    thread::scope(|scope| {
        let client = scope.spawn(|| side_by_side(lab, &[connect], true));
        // The SYN with data and three retransmissions.
        wait_until("four SYNs dropped", || Ok(path.hits()? >= 4))?;
        drop(path);
        client.join().expect("a client does not panic")
    })
}

/// Makes these connections at the same time.
fn side_by_side(lab: &Lab, connects: &[Connect], established: bool) -> Result<()> {
    thread::scope(|scope| {
        let start = |connect| scope.spawn(move || Connect::run_in(connect, lab.client()));
        let clients: Vec<_> = connects.iter().map(start).collect();
        for client in clients {
            let report = client.join().expect("a client does not panic")?;
            ensure!(report.established() == established, "{report:?}");
        }
        Ok(())
    })
}
