//! Crossed SYNs: two sockets that connect to each other (RFC 9293 section 3.5, "simultaneous connection").
//!
//! For certain, not by luck: SYNs of the first never arrive, so that the second one's SYN meets a socket which has sent its
//! own. What the first makes of it is the crossed handshake; the second is answered by a SYN-ACK, as by a listener.

use std::{
    net::SocketAddr,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::{
    client::{Api, Connect, Connection, Report, Source},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

/// How long the first SYN may take to leave.
const DEADLINE: Duration = Duration::from_secs(10);

/// One of the two sockets.
#[derive(Clone, Copy, Debug)]
pub struct End {
    /// Its own address and port.
    pub address: SocketAddr,
    /// How it connects.
    pub api: Api,
    /// Bytes it has for the SYN.
    pub payload: usize,
}

impl End {
    /// The connection from here to `peer`.
    pub fn connect(&self, peer: SocketAddr) -> Connect {
        Connect {
            api: self.api,
            source: Source::Bound(self.address),
            reply: 0,
            reset_on_close: true,
            ..Connect::new(peer, self.payload)
        }
    }
}

/// Has `first`, in the server's namespace, and `second`, in the client's, connect to each other. Returns what they did, in
/// this order, when both are established and closed again.
///
/// # Errors
/// A call that failed, and a connection that was not established.
pub fn cross(lab: &Lab, first: &End, second: &End) -> Result<[Report; 2]> {
    let rule = Rule::new(Effect::DropSyn, second.address.ip()).port(second.address.port());
    let path = Middlebox::before(lab.client(), &rule)?;
    let (one, other) = (first.connect(second.address), second.connect(first.address));
    thread::scope(|scope| {
        let one = scope.spawn(|| lab.in_server(|| one.open()));
        let other = await_hit(&path).and_then(|()| lab.in_client(|| other.open()));
        let one = one
            .join()
            .map_err(|_| anyhow!("the first socket's thread panicked"))?;
        Ok([established(one?)?, established(other?)?])
    })
}

/// Has a socket in the server's namespace connect to itself, which crosses its SYN with itself.
///
/// # Errors
/// As [`cross`].
pub fn cross_itself(lab: &Lab, end: &End) -> Result<Report> {
    established(lab.in_server(|| end.connect(end.address).open())?)
}

fn established(connection: Connection) -> Result<Report> {
    let report = connection.close()?;
    ensure!(report.established(), "not established: {report:?}");
    Ok(report)
}

/// Waits until the first SYN was dropped.
fn await_hit(path: &Middlebox) -> Result<()> {
    let deadline = Instant::now() + DEADLINE;
    while path.hits().context("crossed SYNs: counting those of the first")? == 0 {
        ensure!(Instant::now() < deadline, "crossed SYNs: the first never left");
        thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
