//! More at once than a small table holds: handshakes under way, and listeners. From every CPU, because LRU maps of the
//! kernel give each CPU entries of its own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use anyhow::{Result, ensure};
use serde::Serialize;

use crate::{
    client::{ClientOption, Connect, Connection},
    cpu::{cpus, on_cpu},
    netns::Namespace,
    server::{Listen, Server},
};

const PAYLOAD: usize = 50;
/// Seconds a server waits for data, more than any test takes.
const DEFER_ACCEPT_S: u32 = 120;

/// What was made.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Crowd {
    /// Handshakes that were under way at once, each of which asked for a cookie and was granted one.
    pub handshakes: u64,
    /// Listeners, each of which accepted the SYN data of one connection.
    pub listeners: u64,
    /// CPUs that took part.
    pub cpus: usize,
}

/// Makes both on the loopback of the calling thread's namespace, in which no cookies may be cached.
///
/// # Errors
/// A connection that was not answered, or did not end as it should.
pub fn run(handshakes: u32, listeners: u32) -> Result<Crowd> {
    let cpus = cpus()?;
    let namespace = Namespace::current()?;
    wait_for_data(&namespace, handshakes, &cpus)?;
    accept_each(&namespace, listeners, &cpus)?;
    Ok(Crowd {
        handshakes: handshakes.into(),
        listeners: listeners.into(),
        cpus: cpus.len(),
    })
}

/// The server drops last ACKs until data comes (`TCP_DEFER_ACCEPT`), so that every handshake is under way until the last
/// one has begun. Each goes to an address of its own, whose cookie is not known.
fn wait_for_data(namespace: &Namespace, count: u32, cpus: &[usize]) -> Result<()> {
    let server = Server::start(
        namespace,
        &Listen {
            defer_accept: Some(DEFER_ACCEPT_S),
            backlog: 4_096,
            ..Listen::new((Ipv4Addr::UNSPECIFIED, 0).into())
        },
    )?;
    let port = server.address().port();
    let mut open = Vec::new();
    for index in 0..count {
        let connect = Connect {
            blocking: false,
            reset_on_close: true,
            ..Connect::new(SocketAddr::new(address(index), port), PAYLOAD)
        };
        open.push(on_cpu(cpus[index as usize % cpus.len()], move || connect.open())?);
    }
    for (index, connection) in open.into_iter().enumerate() {
        on_cpu(cpus[index % cpus.len()], move || end(connection))?;
    }
    Ok(())
}

/// One connection with SYN data to each of so many listeners, all of which are there until the end.
fn accept_each(namespace: &Namespace, count: u32, cpus: &[usize]) -> Result<()> {
    let mut servers = Vec::new();
    for index in 0..count {
        let server = Server::start(
            namespace,
            &Listen {
                no_cookie: true,
                ..Listen::new((Ipv4Addr::LOCALHOST, 0).into())
            },
        )?;
        let connect = Connect {
            options: vec![ClientOption::NoCookie],
            reset_on_close: true,
            ..Connect::new(server.address(), PAYLOAD)
        };
        on_cpu(cpus[index as usize % cpus.len()], move || end(connect.open()?))?;
        servers.push(server);
    }
    Ok(())
}

/// Exchanges data and closes.
fn end(mut connection: Connection) -> Result<()> {
    connection.exchange()?;
    let report = connection.close()?;
    ensure!(report.reply_matched, "no echo: {report:?}");
    Ok(())
}

/// A loopback address of its own for each index below 62,500.
fn address(index: u32) -> IpAddr {
    let [_, _, high, low] = (index / 250 * 256 + index % 250 + 1).to_be_bytes();
    Ipv4Addr::new(127, 1, high, low).into()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_handshake_has_an_address_of_its_own() {
        let all: HashSet<IpAddr> = (0..62_500).map(address).collect();
        assert_eq!(all.len(), 62_500);
        assert_eq!(
            [0, 249, 250].map(|index| address(index).to_string()),
            ["127.1.0.1", "127.1.0.250", "127.1.1.1"]
        );
    }
}
