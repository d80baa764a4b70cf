//! Host names of addresses: from `/etc/hosts`, else asked for over DNS, many at a time, on the runtime.
//!
//! Not `getnameinfo`: the static binary has no name service switch.

use std::{
    collections::HashMap,
    fs,
    net::IpAddr,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    time::Duration,
};

use domain::resolv::stub::{StubResolver, conf::ResolvConf};
use tokio::{runtime::Handle, sync::Semaphore, time::timeout};

use crate::runtime;

/// How long an answer may take, with every repetition. Nobody waits for it: the address is shown meanwhile.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Questions under way at once. The others wait their turn.
const AT_ONCE: usize = 64;
/// Longest name there is (RFC 1035, section 3.1).
const LONGEST: usize = 255;

/// Answers as they come: the address, and its name if it has one.
type Answer = (IpAddr, Option<String>);

/// Asks name servers.
pub struct Resolver {
    runtime: Handle,
    shared: Arc<Shared>,
    answered: Sender<Answer>,
    answers: Receiver<Answer>,
}

struct Shared {
    hosts: HashMap<IpAddr, String>,
    stub: StubResolver,
    turns: Semaphore,
}

impl Resolver {
    /// One that asks the servers of `/etc/resolv.conf`; the host itself where there is none, as in resolver(5).
    pub fn start() -> anyhow::Result<Self> {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        Self::with(&hosts, ResolvConf::default())
    }

    fn with(hosts: &str, servers: ResolvConf) -> anyhow::Result<Self> {
        let (answered, answers) = channel();
        Ok(Self {
            runtime: runtime::handle()?,
            shared: Arc::new(Shared {
                hosts: read_hosts(hosts),
                stub: StubResolver::from_conf(servers),
                turns: Semaphore::new(AT_ONCE),
            }),
            answered,
            answers,
        })
    }

    /// Asks for a name.
    pub fn ask(&self, ip: IpAddr) {
        let (shared, answered) = (Arc::clone(&self.shared), self.answered.clone());
        self.runtime.spawn(async move {
            let name = shared.name(ip).await;
            // Who does not listen any more does not want to know.
            let _ = answered.send((ip, name));
        });
    }

    /// Answers that have come.
    pub fn found(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }
}

impl Shared {
    async fn name(&self, ip: IpAddr) -> Option<String> {
        if let Some(name) = self.hosts.get(&ip) {
            return Some(name.clone());
        }
        let _turn = self.turns.acquire().await.ok()?;
        let found = timeout(TIMEOUT, self.stub.lookup_addr(ip)).await.ok()?.ok()?;
        let name = found.iter().next()?;
        plain(name.to_string())
    }
}

/// Names of hosts are letters, digits, hyphens; whatever else stands in an answer could steer a terminal.
fn plain(name: String) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_good = !name.is_empty() && name.len() <= LONGEST && name != "." && name.bytes().all(is_plain);
    is_good.then_some(name)
}

/// The first name of each address, as in hosts(5).
fn read_hosts(hosts: &str) -> HashMap<IpAddr, String> {
    let mut names = HashMap::new();
    for line in hosts.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(Ok(ip)), Some(name)) = (words.next().map(str::parse), words.next()) {
            names.entry(ip).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests;
