//! Callback flags that a killed observer has left on sockets: the policy that is in force takes them back, where a mark says
//! that they are the observer's, and leaves those of others.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use nix::sys::signal::Signal;
use tfo_lab::{
    client::{Api, Connect, Connection, Family},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Reply, Server},
};

use crate::{
    enforce::service,
    policy::{self, add},
    support::{
        flow::Role,
        foreign::{self as callbacks, Calls, Foreign},
        sandbox::Sandbox,
        tool::Tool,
        wait_until,
    },
    writer,
};

/// `BPF_SOCK_OPS_RTO_CB` (include/uapi/linux/bpf.h).
const RTO: u32 = 8;
/// Segments that a connection sends between two looks.
const SEGMENTS: usize = 8;

/// A policy that is about none of the connections here.
fn policy_in_force(sandbox: &Sandbox) -> Result<()> {
    add(sandbox.path(), "192.0.2.0/24", &[])
}

/// An observer that waits for the first byte of every connection.
fn observer(sandbox: &Sandbox) -> Result<Tool> {
    sandbox.trace(&["--ttfb-sample", "1"])
}

fn kill(observer: Tool) -> Result<()> {
    observer.signal(Signal::SIGKILL)?;
    observer.ended().map(drop)
}

/// Servers that never answer, so that a first byte is waited for as long as the connections live.
fn silent(lab: &Lab, family: Family, index: u8) -> Result<Server> {
    let listen = Listen {
        reply: Reply::Bytes(0),
        ..Listen::on(service(family, index), family)
    };
    Server::start(lab.server(), &listen)
}

/// Connections that stay: one that asks for a cookie, one with SYN data, and a plain one.
fn open(lab: &Lab, family: Family, server: &Server) -> Result<Vec<Connection>> {
    let apis = [Api::MsgFastopen, Api::MsgFastopen, Api::Plain];
    let opened = apis.map(|api| {
        let connect = Connect {
            api,
            family,
            reply: 0,
            ..Connect::new(server.address(), 300)
        };
        lab.in_client(|| connect.open())
    });
    opened.into_iter().collect()
}

/// Each sends some segments.
fn send(connections: &mut [Connection]) -> Result<()> {
    for connection in connections {
        let stream = connection.stream();
        stream.set_nodelay(true)?;
        for _ in 0..SEGMENTS {
            stream.write_all(b"more").context("a segment")?;
        }
    }
    Ok(())
}

/// Calls for the headers of segments while `work` is done, at either end.
fn headers(witness: &Foreign, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = witness.calls()?;
    work()?;
    Ok(witness.calls()?.since(&before).of(callbacks::HDR_OPT_LEN))
}

/// Connections that were waited for when the observer was killed: clients and servers, with Fast Open and without.
pub fn segments() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        policy_in_force(&sandbox)?;
        let observer = observer(&sandbox)?;
        let server = silent(&lab, family, 0)?;
        let mut connections = open(&lab, family, &server)?;
        // Handshakes are over: it waits for first bytes alone. The server of the one with SYN data tells when it sends.
        observer.wait_for_lines(3)?;
        let witness = Foreign::attach(sandbox.path())?;
        let alive = headers(&witness, || send(&mut connections))?;
        ensure!(alive > 0, "{family:?}: nothing is waited for");
        kill(observer)?;
        let mut last = alive;
        wait_until("segments without a call", || {
            last = headers(&witness, || send(&mut connections))?;
            Ok(last == 0)
        })
        .with_context(|| format!("{family:?}: {last} calls"))?;
        drop(witness);
        policy::clear()?;
    }
    Ok(())
}

/// Once its first byte has come, a connection with Fast Open has the flag of the retransmission timer and no other.
pub fn timers() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    policy_in_force(&sandbox)?;
    for is_killed in [false, true] {
        let observer = observer(&sandbox)?;
        let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
        let connect = Connect::new(server.address(), 300);
        connect.run_in(lab.client())?;
        let mut connection = lab.in_client(|| connect.open())?;
        connection.exchange()?;
        observer.wait_for_lines(4)?;
        let mut observer = Some(observer);
        if is_killed {
            observer.take().map(kill).transpose()?;
        }
        let witness = Foreign::attach(sandbox.path())?;
        let before = witness.calls()?;
        let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropAfterSyn, lab::server_v4(0)))?;
        connection.stream().write_all(b"lost")?;
        // A timeout is what has the flag taken back.
        let (mut sent_again, mut calls, mut rounds) = (0, 0, Vec::new());
        while rounds.len() < 2 {
            sent_again += 3;
            wait_until("three timeouts", || {
                let info = connection.info();
                Ok(info.is_some_and(|info| info.total_retrans >= sent_again))
            })?;
            let all = witness.calls()?.since(&before).of(RTO);
            rounds.push(all - calls);
            calls = all;
        }
        ensure!(
            if is_killed { rounds[1] == 0 } else { rounds[1] > 0 },
            "killed: {is_killed}, calls {rounds:?}"
        );
        drop(connection);
        if let Some(observer) = observer {
            observer.stop()?;
        }
    }
    policy::clear()
}

