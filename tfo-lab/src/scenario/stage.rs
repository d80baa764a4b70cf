//! What all scenarios share: starting servers, fetching cookies, connecting, and settings that are restored.

use std::{
    cell::Cell,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};

use super::{Connection, Params, View};
use crate::{
    client::{Api, Connect, Family, Report, Source},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    netns::Namespace,
    server::{Listen, Server},
};

/// Bytes of the payload, unless a scenario says otherwise: less than a segment.
pub const PAYLOAD: usize = 300;

/// A scenario that is running.
pub struct Stage<'lab> {
    pub lab: &'lab Lab,
    pub params: Params,
    connections: Vec<Connection>,
    listeners: Cell<u16>,
}

impl<'lab> Stage<'lab> {
    pub fn new(lab: &'lab Lab, params: Params) -> Self {
        Self {
            lab,
            params,
            connections: Vec::new(),
            listeners: Cell::new(0),
        }
    }

    pub fn into_connections(self) -> Vec<Connection> {
        self.connections
    }

    /// The server address that all scenarios use, as they run one after the other.
    pub fn server_ip(&self) -> IpAddr {
        if self.params.family == Family::V6 {
            lab::server_v6(0)
        } else {
            lab::server_v4(0)
        }
    }

    /// Client address number `index`.
    pub fn client_ip(&self, index: u8) -> IpAddr {
        if self.params.family == Family::V6 {
            lab::client_v6(index)
        } else {
            lab::client_v4(index)
        }
    }

    /// A listener with TFO, which the scenario may change before it starts it.
    pub fn listen(&self) -> Listen {
        let mut listen = Listen::on(self.server_ip(), self.params.family);
        if let Some(port) = self.params.first_port {
            listen
                .address
                .set_port(port + self.listeners.replace(self.listeners.get() + 1));
        }
        listen
    }

    pub fn serve(&self, listen: &Listen) -> Result<Server> {
        Server::start(self.lab.server(), listen)
    }

    /// A connection as the parameters say, which the scenario may change before it makes it.
    pub fn connect(&self, target: SocketAddr) -> Connect {
        Connect {
            family: self.params.family,
            api: self.params.api,
            blocking: self.params.blocking,
            ..Connect::new(target, PAYLOAD)
        }
    }

    /// The same from a bound socket, for connections that fail: otherwise a failed socket has lost its port.
    pub fn connect_bound(&self, target: SocketAddr) -> Connect {
        let source = Source::Bound(SocketAddr::new(self.client_ip(0), 0));
        Connect {
            source,
            ..self.connect(target)
        }
    }

    /// Puts a middlebox with `effect` on the path to `target`.
    pub fn path(&self, effect: Effect, target: SocketAddr) -> Result<Middlebox> {
        Middlebox::on_path(self.lab, &Rule::new(effect, target.ip()).port(target.port()))
    }

    /// Fetches a cookie from a Linux server.
    pub fn prime(&mut self, target: SocketAddr) -> Result<()> {
        let server = View::request("cookie-granted", true);
        self.prime_as(target, View::request("cookie-granted", true), Some(server))
    }

    /// Makes a connection that fetches a cookie, with these expectations.
    pub fn prime_as(&mut self, target: SocketAddr, client: View, server: Option<View>) -> Result<()> {
        let connect = Connect {
            family: self.params.family,
            ..Connect::new(target, PAYLOAD)
        };
        self.prime_by(&connect, client, server)
    }

    /// Makes this connection, which only prepares the scenario.
    pub fn prime_by(&mut self, connect: &Connect, client: View, server: Option<View>) -> Result<()> {
        let report = connect.run_in(self.lab.client())?;
        self.add(true, connect, client, server, report)
    }

    /// Makes the connection that the scenario is about.
    pub fn measure(&mut self, connect: &Connect, client: View, server: Option<View>) -> Result<()> {
        let report = connect.run_in(self.lab.client())?;
        self.add(false, connect, client, server, report)
    }

    /// Adds a connection to the result, after checking that it was established or not, as expected.
    pub fn add(
        &mut self,
        priming: bool,
        connect: &Connect,
        client: View,
        server: Option<View>,
        report: Report,
    ) -> Result<()> {
        ensure!(
            report.established() == client.established,
            "{} connection to {}: established {}, expected {} ({report:?})",
            client.outcome,
            connect.target,
            report.established(),
            client.established,
        );
        ensure!(
            report.local.is_some(),
            "connection to {}: own address unknown",
            connect.target
        );
        self.connections.push(Connection {
            priming,
            tfo_requested: connect.api != Api::Plain,
            family: self.params.wire_family(),
            payload: connect.payload,
            client,
            server,
            report,
        });
        Ok(())
    }
}

/// Changes a sysctl of a lab namespace until the returned value is dropped.
pub fn override_sysctl(namespace: &Namespace, name: &'static str, value: &str) -> Result<Restore> {
    let before = namespace
        .sysctl(name)?
        .with_context(|| format!("sysctl {name}: not in this kernel"))?;
    namespace.set_sysctl(name, value)?;
    Ok(Restore {
        namespace: namespace.clone(),
        name,
        before,
    })
}

/// Restores a sysctl when dropped.
#[derive(Debug)]
pub struct Restore {
    namespace: Namespace,
    name: &'static str,
    before: String,
}

impl Drop for Restore {
    fn drop(&mut self) {
        // When this fails, the namespace is gone, and the setting with it.
        let _ = self.namespace.set_sysctl(self.name, &self.before);
    }
}
