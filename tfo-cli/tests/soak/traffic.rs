//! Connections, counted by the kernel of the namespaces they are made in.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::AddAssign,
    path::Path,
};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect},
    load::{Limit, Load},
    mib::Mib,
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::sandbox::Sandbox;

/// What was made so far, by the kernel's own counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Made {
    pub clients: u64,
    pub servers: u64,
}

impl AddAssign for Made {
    fn add_assign(&mut self, other: Self) {
        self.clients += other.clients;
        self.servers += other.servers;
    }
}

/// A burst in a namespace and a cgroup of its own, both gone afterwards. The kinds take turns: Fast Open over IPv4
/// and IPv6, and plain.
pub fn burst(sandbox: &Sandbox, round: u64, connections: u64) -> Result<Made> {
    let load = Load {
        fast_open: round % 3 != 2,
        v6: round % 3 == 1,
        ..Load::new(Limit::Connections(connections))
    };
    let cgroup = format!("burst-{round}");
    let report = sandbox.within(&cgroup, || load.run())?;
    // The thread that was in it may be a moment from its end; the sandbox takes along what is left.
    let _ = fs::remove_dir(sandbox.child(&cgroup));
    ensure!(
        report.errors == 0 && report.connections == connections,
        "{report:?}"
    );
    Ok(Made {
        clients: report.active_opens + report.primes,
        servers: report.passive_opens + report.primes,
    })
}

/// A server on every address of the loopback of a namespace of its own, to which there are many destinations.
pub struct Destinations {
    namespace: Namespace,
    server: Server,
    next: u32,
}

impl Destinations {
    pub fn start() -> Result<Self> {
        let namespace = Namespace::anonymous("soak")?;
        namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
        let listen = Listen::new((Ipv4Addr::UNSPECIFIED, 0).into());
        let server = Server::start(&namespace, &listen)?;
        Ok(Self {
            namespace,
            server,
            next: 0,
        })
    }

    /// Connects twice to each of the next `count` addresses out of 127.7.0.0/16: with a cookie or where a rule says
    /// otherwise, every reply must come.
    pub fn visit(&mut self, count: u32) -> Result<()> {
        for _ in 0..count {
            let [_, _, high, low] = self.next.to_be_bytes();
            self.next += 1;
            let target = SocketAddr::new(
                Ipv4Addr::new(127, 7, high, low).into(),
                self.server.address().port(),
            );
            for api in [Api::MsgFastopen, Api::FastopenConnect] {
                let connect = Connect {
                    api,
                    reset_on_close: true,
                    ..Connect::new(target, 100)
                };
                let report = connect.run_in(&self.namespace)?;
                ensure!(report.reply_matched, "{report:?}");
            }
        }
        Ok(())
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.next
    }

    /// What was made to them.
    pub fn made(&self) -> Result<Made> {
        let mib = Mib::read(&self.namespace)?;
        let counter = |name| mib.get(name).with_context(|| format!("no counter {name}"));
        Ok(Made {
            clients: counter("ActiveOpens")?,
            servers: counter("PassiveOpens")?,
        })
    }
}

/// Names of the network namespaces of this host that have one.
pub fn named_namespaces() -> Vec<String> {
    let entries = fs::read_dir(Path::new("/run/netns"))
        .into_iter()
        .flatten()
        .flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort_unstable();
    names
}
