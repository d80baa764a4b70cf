//! Names of addresses and addresses of names: from `/etc/hosts`, else asked for over DNS, on the runtime.
//!
//! Not `getnameinfo` and `getaddrinfo`: the static binary has no name service switch.

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

/// Longest name there is (RFC 1035, section 3.1).
const LONGEST: usize = 255;

/// What a host knows about names, and whom it asks for the rest.
pub struct Resolver {
    names: HashMap<IpAddr, String>,
    addresses: HashMap<String, Vec<IpAddr>>,
    stub: StubResolver,
}

impl Resolver {
    /// One that asks the servers of `/etc/resolv.conf`; the host itself where there is none, as in resolver(5).
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
                let known = resolver.addresses.entry(name.to_ascii_lowercase()).or_default();
                known.push(ip);
            }
            if let Some(first) = names.into_iter().next() {
                resolver.names.entry(ip).or_insert(first);
            }
        }
        resolver
    }

    /// The name of an address, if it has one that is fit to be shown.
    pub async fn name(&self, ip: IpAddr) -> Option<String> {
        if let Some(name) = self.names.get(&ip) {
            return Some(name.clone());
        }
        let found = self.stub.lookup_addr(ip).await.ok()?;
        let name = found.iter().next()?;
        plain(name.to_string())
    }

    /// Addresses of a host: those of `/etc/hosts`, else of DNS, a name with a dot as it stands first, then within the
    /// domains of `search`.
    ///
    /// # Errors
    ///
    /// A host that is no name, one without addresses, and servers that do not answer.
    pub async fn addresses(&self, host: &str) -> io::Result<Vec<IpAddr>> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![ip]);
        }
        if let Some(known) = self.addresses.get(&host.to_ascii_lowercase()) {
            return Ok(known.clone());
        }
        let bare = host.trim_end_matches('.');
        // RFC 6761, section 6.3: nobody is asked.
        if bare.eq_ignore_ascii_case("localhost") {
            return Ok(vec![Ipv6Addr::LOCALHOST.into(), Ipv4Addr::LOCALHOST.into()]);
        }
        let no_name =
            |error: &dyn std::fmt::Display| io::Error::new(io::ErrorKind::InvalidInput, error.to_string());
        if bare.contains('.') || host.ends_with('.') {
            let name: Name<Vec<u8>> = Name::from_str(bare).map_err(|error| no_name(&error))?;
            let found = self.stub.lookup_host(name).await;
            let found: Vec<IpAddr> = found.map(|found| found.iter().collect()).unwrap_or_default();
            if !found.is_empty() {
                return Ok(found);
            }
        }
        let name = RelativeName::<Vec<u8>>::from_str(bare).map_err(|error| no_name(&error))?;
        let found: Vec<IpAddr> = self.stub.search_host(name).await?.iter().collect();
        if found.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(found)
    }
}

/// Names of hosts are letters, digits, hyphens; whatever else stands in an answer could steer a terminal.
fn plain(name: String) -> Option<String> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_good = !name.is_empty() && name.len() <= LONGEST && name != "." && name.bytes().all(is_plain);
    is_good.then_some(name)
}

/// Addresses with their names, as in hosts(5).
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
