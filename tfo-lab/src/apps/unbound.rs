//! The resolver unbound, which Debian builds with TCP Fast Open at both ends (`unbound -V`): one instance answers for a
//! zone, another forwards to it over TCP, with a new connection for each query.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::daemon::{Daemon, LOG};
use crate::{lab::Lab, netns::Namespace, undisturbed::undisturbed};

/// The zone; every name in it has the same address.
const ZONE: &str = "lab.";
/// How long a query waits for its response: longer than a few SYN timeouts, shorter than unbound itself tries.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// The record type of an IPv4 address (RFC 1035, section 3.2.2).
const A: u16 = 1;
/// The class of the Internet (RFC 1035, section 3.2.4).
const IN: u16 = 1;
/// The response code without an error, in the low four bits of the fourth byte (RFC 1035, section 4.1.1).
const NOERROR: u8 = 0;

/// A running unbound.
#[derive(Debug)]
pub struct Unbound(Daemon);

impl Unbound {
    /// Starts an unbound in the server's namespace that answers `answer` for every name that ends with `.lab`.
    pub fn server(lab: &Lab, address: SocketAddr, answer: Ipv4Addr) -> Result<Self> {
        let zone = format!("  local-zone: \"{ZONE}\" redirect\n  local-data: \"{ZONE} 60 IN A {answer}\"\n");
        Self::start(lab.server(), address, &zone, "")
    }

    /// Starts an unbound in the client's namespace that forwards queries to `upstream` over TCP. It caches responses, so
    /// each test should ask for a new name.
    pub fn forwarder(lab: &Lab, address: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        // `transparent`: unbound would not forward names of a zone that it treats as special. No connection is reused.
        let settings = format!(
            "  tcp-upstream: yes\n  max-reuse-tcp-queries: 0\n  tcp-reuse-timeout: 0\n  \
             local-zone: \"{ZONE}\" transparent\n"
        );
        let zone = format!(
            "forward-zone:\n  name: \".\"\n  forward-addr: {}@{}\n",
            upstream.ip(),
            upstream.port()
        );
        Self::start(lab.client(), address, &settings, &zone)
    }

    fn start(namespace: &Namespace, address: SocketAddr, settings: &str, zones: &str) -> Result<Self> {
        Daemon::start("unbound", namespace, address, |directory| {
            let config = configuration(directory, address, settings, zones);
            (config, Command::new("unbound"))
        })
        .map(Self)
    }

    /// The address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.0.address()
    }
}

fn configuration(directory: &Path, address: SocketAddr, settings: &str, zones: &str) -> String {
    let (ip, port, directory) = (address.ip(), address.port(), directory.display());
    format!(
        "server:\n  directory: \"{directory}\"\n  chroot: \"\"\n  username: \"\"\n  pidfile: \"\"\n  \
         use-syslog: no\n  logfile: \"{LOG}\"\n  do-daemonize: no\n  num-threads: 1\n  \
         interface: {ip}\n  port: {port}\n  access-control: 0.0.0.0/0 allow\n  access-control: ::/0 allow\n  \
         module-config: \"iterator\"\n{settings}remote-control:\n  control-enable: no\n{zones}"
    )
}

/// Asks a resolver for the address of a name, by UDP from the client's namespace.
pub fn ask(lab: &Lab, resolver: SocketAddr, name: &str) -> Result<Ipv4Addr> {
    let question = question(name);
    let answer = lab.in_client(|| {
        let any: IpAddr = if resolver.is_ipv4() {
            Ipv4Addr::UNSPECIFIED.into()
        } else {
            std::net::Ipv6Addr::UNSPECIFIED.into()
        };
        let socket = UdpSocket::bind((any, 0)).context("DNS question: opening a socket")?;
        socket
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .context("DNS question")?;
        socket.connect(resolver).context("DNS question")?;
        socket.send(&question).context("DNS question: sending it")?;
        let mut answer = vec![0; 512];
        let length = undisturbed(|| {
            let answered = socket.recv(&mut answer);
            answered.with_context(|| format!("DNS question for {name}: no answer"))
        })?;
        answer.truncate(length);
        Ok(answer)
    })?;
    address_in(&question, &answer)
}

/// A query for the address of a name, with recursion desired.
fn question(name: &str) -> Vec<u8> {
    let mut message = vec![0x47, 0x11, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.trim_end_matches('.').split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&A.to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    message
}

/// The address in a response to `question` that has exactly one.
fn address_in(question: &[u8], answer: &[u8]) -> Result<Ipv4Addr> {
    // A pointer to the name, type, class, time to live, length.
    const RECORD: usize = 2 + 2 + 2 + 4 + 2 + 4;
    let context = || format!("DNS answer {answer:02x?} to {question:02x?}");
    ensure!(
        answer.len() >= question.len() + RECORD
            && answer[..2] == question[..2]
            && answer[3] % 16 == NOERROR
            && answer[6..8] == [0, 1]
            && answer[12..question.len()] == question[12..],
        "{}: not one address",
        context()
    );
    let record = &answer[question.len()..question.len() + RECORD];
    ensure!(
        record[2..4] == A.to_be_bytes() && record[10..12] == [0, 4],
        "{}: not an address",
        context()
    );
    Ok(Ipv4Addr::new(record[12], record[13], record[14], record[15]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whatever_it_is() {
        let asked = question("a.lab");
        assert_eq!(asked[12..19], *b"\x01a\x03lab\0");
        let mut answer = asked.clone();
        answer[2..8].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1]);
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
        assert_eq!(address_in(&asked, &answer).unwrap(), Ipv4Addr::new(192, 0, 2, 7));
        for length in 0..answer.len() {
            assert!(address_in(&asked, &answer[..length]).is_err(), "{length}");
        }
        answer[3] |= 2;
        assert!(address_in(&asked, &answer).is_err(), "SERVFAIL");
    }
}
