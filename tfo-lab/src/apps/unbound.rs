//! unbound, the resolver: Debian builds it with TCP Fast Open at both ends (`unbound -V`). One answers for a zone,
//! one forwards to it over TCP, a new connection for each question.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use super::daemon::{Daemon, LOG};
use crate::{lab::Lab, netns::Namespace, undisturbed::undisturbed};

/// Everything below it has one address.
const ZONE: &str = "lab.";
/// Longer than a few SYN timeouts; unbound itself gives up later.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Names and addresses of the Internet (RFC 1035).
const A: u16 = 1;
const IN: u16 = 1;
/// The response code of an answer, in the low four bits of its fourth byte.
const RIGHT: u8 = 0;

/// A running unbound.
#[derive(Debug)]
pub struct Unbound(Daemon);

impl Unbound {
    /// One in the server's namespace that knows `answer` for every name that ends with `.lab`.
    pub fn server(lab: &Lab, address: SocketAddr, answer: Ipv4Addr) -> Result<Self> {
        let zone = format!("  local-zone: \"{ZONE}\" redirect\n  local-data: \"{ZONE} 60 IN A {answer}\"\n");
        Self::start(lab.server(), address, &zone, "")
    }

    /// One in the client's namespace that asks `upstream` over TCP. Answers are kept, so ask it for new names.
    pub fn forwarder(lab: &Lab, address: SocketAddr, upstream: SocketAddr) -> Result<Self> {
        // The zone is special to it (RFC 6761 has such names), and connections are not kept for the next question.
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

    /// Where it listens.
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

/// A question with recursion desired.
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

/// The address in an answer that has exactly one: it repeats the question, and its last four bytes are the address.
fn address_in(question: &[u8], answer: &[u8]) -> Result<Ipv4Addr> {
    // A pointer to the name, type, class, time to live, length.
    const RECORD: usize = 2 + 2 + 2 + 4 + 2 + 4;
    let known = || format!("DNS answer {answer:02x?} to {question:02x?}");
    ensure!(
        answer.len() >= question.len() + RECORD
            && answer[..2] == question[..2]
            && answer[3] % 16 == RIGHT
            && answer[6..8] == [0, 1]
            && answer[12..question.len()] == question[12..],
        "{}: not one address",
        known()
    );
    let record = &answer[question.len()..question.len() + RECORD];
    ensure!(
        record[2..4] == A.to_be_bytes() && record[10..12] == [0, 4],
        "{}: not an address",
        known()
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
