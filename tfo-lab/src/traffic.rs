//! Continuous mixed traffic for the demo: services for which TFO works beside services for which it does not.
//!
//! | clients (cgroup) | server (cgroup) | what an observer sees |
//! |---|---|---|
//! | `shop` | `web`, IPv4 and IPv6 | TFO works |
//! | `billing` | `db` | the path drops SYN data: one second each time |
//! | `gateway` | `api`, two ports with different keys | the cookie is rejected every time |
//! | `reports` | `legacy` | the listener has no TFO |
//! | `batch` | `web` | plain connections |

pub mod cgroup;
mod clients;
mod stop;

use std::net::{IpAddr, SocketAddr};

use anyhow::Result;
use cgroup::CgroupTree;
use clients::Clients;
pub use clients::Tally;
use serde::Serialize;
use stop::Stop;

use crate::{
    client::{Api, Connect},
    lab::{Lab, server_v4, server_v6},
    middlebox::{Effect, Middlebox, Rule},
    server::{Keys, Listen, Reply, Server},
};

const REQUEST: usize = 400;
const REPLY: usize = 2000;

/// Running traffic; dropping it ends it. The fields are dropped in their order: clients first.
#[derive(Debug)]
pub struct Traffic {
    clients: Vec<Clients>,
    _path: Middlebox,
    _servers: Vec<Server>,
    cgroups: Option<CgroupTree>,
    without_cgroups: Option<String>,
}

impl Traffic {
    /// Starts servers and clients in `lab`.
    pub fn start(lab: &Lab) -> Result<Self> {
        // Without cgroups the traffic is the same, only the services cannot be told apart.
        let (cgroups, without_cgroups) = match CgroupTree::create(&format!("tfo-lab{}", lab.tag())) {
            Ok(tree) => (Some(tree), None),
            Err(error) => (None, Some(format!("{error:#}"))),
        };
        let mut builder = TrafficBuilder {
            lab,
            cgroups: cgroups.as_ref(),
            servers: Vec::new(),
            clients: Vec::new(),
        };
        let path = builder.start_all()?;
        let TrafficBuilder { servers, clients, .. } = builder;
        Ok(Self {
            clients,
            _path: path,
            _servers: servers,
            cgroups,
            without_cgroups,
        })
    }

    /// Why services do not have cgroups of their own; `None` if they do.
    pub fn without_cgroups(&self) -> Option<&str> {
        self.without_cgroups.as_deref()
    }

    /// Directory of the services' cgroups; `None` if they have none.
    pub fn cgroup_directory(&self) -> Option<&std::path::Path> {
        self.cgroups.as_ref().map(CgroupTree::path)
    }

    /// The connections that each client service has made so far.
    pub fn tallies(&self) -> Vec<ServiceTally> {
        let tally = |clients: &Clients| ServiceTally {
            service: clients.name(),
            tally: clients.tally(),
        };
        self.clients.iter().map(tally).collect()
    }
}

/// The connections of one client service.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceTally {
    /// Name of the service, and of its cgroup.
    pub service: &'static str,
    /// Connections and errors.
    #[serde(flatten)]
    pub tally: Tally,
}

/// The servers and clients that have been started so far.
struct TrafficBuilder<'lab> {
    lab: &'lab Lab,
    cgroups: Option<&'lab CgroupTree>,
    servers: Vec<Server>,
    clients: Vec<Clients>,
}

impl TrafficBuilder<'_> {
    fn start_all(&mut self) -> Result<Middlebox> {
        let web = self.server("web", &listen(server_v4(0), 443))?;
        let web6 = self.server("web", &listen(server_v6(0), 443))?;
        let db = self.server("db", &listen(server_v4(1), 5432))?;
        let first = Listen {
            keys: Keys::One(*b"key of backend 1"),
            ..listen(server_v4(2), 8443)
        };
        let second = Listen {
            keys: Keys::One(*b"key of backend 2"),
            ..listen(server_v4(2), 8444)
        };
        let api = [self.server("api", &first)?, self.server("api", &second)?];
        let legacy = self.server(
            "legacy",
            &Listen {
                fast_open: None,
                ..listen(server_v4(3), 8080)
            },
        )?;
        // Shares its address with a TFO listener, as behind one virtual address: clients hold a
        // cookie and send data that is refused.
        let neighbour = self.server("legacy", &listen(server_v4(3), 8081))?;

        connect(neighbour).run_in(self.lab.client())?;
        let drop_data = Rule::new(Effect::DropSynData, db.ip()).port(db.port());
        let path = Middlebox::on_path(self.lab, &drop_data)?;

        self.clients("shop", 1, 100, vec![connect(web), deferred(web), connect(web6)])?;
        self.clients("billing", 3, 400, vec![connect(db)])?;
        self.clients("gateway", 1, 200, api.map(connect).to_vec())?;
        self.clients("reports", 1, 200, vec![deferred(legacy)])?;
        self.clients(
            "batch",
            1,
            250,
            vec![Connect {
                api: Api::Plain,
                ..connect(web)
            }],
        )?;
        Ok(path)
    }

    fn server(&mut self, service: &'static str, listen: &Listen) -> Result<SocketAddr> {
        let listen = Listen {
            name: service.to_owned(),
            ..listen.clone()
        };
        let server = cgroup::within(self.cgroups, service, || {
            Server::start(self.lab.server(), &listen)
        })?;
        let address = server.address();
        self.servers.push(server);
        Ok(address)
    }

    /// Starts `threads` clients that make the connections in turn, with a pause of `period_ms` after each.
    fn clients(
        &mut self,
        service: &'static str,
        threads: usize,
        period_ms: u64,
        connects: Vec<Connect>,
    ) -> Result<()> {
        let clients = cgroup::within(self.cgroups, service, || {
            Clients::start(self.lab.client(), service, threads, period_ms, connects)
        })?;
        self.clients.push(clients);
        Ok(())
    }
}

fn listen(ip: IpAddr, port: u16) -> Listen {
    Listen {
        reply: Reply::Bytes(REPLY),
        ..Listen::new(SocketAddr::new(ip, port))
    }
}

fn connect(target: SocketAddr) -> Connect {
    Connect {
        reply: REPLY,
        ..Connect::new(target, REQUEST)
    }
}

fn deferred(target: SocketAddr) -> Connect {
    Connect {
        api: Api::FastopenConnect,
        ..connect(target)
    }
}
