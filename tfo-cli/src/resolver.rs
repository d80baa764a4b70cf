//! Host names of addresses and addresses of host names: from `/etc/hosts`, otherwise over DNS.
//!
//! `getnameinfo` and `getaddrinfo` cannot be used, because a static binary has no name service switch.

mod lookups;

use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr as _,
};

use domain::{
    base::{Name, RelativeName},
    resolv::stub::{StubResolver, conf::ResolvConf},
};

pub use self::lookups::Lookups;

/// Longest host name, in bytes (RFC 1035, section 3.1).
const MAX_NAME_LEN: usize = 255;

/// The names of `/etc/hosts`, and the name servers for all others.
pub struct Resolver {
    /// Names of `/etc/hosts`, by address.
    names: HashMap<IpAddr, String>,
    /// Addresses of `/etc/hosts`, by name in lower case.
    addresses: HashMap<String, Vec<IpAddr>>,
    /// Asks the name servers.
    stub: StubResolver,
}

impl Resolver {
    /// A resolver that asks the name servers of `/etc/resolv.conf`, or one on this host where that file names none, as
    /// resolver(5) says.
    pub fn of_the_system() -> Self {
        let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
        Self::new(&hosts, ResolvConf::default())
    }

    fn new(hosts: &str, servers: ResolvConf) -> Self {
        let mut resolver = Self {
            names: HashMap::new(),
            addresses: HashMap::new(),
            stub: StubResolver::from_conf(servers),
        };
        for (ip, names) in read_hosts(hosts) {
            for name in &names {
                let addresses = resolver.addresses.entry(name.to_ascii_lowercase()).or_default();
                addresses.push(ip);
            }
            if let Some(first) = names.into_iter().next() {
                resolver.names.entry(ip).or_insert(first);
            }
        }
        resolver
    }

    /// The name of an address; `None` when it has none, no server answers, or the name is not safe to print.
    pub async fn name(&self, ip: IpAddr) -> Option<String> {
        if let Some(name) = self.names.get(&ip) {
            return Some(name.clone());
        }
        let found = self.stub.lookup_addr(ip).await.ok()?;
        let name = found.iter().next()?;
        host_name(name.to_string())
    }

    /// Addresses of a host: from `/etc/hosts`, otherwise from DNS. A name with a dot is looked up as it is first, then
    /// within the domains that `search` in resolv.conf lists; other names only within those.
    ///
    /// # Errors
    ///
    /// The text is not a host name, the name has no address, or no server answers.
    pub async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        if let Some(known) = self.addresses.get(&host.to_ascii_lowercase()) {
            return Ok(known.clone());
        }
        let bare = host.trim_end_matches('.');
        // RFC 6761, section 6.3: no server is asked.
        if bare.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        let not_a_name =
            |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        if bare.contains('.') || host.ends_with('.') {
            let name: Name<Vec<u8>> = Name::from_str(bare).map_err(|error| not_a_name(&error))?;
            let found = self.stub.lookup_host(name).await;
            let found: Vec<IpAddr> = found.map(|found| found.iter().collect()).unwrap_or_default();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let name = RelativeName::<Vec<u8>>::from_str(bare).map_err(|error| not_a_name(&error))?;
        let found: Vec<IpAddr> = self.stub.search_host(name).await?.iter().collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

/// The name, if it has only characters of host names: others in an answer could control a terminal.
fn host_name(name: String) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_good = !name.is_empty() && name.len() <= MAX_NAME_LEN && name != "." && name.bytes().all(is_plain);
    is_good.then_some(name)
}

/// The lines of a hosts file (hosts(5)): an address and its names.
fn read_hosts(hosts: &str) -> Vec<(IpAddr, Vec<String>)> {
    let line = |line: &str| {
        let mut words = line.split('#').next()?.split_whitespace();
        let ip = words.next()?.parse().ok()?;
        Some((ip, words.map(str::to_owned).collect()))
    };
    hosts.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests;
