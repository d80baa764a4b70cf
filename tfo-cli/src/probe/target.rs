//! The destination of a probe: what the user typed, and the addresses that it stands for.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use thiserror::Error;

/// `HOST:PORT`, as the user typed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// Why a text is no destination.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum TargetError {
    /// There is no colon with a port.
    #[error("the port is missing (use HOST:PORT, or [ADDRESS]:PORT for IPv6)")]
    NoPort,
    /// The port is not a number from 1 to 65535.
    #[error("the port must be a number from 1 to 65535")]
    BadPort,
    /// The host is empty or cannot be a name.
    #[error("the host is no name and no address")]
    BadHost,
    /// A prefix, a list or a range.
    #[error("a probe has one destination: no prefix, list or range")]
    Many,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address needs brackets: [ADDRESS]:PORT")]
    Brackets,
    /// An address that stands for many hosts or for none.
    #[error("a multicast, broadcast or unspecified address cannot be probed")]
    NotOneHost,
}

impl FromStr for Target {
    type Err = TargetError;

    fn from_str(text: &str) -> Result<Self, TargetError> {
        if text.contains(['/', ',', '*']) {
            return Err(TargetError::Many);
        }
        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or(TargetError::Brackets)?;
                host.parse::<std::net::Ipv6Addr>()
                    .map_err(|_| TargetError::BadHost)?;
                (host, port.strip_prefix(':').ok_or(TargetError::NoPort)?)
            }
            None => text.rsplit_once(':').ok_or(TargetError::NoPort)?,
        };
        if !text.starts_with('[') && host.contains(':') {
            return Err(TargetError::Brackets);
        }
        let port = port
            .parse()
            .ok()
            .filter(|port| *port > 0)
            .ok_or(TargetError::BadPort)?;
        let is_name = !host.is_empty()
            && host.len() <= 253
            && host
                .chars()
                .all(|letter| letter.is_alphanumeric() || matches!(letter, '.' | '-' | '_' | ':'));
        if !is_name {
            return Err(TargetError::BadHost);
        }
        if let Ok(address) = host.parse() {
            one_host(address)?;
        }
        Ok(Self {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Refuses addresses that do not stand for exactly one host.
fn one_host(address: IpAddr) -> Result<(), TargetError> {
    let is_broadcast = matches!(address, IpAddr::V4(address) if address.is_broadcast());
    if address.is_multicast() || address.is_unspecified() || is_broadcast {
        Err(TargetError::NotOneHost)
    } else {
        Ok(())
    }
}

/// The addresses to probe: the first of each family, in the order of the resolver; only of the family of the source
/// address, where one was given.
pub fn one_of_each_family(
    found: impl IntoIterator<Item = SocketAddr>,
    source: Option<IpAddr>,
) -> Result<Vec<SocketAddr>, TargetError> {
    let mut chosen: Vec<SocketAddr> = Vec::new();
    for address in found {
        let wanted = source.is_none_or(|source| source.is_ipv4() == address.is_ipv4());
        if wanted && !chosen.iter().any(|other| other.is_ipv4() == address.is_ipv4()) {
            one_host(address.ip())?;
            chosen.push(address);
        }
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        type Read<'a> = Result<(&'a str, u16), TargetError>;
        let table: &[(&str, Read<'_>)] = &[
            ("example.net:443", Ok(("example.net", 443))),
            ("10.0.0.1:80", Ok(("10.0.0.1", 80))),
            ("[fd00::1]:53", Ok(("fd00::1", 53))),
            ("fd00::1:53", Err(TargetError::Brackets)),
            ("[fd00::1]53", Err(TargetError::NoPort)),
            ("[example.net]:1", Err(TargetError::BadHost)),
            ("example.net", Err(TargetError::NoPort)),
            ("example.net:", Err(TargetError::BadPort)),
            ("example.net:0", Err(TargetError::BadPort)),
            ("example.net:70000", Err(TargetError::BadPort)),
            (":443", Err(TargetError::BadHost)),
            ("10.0.0.0/8:80", Err(TargetError::Many)),
            ("a,b:80", Err(TargetError::Many)),
            ("224.0.0.1:80", Err(TargetError::NotOneHost)),
            ("255.255.255.255:80", Err(TargetError::NotOneHost)),
            ("0.0.0.0:80", Err(TargetError::NotOneHost)),
            ("[ff02::1]:80", Err(TargetError::NotOneHost)),
            ("a\u{1b}b:80", Err(TargetError::BadHost)),
        ];
        for (text, want) in table {
            let got = text.parse::<Target>();
            let got = got.as_ref().map(|target| (target.host.as_str(), target.port));
            assert_eq!(got.map_err(|error| *error), *want, "{text}");
        }
    }

    #[test]
    fn a_name_with_both_families_is_probed_over_both() {
        let addresses = ["10.0.0.1:1", "10.0.0.2:1", "[fd00::1]:1", "[fd00::2]:1"]
            .map(|text| text.parse().expect("an address"));
        let chosen = one_of_each_family(addresses, None).expect("they are hosts");
        assert_eq!(chosen, [addresses[0], addresses[2]]);
        let from_v6 = one_of_each_family(addresses, Some("fd00::9".parse().expect("an address")));
        assert_eq!(from_v6, Ok(vec![addresses[2]]));
        let hostile = ["224.0.0.1:1".parse().expect("an address")];
        assert_eq!(one_of_each_family(hostile, None), Err(TargetError::NotOneHost));
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,80}") {
            if let Ok(target) = text.parse::<Target>() {
                prop_assert_eq!(target.to_string().parse::<Target>(), Ok(target));
            }
        }
    }
}