/// A listener's flag cannot be taken back by a program that is called for its connections; theirs can.
pub fn children() -> Result<()> {
    for family in [Family::V4, Family::V6, Family::Mapped] {
        let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
        policy_in_force(&sandbox)?;
        let observer = observer(&sandbox)?;
        let server = silent(&lab, family, 0)?;
        kill(observer)?;
        let mut last = 0;
        wait_until("connections without a call for their segments", || {
            // Nobody else is called while they are accepted: then the flag is the observer's for certain.
            let mut connections = open(&lab, family, &server)?;
            let witness = Foreign::attach(sandbox.path())?;
            last = headers(&witness, || send(&mut connections))?;
            Ok(last == 0)
        })
        .with_context(|| format!("{family:?}: {last} calls"))?;
        // Beside somebody who may want it, it stays.
        let witness = Foreign::attach(sandbox.path())?;
        let mut connections = open(&lab, family, &server)?;
        let beside = headers(&witness, || send(&mut connections))?;
        ensure!(beside > 0, "{family:?}: it was taken from under somebody else");
        drop(witness);
        policy::clear()?;
    }
    Ok(())
}

/// Flags of a program that was there before the observer, during, and afterwards.
pub fn others() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    policy_in_force(&sandbox)?;
    let theirs = writer::attach(sandbox.path())?;
    let listen = |index| silent(&lab, Family::V4, index);
    let before = listen(0)?;
    let mut connections = open(&lab, Family::V4, &before)?;
    let observer = observer(&sandbox)?;
    let during = listen(1)?;
    connections.extend(open(&lab, Family::V4, &during)?);
    observer.wait_for_lines(4)?;
    kill(observer)?;
    let afterwards = listen(2)?;
    connections.extend(open(&lab, Family::V4, &afterwards)?);
    connections.extend(open(&lab, Family::V4, &during)?);
    let begun = theirs.calls()?;
    for _ in 0..3 {
        let calls = theirs.calls()?;
        send(&mut connections)?;
        let written = theirs.calls()?.since(&calls).of(writer::WRITE_HDR_OPT);
        // Each segment has their option; others, that acknowledge, come beside them.
        let segments = u64::try_from(connections.len() * SEGMENTS)?;
        ensure!(written >= segments, "{written} options in {segments} segments");
    }
    drop(connections);
    let ended = || -> Result<Calls> { Ok(theirs.calls()?.since(&begun)) };
    // Both ends of twelve, each with two changes of state at its end at the least.
    wait_until("all to be closed", || {
        Ok(ended()?.of(callbacks::STATE) >= 2 * 12 * 2)
    })?;
    writer::check(&ended()?)?;
    policy::clear()
}

/// Nothing is taken from sockets that somebody looks at: a copy that was killed beside one that lives, and a copy that is
/// stopped.
pub fn of_the_living() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    policy_in_force(&sandbox)?;
    let (stopped, killed) = (observer(&sandbox)?, observer(&sandbox)?);
    let server = silent(&lab, Family::V4, 0)?;
    let mut connections = open(&lab, Family::V4, &server)?;
    kill(killed)?;
    stopped.signal(Signal::SIGSTOP)?;
    let witness = Foreign::attach(sandbox.path())?;
    for _ in 0..3 {
        let calls = headers(&witness, || send(&mut connections))?;
        ensure!(calls > 0, "the flags are gone");
    }
    stopped.signal(Signal::SIGCONT)?;
    let (flows, _) = stopped.stop()?.complete_records()?;
    let clients = flows.iter().filter(|flow| flow.role == Role::Client);
    ensure!(clients.count() == 2, "{flows:?}");
    drop(witness);
    policy::clear()
}
