//! The kernel's cookie cache, over generic netlink: the family `tcp_metrics` (`include/uapi/linux/tcp_metrics.h`).
//!
//! It can be read by everybody and written by nobody; entries can be deleted (`CAP_NET_ADMIN`). Every function speaks
//! of the network namespace of the calling thread.

use std::{io, net::IpAddr};

use netlink_packet_core::{DefaultNla, NLM_F_ACK, NLM_F_DUMP, NlasIterator};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::netlink::{self, Request};
use crate::{
    addr,
    fingerprint::{Salt, Secret},
    inspect::cookies::{Cookie, Entry, SynDrops},
};

/// The controller of generic netlink: `GENL_ID_CTRL`, `CTRL_CMD_GETFAMILY` (include/uapi/linux/genetlink.h).
const CONTROLLER: u16 = 16;
const GET_FAMILY: u8 = 3;
const FAMILY_ID: u16 = 1;
const FAMILY_NAME: u16 = 2;
/// Commands of the family.
const GET: u8 = 1;
const DELETE: u8 = 2;
/// Length of `struct genlmsghdr`.
const HEADER: usize = 4;

/// `TCP_METRICS_ATTR_*`.
mod attribute {
    pub const ADDR_IPV4: u16 = 1;
    pub const ADDR_IPV6: u16 = 2;
    pub const AGE: u16 = 3;
    pub const FOPEN_MSS: u16 = 7;
    pub const FOPEN_SYN_DROPS: u16 = 8;
    pub const FOPEN_SYN_DROP_TS: u16 = 9;
    pub const FOPEN_COOKIE: u16 = 10;
    pub const SADDR_IPV4: u16 = 11;
    pub const SADDR_IPV6: u16 = 12;
}

/// Every entry. Cookies are hashed before they leave this module.
pub fn entries(salt: &Salt) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    netlink::ask(
        NETLINK_GENERIC,
        request(family()?, GET, Vec::new()),
        NLM_F_DUMP,
        |payload| {
            found.push(parse(payload, salt).ok_or_else(netlink::malformed)?);
            Ok(())
        },
    )?;
    Ok(found)
}

/// The entry of one pair of addresses; `None` where the kernel has none. Everybody may ask.
pub fn entry(destination: IpAddr, source: IpAddr, salt: &Salt) -> io::Result<Option<Entry>> {
    let attributes = vec![
        address(destination, attribute::ADDR_IPV4, attribute::ADDR_IPV6),
        address(source, attribute::SADDR_IPV4, attribute::SADDR_IPV6),
    ];
    let mut found = None;
    let asked = netlink::ask(
        NETLINK_GENERIC,
        request(family()?, GET, attributes),
        NLM_F_ACK,
        |payload| {
            found = Some(parse(payload, salt).ok_or_else(netlink::malformed)?);
            Ok(())
        },
    );
    match asked {
        // `tcp_metrics_nl_cmd_get`: there is no such entry.
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(None),
        other => other.map(|()| found),
    }
}

/// Deletes one entry, with everything the kernel knew of this pair of addresses; false when it has gone already.
pub fn delete(destination: IpAddr, source: Option<IpAddr>) -> io::Result<bool> {
    // Without a destination the kernel would delete all (`tcp_metrics_nl_cmd_del`): there always is one.
    let mut attributes = vec![address(destination, attribute::ADDR_IPV4, attribute::ADDR_IPV6)];
    attributes.extend(source.map(|ip| address(ip, attribute::SADDR_IPV4, attribute::SADDR_IPV6)));
    match netlink::ask(
        NETLINK_GENERIC,
        request(family()?, DELETE, attributes),
        NLM_F_ACK,
        |_| Ok(()),
    ) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
        other => other.map(|()| true),
    }
}

fn address(ip: IpAddr, v4: u16, v6: u16) -> DefaultNla {
    match ip {
        IpAddr::V4(ip) => DefaultNla::new(v4, ip.octets().to_vec()),
        IpAddr::V6(ip) => DefaultNla::new(v6, ip.octets().to_vec()),
    }
}

fn request(family: u16, command: u8, attributes: Vec<DefaultNla>) -> Request {
    const VERSION: u8 = 1;
    Request {
        kind: family,
        header: vec![command, VERSION, 0, 0],
        attributes,
    }
}

/// The number this kernel gave the family.
fn family() -> io::Result<u16> {
    let name = DefaultNla::new(FAMILY_NAME, b"tcp_metrics\0".to_vec());
    let mut id = None;
    let asked = netlink::ask(
        NETLINK_GENERIC,
        request(CONTROLLER, GET_FAMILY, vec![name]),
        NLM_F_ACK,
        |payload| {
            id = id.or(family_id(payload));
            Ok(())
        },
    );
    match asked {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Err(io::Error::other(
            "this kernel has no generic netlink family tcp_metrics (CONFIG_INET)",
        )),
        Err(error) => Err(error),
        Ok(()) => id.ok_or_else(netlink::malformed),
    }
}

fn family_id(payload: &[u8]) -> Option<u16> {
    let id = NlasIterator::new(payload.get(HEADER..)?)
        .flatten()
        .find(|found| found.kind() == FAMILY_ID)?
        .value()
        .try_into();
    id.ok().map(u16::from_ne_bytes)
}

