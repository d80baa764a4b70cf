//! Addresses: from the kernel's bytes, as prefixes a user types, and as text.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

/// An address out of sixteen bytes in network order; IPv4 lies in the first four.
pub fn ip(bytes: &[u8; 16], family: u8) -> IpAddr {
    if family == 4 {
        Ipv4Addr::new(bytes[0], bytes[1], bytes[2], bytes[3]).into()
    } else {
        Ipv6Addr::from(*bytes).into()
    }
}

/// The same back: what [`ip`] reads.
pub fn bytes(ip: IpAddr) -> ([u8; 16], u8) {
    match ip {
        IpAddr::V4(v4) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&v4.octets());
            (bytes, 4)
        }
        IpAddr::V6(v6) => (v6.octets(), 6),
    }
}

/// A block of addresses: `10.0.0.0/8`, `2001:db8::/32`, or one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    ip: IpAddr,
    bits: u8,
}

impl Prefix {
    /// The address it was written with.
    pub fn address(&self) -> IpAddr {
        self.ip
    }

    /// Its length.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// A prefix; a length beyond the family's is cut.
    pub fn new(ip: IpAddr, bits: u8) -> Self {
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        Self {
            ip,
            bits: bits.min(longest),
        }
    }

    /// The same with every bit behind its length cleared.
    #[must_use]
    pub fn network(&self) -> Self {
        // A shift by the whole width is no shift at all in Rust: it stands for a mask of nothing.
        let ip = match self.ip {
            IpAddr::V4(v4) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.bits)).unwrap_or(0);
                Ipv4Addr::from_bits(v4.to_bits() & mask).into()
            }
            IpAddr::V6(v6) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.bits)).unwrap_or(0);
                Ipv6Addr::from_bits(v6.to_bits() & mask).into()
            }
        };
        Self { ip, bits: self.bits }
    }

    /// Whether the address lies in the block; never across families.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(net), IpAddr::V4(ip)) => same_prefix(
                u128::from(net.to_bits()) << 96,
                u128::from(ip.to_bits()) << 96,
                self.bits,
            ),
            (IpAddr::V6(net), IpAddr::V6(ip)) => same_prefix(net.to_bits(), ip.to_bits(), self.bits),
            _ => false,
        }
    }
}

fn same_prefix(left: u128, right: u128, bits: u8) -> bool {
    (left ^ right).checked_shr(128 - u32::from(bits)).unwrap_or(0) == 0
}

impl FromStr for Prefix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let bare = address
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
            .unwrap_or(address);
        let ip: IpAddr = bare
            .parse()
            .map_err(|_| format!("'{address}' is not an IP address"))?;
        let longest = if ip.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => longest,
            Some(bits) => bits
                .parse()
                .ok()
                .filter(|bits| *bits <= longest)
                .ok_or_else(|| format!("'{bits}' is not a prefix length of 0 to {longest}"))?,
        };
        Ok(Self { ip, bits })
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ip, self.bits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn prefixes_match_their_family_only() {
        let table = [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3", "10.1.2.3", true),
            ("10.1.2.3", "10.1.2.4", false),
            ("0.0.0.0/0", "255.1.1.1", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "2001:db8::1", true),
            ("2001:db8::/32", "2001:db8:ffff::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("[fd00::1]", "fd00::1", true),
            ("192.0.2.128/25", "192.0.2.127", false),
        ];
        for (prefix, ip, want) in table {
            let prefix: Prefix = prefix.parse().expect("a good prefix");
            assert_eq!(
                prefix.contains(ip.parse().expect("a good address")),
                want,
                "{prefix} {ip}"
            );
        }
    }

    #[test]
    fn bad_prefixes_say_what_is_wrong() {
        for (text, part) in [
            ("10.0.0/8", "'10.0.0'"),
            ("10.0.0.0/33", "0 to 32"),
            ("::/129", "0 to 128"),
            ("", "''"),
            ("1.2.3.4/", "''"),
        ] {
            let why = text.parse::<Prefix>().expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = text.parse::<Prefix>();
        }

        #[test]
        fn a_prefix_contains_its_own_address(ip: IpAddr, bits in 0u8..=128) {
            let bits = if ip.is_ipv4() { bits.min(32) } else { bits };
            let prefix: Prefix = format!("{ip}/{bits}").parse().expect("a good prefix");
            prop_assert!(prefix.contains(ip));
        }

        #[test]
        fn a_network_holds_what_its_prefix_holds(ip: IpAddr, bits in 0u8..=128, other: IpAddr) {
            let prefix = Prefix::new(ip, bits);
            let network = prefix.network();
            prop_assert_eq!(network.network(), network);
            prop_assert!(network.contains(ip) && prefix.contains(network.address()));
            prop_assert_eq!(network.contains(other), prefix.contains(other));
        }

        #[test]
        fn bytes_round_trip(addr: IpAddr) {
            let (raw, family) = bytes(addr);
            prop_assert_eq!(ip(&raw, family), addr);
        }
    }
}
