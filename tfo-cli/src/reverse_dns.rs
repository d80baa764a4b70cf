//! Host names of addresses, asked for in a thread of its own.
//!
//! A small resolver instead of `getnameinfo`: the static binary has no name service switch, and one question
//! to one server is all there is to do.

mod message;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::Duration,
};

use anyhow::Context as _;

/// How long an answer may take. Nobody waits for it.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Answers as they come: the address, and its name if it has one.
type Answer = (IpAddr, Option<String>);

/// The thread.
pub struct Resolver {
    questions: Sender<IpAddr>,
    answers: Receiver<Answer>,
}

impl Resolver {
    /// Starts it. It ends with the resolver.
    pub fn start() -> anyhow::Result<Self> {
        let (questions, asked) = channel();
        let (answered, answers) = channel();
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        let server = nameserver(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
        thread::Builder::new()
            .name("names".into())
            .spawn(move || {
                for ip in asked {
                    let name = in_hosts(&hosts, ip).or_else(|| ask(server, ip).ok().flatten());
                    if answered.send((ip, name)).is_err() {
                        return;
                    }
                }
            })
            .context("start the thread for host names")?;
        Ok(Self { questions, answers })
    }

    /// Asks for a name. Nothing to do when the thread is gone: addresses stay addresses.
    pub fn ask(&self, ip: IpAddr) {
        let _ = self.questions.send(ip);
    }

    /// Answers that have come.
    pub fn found(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}

/// The first server of `resolv.conf`; the host itself where there is none, as in resolver(5).
fn nameserver(resolv_conf: &str) -> SocketAddr {
    let servers = resolv_conf.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok())?
    });
    let ip = servers.into_iter().next().unwrap_or(Ipv4Addr::LOCALHOST.into());
    SocketAddr::new(ip, 53)
}

fn in_hosts(hosts: &str, wanted: IpAddr) -> Option<String> {
    hosts.lines().find_map(|line| {
        let mut words = line.split('#').next()?.split_whitespace();
        (words.next()?.parse::<IpAddr>() == Ok(wanted)).then(|| words.next().map(str::to_owned))?
    })
}

fn ask(server: SocketAddr, ip: IpAddr) -> std::io::Result<Option<String>> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    // A new port for every question: an answer that was guessed has to guess that too.
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    let id = socket.local_addr()?.port() ^ 0x5a5a;
    socket.send(&message::question(id, ip))?;
    let mut answer = [0; 1_500];
    let length = socket.recv(&mut answer)?;
    Ok(message::name(&answer[..length], id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_the_manual_says() {
        let conf = "# a comment\nsearch example.org\nnameserver 192.0.2.53\nnameserver 192.0.2.54\n";
        assert_eq!(nameserver(conf).to_string(), "192.0.2.53:53");
        assert_eq!(nameserver("").to_string(), "127.0.0.1:53");
        let hosts = "127.0.0.1 localhost\n::1 ip6-localhost # six\n192.0.2.1 db.example.org db\n";
        let name = |ip: &str| in_hosts(hosts, ip.parse().expect("a good address"));
        assert_eq!(name("192.0.2.1").as_deref(), Some("db.example.org"));
        assert_eq!(name("::1").as_deref(), Some("ip6-localhost"));
        assert_eq!(name("192.0.2.2"), None);
    }
}