/// Reads one entry. `None` when it is cut short, an attribute has a length the kernel does not give it, or there is no
/// destination; attributes of later kernels are skipped.
fn parse(payload: &[u8], salt: &Salt) -> Option<Entry> {
    let (mut destination, mut source) = (None, None);
    let (mut mss, mut cookie, mut age_ms) = (None, None, None);
    let (mut drops, mut drop_age) = (None, None);
    for found in NlasIterator::new(payload.get(HEADER..)?) {
        let found = found.ok()?;
        let value = found.value();
        match found.kind() {
            attribute::ADDR_IPV4 | attribute::ADDR_IPV6 => destination = Some(ip(value)?),
            attribute::SADDR_IPV4 | attribute::SADDR_IPV6 => source = Some(ip(value)?),
            attribute::AGE => age_ms = Some(u64::from_ne_bytes(value.try_into().ok()?)),
            attribute::FOPEN_MSS => mss = Some(u16::from_ne_bytes(value.try_into().ok()?)),
            attribute::FOPEN_SYN_DROPS => drops = Some(u16::from_ne_bytes(value.try_into().ok()?)),
            attribute::FOPEN_SYN_DROP_TS => drop_age = Some(u64::from_ne_bytes(value.try_into().ok()?)),
            attribute::FOPEN_COOKIE => {
                cookie = Some(Cookie {
                    fingerprint: salt.fingerprint(Secret::Cookie, value),
                    len: value.len(),
                });
            }
            _ => {}
        }
    }
    Some(Entry {
        destination: destination?,
        source,
        mss,
        syn_drops: drops.map(|count| SynDrops {
            count,
            age_ms: drop_age,
        }),
        cookie,
        age_ms,
    })
}

/// Four or sixteen bytes in network order.
fn ip(value: &[u8]) -> Option<IpAddr> {
    let mut bytes = [0; 16];
    let family = match value.len() {
        4 => 4,
        16 => 6,
        _ => return None,
    };
    bytes[..value.len()].copy_from_slice(value);
    Some(addr::ip(&bytes, family))
}

#[cfg(test)]
mod tests {
    use netlink_packet_core::{Emitable as _, Nla as _};
    use proptest::prelude::*;

    use super::*;

    fn salt() -> Salt {
        Salt::of_text("tests")
    }

    /// An answer as the kernel writes it: its header, then attributes.
    fn answer(attributes: &[DefaultNla]) -> Vec<u8> {
        let mut bytes = vec![GET, 1, 0, 0];
        bytes.resize(HEADER + attributes.buffer_len(), 0);
        attributes.emit(&mut bytes[HEADER..]);
        bytes
    }

    fn full() -> Vec<DefaultNla> {
        vec![
            DefaultNla::new(attribute::ADDR_IPV4, vec![10, 77, 0, 2]),
            DefaultNla::new(attribute::SADDR_IPV4, vec![10, 77, 0, 1]),
            DefaultNla::new(attribute::AGE, 1_500u64.to_ne_bytes().to_vec()),
            DefaultNla::new(6 | 0x8000, vec![8, 0, 1, 0, 1, 0, 0, 0]),
            DefaultNla::new(attribute::FOPEN_MSS, 1_460u16.to_ne_bytes().to_vec()),
            DefaultNla::new(attribute::FOPEN_SYN_DROPS, 2u16.to_ne_bytes().to_vec()),
            DefaultNla::new(attribute::FOPEN_SYN_DROP_TS, 61_000u64.to_ne_bytes().to_vec()),
            DefaultNla::new(attribute::FOPEN_COOKIE, vec![1, 2, 3, 4, 5, 6, 7, 8]),
        ]
    }

    #[test]
    fn an_entry_is_read() {
        let entry = parse(&answer(&full()), &salt()).expect("well-formed");
        assert_eq!(
            entry,
            Entry {
                destination: "10.77.0.2".parse().expect("an address"),
                source: "10.77.0.1".parse().ok(),
                mss: Some(1_460),
                syn_drops: Some(SynDrops {
                    count: 2,
                    age_ms: Some(61_000)
                }),
                cookie: Some(Cookie {
                    fingerprint: salt().fingerprint(Secret::Cookie, &[1, 2, 3, 4, 5, 6, 7, 8]),
                    len: 8
                }),
                age_ms: Some(1_500),
            }
        );
        assert!(!format!("{entry:?}").contains("1, 2, 3, 4"), "{entry:?}");
        let v6 = DefaultNla::new(attribute::ADDR_IPV6, vec![0xfd; 16]);
        let entry = parse(&answer(&[v6]), &salt()).expect("well-formed");
        assert!(entry.destination.is_ipv6() && !entry.is_fast_open());
    }

    #[test]
    fn an_entry_cut_short_is_no_entry() {
        let whole = answer(&full());
        // Where an attribute ends nothing is missing that anybody could notice: with its padding or without.
        let mut ends = Vec::new();
        let mut at = HEADER;
        for one in full() {
            ends.extend([at + HEADER + one.value_len(), at + one.buffer_len()]);
            at += one.buffer_len();
        }
        for end in 0..whole.len() {
            let is_whole = ends
                .iter()
                .any(|whole| (*whole..whole.next_multiple_of(4) + 1).contains(&end));
            assert_eq!(parse(&whole[..end], &salt()).is_some(), is_whole, "{end}");
        }
        let odd = DefaultNla::new(attribute::ADDR_IPV4, vec![1, 2, 3]);
        assert_eq!(parse(&answer(&[odd]), &salt()), None);
    }

    #[test]
    fn a_deletion_always_names_a_destination() {
        let wanted = address("::1".parse().expect("an address"), 1, 2);
        assert_eq!(wanted, DefaultNla::new(2, [[0; 15].as_slice(), &[1]].concat()));
        assert_eq!(request(30, DELETE, vec![wanted]).header, [2, 1, 0, 0]);
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(payload: Vec<u8>, kind in 0u16..16, value: Vec<u8>) {
            let _ = (parse(&payload, &salt()), family_id(&payload));
            let _ = parse(&answer(&[DefaultNla::new(kind, value)]), &salt());
        }
    }
}
