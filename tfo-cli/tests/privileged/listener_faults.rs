//! Faults of listeners on real sockets: each is found, its fix makes it go, and its near misses are not found.

use std::{
    net::{SocketAddr, TcpListener},
    os::fd::AsRawFd as _,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, socket};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Connection},
    lab::{self, Lab},
    mib::Mib,
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    found::{stopped, watch},
    needs_kernel, once,
    sandbox::Sandbox,
    wait_until,
};

/// The diagnoses.
const MISMATCH: &str = "namespace-sysctl-mismatch";
const ACCEPT_FULL: &str = "accept-queue-full";
const MPTCP: &str = "mptcp-listener";
const OVERFLOW: &str = "tfo-queue-overflow";
/// Connections that stay half-open.
const CLIENTS: usize = 6;

/// What is found of this name by a tool that starts and ends now.
fn found_now(sandbox: &Sandbox, id: &str) -> Result<Vec<Value>> {
    stopped(watch(sandbox)?, id)
}

fn on_port(found: &[Value], port: u16) -> Vec<&Value> {
    found.iter().filter(|one| one["port"] == port).collect()
}

#[test]
fn a_queue_in_a_namespace_with_the_server_side_off() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let listen = |fast_open| Listen {
        fast_open,
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let queue = Server::start(lab.server(), &listen(Some(64)))?;
    // Near miss: nobody wants Fast Open on this one.
    let plain = Server::start(lab.server(), &listen(None))?;
    lab.server().set_sysctl("net/ipv4/tcp_fastopen", "1")?;
    let found = found_now(&sandbox, MISMATCH)?;
    let [one] = on_port(&found, queue.address().port())[..] else {
        anyhow::bail!("{found:?}")
    };
    ensure!(one["netns"] == lab.server().inode()?, "{one}");
    ensure!(
        one["counts"]["limit"] == 64 && one["counts"]["sysctl"] == 1,
        "{one}"
    );
    ensure!(on_port(&found, plain.address().port()).is_empty(), "{found:?}");
    // The fix it names, in that namespace.
    lab.server().set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    let found = found_now(&sandbox, MISMATCH)?;
    ensure!(on_port(&found, queue.address().port()).is_empty(), "{found:?}");
    Ok(())
}

/// A listener that accepts nobody, with a backlog of one: two connections fit (`sk_acceptq_is_full`).
fn lazy(lab: &Lab) -> Result<TcpListener> {
    lab.in_server(|| {
        let socket = socket(
            AddressFamily::Inet,
            SockType::Stream,
            SockFlag::SOCK_CLOEXEC,
            None,
        )?;
        let address = SocketAddr::new(lab::server_v4(0), 0);
        bind(socket.as_raw_fd(), &SockaddrStorage::from(address))?;
        listen(&socket, Backlog::new(1)?)?;
        Ok(TcpListener::from(socket))
    })
}

#[test]
fn an_accept_queue_beyond_its_limit() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let listener = lazy(&lab)?;
    let target = listener.local_addr()?;
    let connect = Connect {
        api: Api::Plain,
        ..Connect::new(target, 1)
    };
    let open = || -> Result<Connection> { lab.in_client(|| connect.open()) };
    let first = open()?;
    // Near miss: full to its limit, and not beyond.
    let found = found_now(&sandbox, ACCEPT_FULL)?;
    ensure!(on_port(&found, target.port()).is_empty(), "{found:?}");
    let second = open()?;
    let found = found_now(&sandbox, ACCEPT_FULL)?;
    let [one] = on_port(&found, target.port())[..] else {
        anyhow::bail!("{found:?}")
    };
    ensure!(
        one["counts"]["waiting"] == 2 && one["counts"]["backlog"] == 1,
        "{one}"
    );
    // The fix: an application that accepts.
    let _accepted = [listener.accept()?, listener.accept()?];
    let found = found_now(&sandbox, ACCEPT_FULL)?;
    ensure!(on_port(&found, target.port()).is_empty(), "{found:?}");
    drop((first, second));
    Ok(())
}

