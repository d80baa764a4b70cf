//! Connections that a policy is to deny: fetches cookies, runs the command that makes the policy, then connects.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::{Emit, PAYLOAD, Scene};
use crate::{
    client::{ClientOption, Connect},
    netns::Namespace,
    scenario::View,
    server::{Listen, Server},
};

/// The address to which the policy allows no data in SYNs.
pub const NO_DATA: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
/// The address to which the policy allows no TFO option in SYNs.
pub const STRIP: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3));
/// The address to which a guard sees connections refused.
pub const GUARDED: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 4));
/// The IPv6 address and port to which the policy allows no data in SYNs.
pub const NO_DATA_V6: SocketAddr = SocketAddr::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 4433);
/// Number of refused connections: enough for a guard that opens at three failures of three.
const REFUSED: usize = 3;
/// First bytes that take longer count as late: a SYN timeout takes a second, and without one even an emulated machine is
/// faster.
const LATE: Duration = Duration::from_millis(900);

/// Fetches cookies, runs the command `policy`, makes the connections that the policy is to deny, and passes each to
/// `emit`.
pub fn run(policy: &[String], emit: Emit<'_>) -> Result<()> {
    let namespace = Namespace::current()?;
    let [no_data, strip, guarded] = [NO_DATA, STRIP, GUARDED].map(|ip| SocketAddr::new(ip, 0));
    let start = |address| Server::start(&namespace, &Listen::new(address));
    let (no_data, strip, guarded, v6) = (
        start(no_data)?,
        start(strip)?,
        start(guarded)?,
        start(NO_DATA_V6)?,
    );
    let connects = [&no_data, &strip, &v6, &guarded].map(|server| Connect::new(server.address(), PAYLOAD));
    for connect in &connects {
        connect.run().context("fetching a cookie")?;
    }
    let [no_data_connect, strip_connect, v6_connect, guarded_connect] = connects;
    make(policy)?;

    let mut scene = Scene {
        netns: namespace.inode()?,
        emit,
    };
    let denied = View::request("denied", true);
    let granted = View::request("cookie-granted", true);
    play(&mut scene, "denied", &no_data_connect, denied, granted)?;
    for (name, option) in [
        ("denied-quickack-off", ClientOption::QuickAckOff),
        ("denied-defer-accept", ClientOption::DeferAccept),
    ] {
        let connect = Connect {
            options: vec![option],
            ..no_data_connect.clone()
        };
        play(&mut scene, name, &connect, denied, granted)?;
    }
    play(&mut scene, "denied-v6", &v6_connect, denied, granted)?;
    // The observer records what left the host: without the request, which was stripped after the client's stack.
    let (client, server) = (View::bare("denied"), View::bare("plain"));
    play(&mut scene, "denied-strip", &strip_connect, client, server)?;

    // Without a listener, each SYN with data is answered by RST.
    drop(guarded);
    for _ in 0..REFUSED {
        refused(&guarded_connect)?;
    }
    Ok(())
}

fn make(policy: &[String]) -> Result<()> {
    let Some((program, args)) = policy.split_first() else {
        bail!("no command that makes the policy");
    };
    let status = Command::new(program)
        .args(args)
        .status()
        .with_context(|| format!("{program}: starting it"))?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

fn play(
    scene: &mut Scene<'_>,
    name: &'static str,
    connect: &Connect,
    client: View,
    server: View,
) -> Result<()> {
    let report = scene.play(name, connect, client, server)?;
    let first = Duration::from_micros(report.first_byte_us.unwrap_or(u64::MAX));
    // An emulated machine may stand still; only after a SYN timeout has the SYN been sent again.
    let sent_again = report.tcp_info.is_none_or(|info| info.total_retrans > 0);
    ensure!(first < LATE || !sent_again, "{name}: the answer took {first:?}");
    Ok(())
}

fn refused(connect: &Connect) -> Result<()> {
    let report = connect.run()?;
    ensure!(
        report.error.as_deref() == Some("ECONNREFUSED"),
        "{} was expected to refuse: {report:?}",
        connect.target
    );
    Ok(())
}
