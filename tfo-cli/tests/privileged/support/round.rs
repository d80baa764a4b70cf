//! A round of connections whose records are known at both ends: one of every kind that only a primed listener shows.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect},
    lab::{self, Lab},
    server::{Listen, Server},
};

use super::flow::{Flow, Role, by_connection};

/// SYN data of every connection.
const PAYLOAD: usize = 120;

/// A listener with TFO and one without, on one address.
pub struct Pair {
    open: Server,
    closed: Server,
}

impl Pair {
    /// Starts both on service `index` of the lab.
    pub fn start(lab: &Lab, index: u8) -> Result<Self> {
        let listen = |fast_open| Listen {
            fast_open,
            ..Listen::new((lab::server_v4(index), 0).into())
        };
        Ok(Self {
            open: Server::start(lab.server(), &listen(Some(64)))?,
            closed: Server::start(lab.server(), &listen(None))?,
        })
    }

    /// Where the listener with TFO is.
    pub fn address(&self) -> SocketAddr {
        self.open.address()
    }

    /// Where the one without is.
    pub fn closed_address(&self) -> SocketAddr {
        self.closed.address()
    }
}

/// A connection that was made, and the outcomes its two records must have.
#[derive(Debug)]
pub struct Made {
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub client: &'static str,
    pub server: &'static str,
}

/// Connections of one [`round`].
pub const PER_ROUND: usize = 5;

/// A cookie asked for, used, refused and not used at all.
pub fn round(lab: &Lab, pair: &Pair) -> Result<Vec<Made>> {
    let mut made = Vec::new();
    let mut connect = |server: &Server, api, client, outcome| -> Result<()> {
        let connect = Connect {
            api,
            reset_on_close: true,
            ..Connect::new(server.address(), PAYLOAD)
        };
        let report = connect.run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
        made.push(Made {
            local: report.local.context("own address unknown")?,
            remote: report.remote,
            client,
            server: outcome,
        });
        Ok(())
    };
    lab.client().flush_tcp_metrics()?;
    connect(&pair.closed, Api::MsgFastopen, "cookie-refused", "not-enabled")?;
    lab.client().flush_tcp_metrics()?;
    connect(&pair.open, Api::MsgFastopen, "cookie-granted", "cookie-granted")?;
    connect(&pair.open, Api::FastopenConnect, "accepted", "accepted")?;
    connect(&pair.closed, Api::MsgFastopen, "data-refused", "not-enabled")?;
    connect(&pair.open, Api::Plain, "plain", "plain")?;
    ensure!(made.len() == PER_ROUND, "{made:?}");
    Ok(made)
}

/// What is wrong with the records of these connections: each must have exactly one per end.
pub fn differences(lab: &Lab, made: &[Made], flows: &[Flow]) -> Result<Vec<String>> {
    let found = by_connection(flows);
    let (client, server) = (lab.client().inode()?, lab.server().inode()?);
    let mut problems = Vec::new();
    for one in made {
        for (key, want) in [
            ((Some(client), Role::Client, one.local, one.remote), one.client),
            ((Some(server), Role::Server, one.remote, one.local), one.server),
        ] {
            let outcomes: Vec<_> = found
                .get(&key)
                .into_iter()
                .flatten()
                .map(|flow| flow.outcome.as_str())
                .collect();
            if outcomes != [want] {
                problems.push(format!("{:?} of {one:?}: {outcomes:?}", key.1));
            }
        }
    }
    Ok(problems)
}