#[test]
fn an_mptcp_listener_without_a_queue() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    if lab.server().sysctl("net/mptcp/enabled")?.as_deref() != Some("1") {
        println!("skipped: this kernel has no MPTCP");
        return Ok(());
    }
    for address in [lab::server_v4(0), lab::server_v6(0)] {
        let start = |mptcp, fast_open| {
            Server::start(
                lab.server(),
                &Listen {
                    mptcp,
                    fast_open,
                    ..Listen::new((address, 0).into())
                },
            )
        };
        // The first is the fault; then the fix, a queue, and a TCP listener, which is none.
        let (without, with, tcp) = (start(true, None)?, start(true, Some(16))?, start(false, None)?);
        let found = found_now(&sandbox, MPTCP)?;
        let [one] = on_port(&found, without.address().port())[..] else {
            anyhow::bail!("{address}: {found:?}")
        };
        ensure!(one["netns"] == lab.server().inode()?, "{one}");
        for near in [with, tcp] {
            let found = on_port(&found, near.address().port());
            ensure!(found.is_empty(), "{address}: {found:?}");
        }
    }
    Ok(())
}

/// Clients whose every packet after the SYN is lost: the attack the queue exists for.
#[test]
fn half_open_connections_overflow_a_queue() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    // Children give up after their second timeout instead of the sixth.
    lab.server().set_sysctl("net/ipv4/tcp_synack_retries", "1")?;
    let server = Server::start(
        lab.server(),
        &Listen {
            fast_open: Some(2),
            ..Listen::new((lab::server_v4(0), 0).into())
        },
    )?;
    let other = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect {
        reset_on_close: true,
        ..Connect::new(server.address(), 100)
    };
    connect.run_in(lab.client())?;
    let before = Mib::read(lab.server())?;
    let trace = sandbox.trace(&[])?;
    let diagnose = watch(&sandbox)?;
    let rule = Rule::new(Effect::DropAfterSyn, server.address().ip()).port(server.address().port());
    let path = Middlebox::on_path(&lab, &rule)?;
    let open: Vec<Connection> = (0..CLIENTS)
        .map(|_| lab.in_client(|| connect.open()))
        .collect::<Result<_>>()?;
    // Near miss: traffic of another listener on the same address stays its own.
    Connect::new(other.address(), 100).run_in(lab.client())?;
    let kernel = Mib::read(lab.server())?
        .since(&before)
        .of("TCPFastOpenListenOverflow");
    ensure!(kernel == CLIENTS as u64 - 2, "{kernel}");
    let found = stopped(diagnose, OVERFLOW)?;
    let [one] = &found[..] else {
        anyhow::bail!("{found:?}")
    };
    ensure!(one["port"] == server.address().port(), "{one}");
    ensure!(one["counts"]["queue-overflow"] == kernel, "{one}");
    ensure!(one["counts"]["attempts"] == CLIENTS as u64, "{one}");
    // Children that never complete have a record: accepted, without a handshake.
    let is_child = |line: &str| line.contains("\"role\":\"server\"") && line.contains("\"accepted\"");
    wait_until("the children give up", || {
        Ok(trace.lines().iter().filter(|line| is_child(line)).count() >= 3)
    })?;
    drop(path);
    drop(open);
    let (flows, summary) = trace.stop()?.records()?;
    let never: Vec<_> = flows
        .iter()
        .filter(|flow| {
            flow.local_port == server.address().port() && flow.role == crate::support::flow::Role::Server
        })
        .collect();
    ensure!(never.len() == 2, "{never:?}");
    for flow in never {
        ensure!(
            flow.outcome == "accepted" && flow.handshake_us.is_none(),
            "{flow:?}"
        );
    }
    ensure!(summary.total("server", "accepted") == 3, "{summary:?}");
    // The fix it names: a longer queue for the running socket.
    let command = one["fix"].as_str().context("no fix")?;
    let args: Vec<&str> = command.split_whitespace().skip(1).chain(["--yes"]).collect();
    once::run(&args)?.ended(0)?;
    let diagnose = watch(&sandbox)?;
    let path = Middlebox::on_path(&lab, &rule)?;
    let open: Vec<Connection> = (0..CLIENTS)
        .map(|_| lab.in_client(|| connect.open()))
        .collect::<Result<_>>()?;
    let found = stopped(diagnose, OVERFLOW)?;
    ensure!(found.is_empty(), "{found:?}");
    drop((path, open));
    Ok(())
}
