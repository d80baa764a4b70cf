//! Sockets from before and after the start of the tool: both kinds of listeners are observed, and after the end of the
//! tool no socket has its callback flags any more.

use anyhow::{Result, ensure};
use nix::sys::signal::Signal;
use tfo_lab::{
    client::{Api, Connect},
    lab::{self, Lab},
    server::{Listen, Server},
};

use crate::support::{
    flow::Role,
    foreign::{self, Calls, Foreign},
    kernel::needs_quiet_host,
    needs_kernel, no_problems,
    round::{PER_ROUND, Pair, differences, round},
    sandbox::Sandbox,
};

#[test]
fn listeners_from_before_are_seen_and_left_as_they_were() -> Result<()> {
    needs_kernel!();
    needs_quiet_host!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let before = Pair::start(&lab, 0)?;
    let trace = sandbox.trace(&["--all"])?;
    let during = Pair::start(&lab, 1)?;
    let mut made = round(&lab, &before)?;
    made.extend(round(&lab, &during)?);
    let (flows, _) = trace.stop()?.complete_records()?;
    ensure!(flows.len() == 2 * made.len(), "{} records", flows.len());
    no_problems(&differences(&lab, &made, &flows)?)?;

    for pair in [&before, &during] {
        let calls = witness(&sandbox, || round(&lab, pair).map(drop))?;
        // It was called at all, and only for what nobody had to ask for.
        ensure!(
            calls.of(foreign::PASSIVE_ESTABLISHED) == PER_ROUND as u64,
            "{calls:?}"
        );
        ensure!(
            calls == calls.without_header_options(),
            "flags are left: {calls:?}"
        );
    }
    Ok(())
}

/// A copy that was killed leaves its flags on listeners, where they do nothing. The next one sees everything all
/// the same, and cleans up.
#[test]
fn a_killed_copy_does_not_spoil_the_next_one() -> Result<()> {
    needs_kernel!();
    needs_quiet_host!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let killed = sandbox.trace(&["--all"])?;
    killed.signal(Signal::SIGKILL)?;
    killed.ended()?;
    let trace = sandbox.trace(&["--all"])?;
    let made = round(&lab, &pair)?;
    let (flows, _) = trace.stop()?.complete_records()?;
    ensure!(flows.len() == 2 * made.len(), "{} records", flows.len());
    no_problems(&differences(&lab, &made, &flows)?)?;
    let calls = witness(&sandbox, || round(&lab, &pair).map(drop))?;
    ensure!(
        calls == calls.without_header_options(),
        "flags are left: {calls:?}"
    );
    Ok(())
}

/// More than a SYN carries, so that there is something left to send later.
const LONG: usize = 5000;

/// Nobody answers on these connections: the tool still waits for their first byte when it ends.
#[test]
fn open_connections_are_left_as_they_were() -> Result<()> {
    needs_kernel!();
    needs_quiet_host!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let listen = Listen {
        accept: false,
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let server = Server::start(lab.server(), &listen)?;
    let trace = sandbox.trace(&["--all"])?;
    let open = |api| {
        let connect = Connect {
            api,
            blocking: false,
            reply: 0,
            ..Connect::new(server.address(), LONG)
        };
        lab.in_client(|| connect.open())
    };
    // A cookie asked for, used, and not used at all.
    let mut connections = [
        open(Api::MsgFastopen)?,
        open(Api::MsgFastopen)?,
        open(Api::Plain)?,
    ];
    let (flows, _) = trace.stop()?.complete_records()?;
    let outcomes: Vec<_> = flows
        .iter()
        .filter(|flow| flow.role == Role::Client)
        .map(|flow| flow.outcome.as_str())
        .collect();
    ensure!(
        outcomes == ["cookie-granted", "accepted", "plain"],
        "{outcomes:?}"
    );

    let calls = witness(&sandbox, || {
        connections
            .iter_mut()
            .try_for_each(tfo_lab::client::Connection::exchange)
    })?;
    for connection in &connections {
        let report = connection.report();
        ensure!(
            report.error.is_none() && report.call("send").is_some(),
            "{report:?}"
        );
    }
    ensure!(
        calls == calls.without_header_options(),
        "flags are left: {calls:?}"
    );
    Ok(())
}

/// Calls a program without callback flags of its own gets while `work` is done.
fn witness(sandbox: &Sandbox, work: impl FnOnce() -> Result<()>) -> Result<Calls> {
    let foreign = Foreign::attach(sandbox.path())?;
    let before = foreign.calls()?;
    work()?;
    Ok(foreign.calls()?.since(&before))
}
