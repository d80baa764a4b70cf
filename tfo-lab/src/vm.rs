//! Scenarios for a throwaway VM: they use the loopback of the namespace that the process is in, and need nothing but a
//! kernel and `/proc`.

pub mod denied;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::{
    client::{Api, Connect, Report},
    netns::{Namespace, loopback},
    scenario::{Connection, View},
    server::{Keys, Listen, Server},
};

const SYSCTL: &str = "/proc/sys/net/ipv4/tcp_fastopen";
const PAYLOAD: usize = 300;
const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A connection of a VM scenario.
#[derive(Clone, Debug, Serialize)]
pub struct VmConnection {
    /// Name of the scenario.
    pub scenario: &'static str,
    /// Inode of the namespace both ends are in.
    pub netns: u64,
    /// The connection and its expected records.
    #[serde(flatten)]
    pub connection: Connection,
}

/// Sets `lo` up and switches TFO on in the current namespace. This changes the machine, so it is only for throwaway VMs.
pub fn prepare() -> Result<()> {
    loopback::bring_up()?;
    fs::write(SYSCTL, "3").with_context(|| format!("{SYSCTL}: writing 3"))
}

/// Makes the connections one after the other and passes each to `emit`. No cookies may be cached before.
pub fn run(emit: Emit<'_>) -> Result<()> {
    let setting = fs::read_to_string(SYSCTL).with_context(|| format!("{SYSCTL}: reading it"))?;
    let bits: u32 = setting
        .trim()
        .parse()
        .with_context(|| format!("{SYSCTL}: not a number"))?;
    ensure!(
        bits & 3 == 3,
        "{SYSCTL} is {bits}, needs 3; in a throwaway VM `--i-am-a-throwaway-vm` sets it"
    );
    let namespace = Namespace::current()?;
    let mut scene = Scene {
        netns: namespace.inode()?,
        emit,
    };
    ipv4(&namespace, &mut scene)?;
    ipv6(&namespace, &mut scene)
}

fn ipv4(namespace: &Namespace, scene: &mut Scene<'_>) -> Result<()> {
    let listen = Listen {
        keys: Keys::One(*b"the first key 16"),
        ..listen(V4)
    };
    let granting = Server::start(namespace, &listen)?;
    let other = Server::start(
        namespace,
        &Listen {
            keys: Keys::One(*b"another key 16 b"),
            ..listen.clone()
        },
    )?;
    let refusing = Server::start(
        namespace,
        &Listen {
            fast_open: None,
            ..listen
        },
    )?;
    let granted = View::request("cookie-granted", true);
    let taken = View::cookie("accepted", PAYLOAD, PAYLOAD);
    let rejected = View::cookie("cookie-rejected", PAYLOAD, 0).with_new_cookie();
    let connect = |server: &Server| Connect::new(server.address(), PAYLOAD);

    scene.play("cookie-granted", &connect(&granting), granted, granted)?;
    scene.play("accepted", &connect(&granting), taken, taken)?;
    let deferred = Connect {
        api: Api::FastopenConnect,
        blocking: false,
        ..connect(&granting)
    };
    scene.play("accepted-deferred", &deferred, taken, taken)?;
    let (client, server) = (
        View::cookie("data-refused", PAYLOAD, 0),
        View::cookie("not-enabled", PAYLOAD, 0),
    );
    scene.play("data-refused", &connect(&refusing), client, server)?;
    scene.play("cookie-rejected", &connect(&other), rejected, rejected)?;
    let plain = Connect {
        api: Api::Plain,
        ..connect(&granting)
    };
    scene.play("plain", &plain, View::bare("plain"), View::bare("plain"))?;
    Ok(())
}

fn ipv6(namespace: &Namespace, scene: &mut Scene<'_>) -> Result<()> {
    let server = Server::start(namespace, &listen(V6))?;
    let granted = View::request("cookie-granted", true);
    let taken = View::cookie("accepted", PAYLOAD, PAYLOAD);
    let connect = Connect::new(server.address(), PAYLOAD);
    scene.play("cookie-granted-v6", &connect, granted, granted)?;
    scene.play("accepted-v6", &connect, taken, taken)?;
    Ok(())
}

fn listen(ip: IpAddr) -> Listen {
    Listen::new(SocketAddr::new(ip, 0))
}

/// Receives every connection.
pub type Emit<'a> = &'a mut dyn FnMut(&VmConnection) -> Result<()>;

struct Scene<'a> {
    netns: u64,
    emit: Emit<'a>,
}

impl Scene<'_> {
    fn play(
        &mut self,
        scenario: &'static str,
        connect: &Connect,
        client: View,
        server: View,
    ) -> Result<Report> {
        let report = connect.run().with_context(|| format!("scenario {scenario}"))?;
        ensure!(report.reply_matched, "scenario {scenario}: no echo: {report:?}");
        let connection = Connection {
            priming: false,
            tfo_requested: connect.api != Api::Plain,
            family: if connect.target.is_ipv4() { 4 } else { 6 },
            payload: connect.payload,
            client,
            server: Some(server),
            report: report.clone(),
        };
        (self.emit)(&VmConnection {
            scenario,
            netns: self.netns,
            connection,
        })?;
        Ok(report)
    }
}
