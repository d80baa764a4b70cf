//! Encodes SYNs, and parses the answers to them. Without I/O; any bytes are accepted.

use std::net::{IpAddr, SocketAddr};

use etherparse::TcpHeader;

use super::{Kind, SynAnswer};
use crate::{
    addr,
    capture::tcp::{ACK, Header, RST, SYN, fast_open},
};

/// Window of a SYN. Its value does not matter.
const WINDOW: u16 = 64_240;
/// The MSS that is announced: small enough for every path, as no data is to come.
const MSS: u16 = 1_220;
/// A cookie request with option 34, after two bytes of padding.
const OPTION_34: [u8; 4] = [1, 1, 34, 2];
/// A cookie request with the experimental option.
const OPTION_254: [u8; 4] = [254, 4, 0xf9, 0x89];
/// The experimental option 253 with the identifier `TF`, which is not assigned.
const OPTION_253: [u8; 4] = [253, 4, 0x54, 0x46];
/// Option 34 with eight bytes that are no valid cookie, after two bytes of padding.
const OPTION_COOKIE: [u8; 12] = [1, 1, 34, 10, 0x54, 0x46, 0x4f, 0x2d, 0x70, 0x72, 0x6f, 0x62];
/// Protocol number of TCP.
const TCP: u8 = 6;

/// A SYN that was sent, by which its answers are recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Local address and port.
    pub local: SocketAddr,
    /// Remote address and port.
    pub remote: SocketAddr,
    /// Its initial sequence number.
    pub sequence: u32,
    /// The kind of the SYN.
    pub kind: Kind,
    /// Bytes of data in it.
    pub data: u16,
}

/// The TCP segment with its checksum; `None` when the addresses are of two families or the payload is too long.
pub fn syn(sent: &Sent, payload: &[u8]) -> Option<Vec<u8>> {
    let mut header = TcpHeader::new(sent.local.port(), sent.remote.port(), sent.sequence, WINDOW);
    header.syn = true;
    let [high, low] = MSS.to_be_bytes();
    let mut options = vec![2, 4, high, low];
    options.extend_from_slice(match sent.kind {
        Kind::Plain | Kind::Data => &[],
        Kind::Request => &OPTION_34,
        Kind::Experimental => &OPTION_254,
        Kind::Unknown => &OPTION_253,
        Kind::CookieData => &OPTION_COOKIE,
    });
    header.set_options_raw(&options).ok()?;
    let payload = if sent.kind.has_data() { payload } else { &[] };
    header.checksum = match (sent.local.ip(), sent.remote.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            header.calc_checksum_ipv4_raw(from.octets(), to.octets(), payload)
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            header.calc_checksum_ipv6_raw(from.octets(), to.octets(), payload)
        }
        _ => return None,
    }
    .ok()?;
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    Some(bytes)
}

/// The answer in a TCP segment that has arrived; `None` when it is not one to this SYN.
pub fn answer(tcp: &[u8], sent: &Sent) -> Option<SynAnswer> {
    let header = Header::parse(tcp).ok()?;
    if (header.source, header.destination) != (sent.remote.port(), sent.local.port()) {
        return None;
    }
    let acked = header.acknowledgement.wrapping_sub(sent.sequence);
    let is_ours = header.has(ACK) && (1..=1 + u32::from(sent.data)).contains(&acked);
    if !is_ours {
        return None;
    }
    if header.has(RST) {
        return Some(SynAnswer::Reset);
    }
    header.has(SYN).then(|| SynAnswer::SynAck {
        cookie: fast_open(&header)
            .filter(|option| !option.cookie.is_empty())
            .map(|option| option.kind),
        data_acked: sent.data > 0 && acked == 1 + u32::from(sent.data),
    })
}

/// The answer in an ICMP message from `address`; `None` when it does not quote this SYN.
pub fn error(icmp: &[u8], address: IpAddr, sent: &Sent) -> Option<SynAnswer> {
    let (kind, quoted) = (*icmp.first()?, icmp.get(8..)?);
    let (is_exceeded, is_unreachable) = match address {
        IpAddr::V4(_) => (kind == 11, kind == 3),
        IpAddr::V6(_) => (kind == 3, kind == 1),
    };
    if !is_exceeded && !is_unreachable {
        return None;
    }
    let tcp = quoted_segment(quoted, sent.remote.ip())?;
    let fixed = tcp.first_chunk::<8>()?;
    let ports = [sent.local.port(), sent.remote.port()].map(u16::to_be_bytes);
    if fixed[..2] != ports[0] || fixed[2..4] != ports[1] || fixed[4..] != sent.sequence.to_be_bytes() {
        return None;
    }
    if is_unreachable {
        return Some(SynAnswer::Unreachable { address });
    }
    // RFC 792 requires only eight bytes of the segment to be quoted.
    let option = Header::parse(tcp).ok().and_then(|header| fast_open(&header));
    Some(SynAnswer::Hop {
        address,
        option: option.map(|option| option.kind != 0),
    })
}

/// The segment in a quoted packet, as far as it was quoted.
fn quoted_segment(packet: &[u8], remote: IpAddr) -> Option<&[u8]> {
    let (protocol, to, length) = match packet.first()? >> 4 {
        4 => (
            *packet.get(9)?,
            packet.get(16..20)?,
            usize::from(packet.first()? & 15) * 4,
        ),
        6 => (*packet.get(6)?, packet.get(24..40)?, 40),
        _ => return None,
    };
    let mut bytes = [0; 16];
    bytes[..to.len()].copy_from_slice(to);
    let to = addr::ip(&bytes, if to.len() == 4 { 4 } else { 6 });
    (protocol == TCP && to == remote).then(|| packet.get(length..))?
}

/// The segment in an IPv4 packet, which raw sockets deliver with its header (raw(7)).
pub fn without_ip(packet: &[u8]) -> Option<&[u8]> {
    let first = *packet.first()?;
    (first >> 4 == 4).then(|| packet.get(usize::from(first & 15) * 4..))?
}

#[cfg(test)]
mod tests {
    use etherparse::{IpNumber, Ipv4Header, TcpHeaderSlice};
    use proptest::prelude::*;

    use super::*;

    const DATA: &[u8] = b"HEAD / HTTP/1.1\r\n\r\n";

    fn sent(kind: Kind) -> Sent {
        Sent {
            local: "10.0.0.1:40000".parse().expect("an address"),
            remote: "10.0.0.2:443".parse().expect("an address"),
            sequence: u32::MAX - 3,
            kind,
            data: if kind.has_data() { 19 } else { 0 },
        }
    }

    fn router() -> IpAddr {
        "192.0.2.1".parse().expect("an address")
    }

    /// The SYN in its packet, within an ICMP message, `kept` bytes of the segment.
    fn icmp(kind: u8, sent: &Sent, kept: usize) -> Vec<u8> {
        let segment = syn(sent, DATA).expect("it can be built");
        let (IpAddr::V4(from), IpAddr::V4(to)) = (sent.local.ip(), sent.remote.ip()) else {
            panic!("IPv4 here");
        };
        let length = u16::try_from(segment.len()).expect("short");
        let ip = Ipv4Header::new(length, 1, IpNumber::TCP, from.octets(), to.octets()).expect("short");
        let mut bytes = vec![kind, 0, 0, 0, 0, 0, 0, 0];
        bytes.extend(ip.to_bytes());
        bytes.extend(&segment[..kept.min(segment.len())]);
        bytes
    }

    /// What the other end answers: to the sequence numbers and with these options.
    fn reply(sent: &Sent, acked: u32, options: &[u8], reset: bool) -> Vec<u8> {
        let mut header = TcpHeader::new(sent.remote.port(), sent.local.port(), 7, 100);
        (header.syn, header.ack, header.rst) = (!reset, true, reset);
        header.acknowledgment_number = sent.sequence.wrapping_add(acked);
        header.set_options_raw(options).expect("they fit");
        header.to_bytes().to_vec()
    }

    #[test]
    fn each_kind_carries_what_it_says() {
        for kind in Kind::RAW.into_iter().chain(Kind::SUSPECTS) {
            let sent = sent(kind);
            let bytes = syn(&sent, DATA).expect("it can be built");
            let header = Header::parse(&bytes).expect("it is one");
            let option = fast_open(&header).expect("it is whole");
            assert_eq!(option.kind != 0, kind.has_option(), "{kind:?}");
            assert_eq!(
                option.cookie.len(),
                if kind == Kind::CookieData { 8 } else { 0 },
                "{kind:?}"
            );
            assert_eq!(header.payload.len(), usize::from(sent.data), "{kind:?}");
            let slice = TcpHeaderSlice::from_slice(&bytes).expect("a header").to_header();
            let sum = slice.calc_checksum_ipv4_raw([10, 0, 0, 1], [10, 0, 0, 2], header.payload);
            assert_eq!(sum, Ok(slice.checksum), "{kind:?}");
        }
        let mixed = Sent {
            remote: "[::1]:1".parse().expect("an address"),
            ..sent(Kind::Plain)
        };
        assert_eq!(syn(&mixed, &[]), None);
    }

    #[test]
    fn answers_are_told_from_what_is_for_others() {
        let sent = sent(Kind::CookieData);
        let cookie = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];
        let seen = |acked, options: &[u8]| answer(&reply(&sent, acked, options, false), &sent);
        assert_eq!(
            seen(1, &cookie),
            Some(SynAnswer::SynAck {
                cookie: Some(34),
                data_acked: false
            })
        );
        assert_eq!(
            seen(20, &[]),
            Some(SynAnswer::SynAck {
                cookie: None,
                data_acked: true
            })
        );
        assert_eq!((seen(0, &[]), seen(21, &[])), (None, None), "another SYN's");
        assert_eq!(answer(&reply(&sent, 1, &[], true), &sent), Some(SynAnswer::Reset));
        let other = Sent {
            local: "10.0.0.1:40001".parse().expect("an address"),
            ..sent
        };
        assert_eq!(answer(&reply(&other, 1, &[], false), &sent), None);
    }

    #[test]
    fn quotes_show_the_option_where_they_are_long_enough() {
        let sent = sent(Kind::CookieData);
        let hop = |option| {
            Some(SynAnswer::Hop {
                address: router(),
                option,
            })
        };
        assert_eq!(error(&icmp(11, &sent, 100), router(), &sent), hop(Some(true)));
        assert_eq!(error(&icmp(11, &sent, 8), router(), &sent), hop(None), "RFC 792");
        assert_eq!(
            error(&icmp(11, &sent, 24), router(), &sent),
            hop(None),
            "cut before the option"
        );
        assert_eq!(error(&icmp(11, &sent, 7), router(), &sent), None);
        let stripped = Sent {
            kind: Kind::Plain,
            ..sent
        };
        assert_eq!(
            error(&icmp(11, &stripped, 100), router(), &sent),
            hop(Some(false))
        );
        let refused = Some(SynAnswer::Unreachable { address: router() });
        assert_eq!(error(&icmp(3, &sent, 8), router(), &sent), refused);
        assert_eq!(error(&icmp(0, &sent, 100), router(), &sent), None, "an echo");
        let other = Sent { sequence: 5, ..sent };
        assert_eq!(error(&icmp(11, &other, 100), router(), &sent), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>, kind in 0usize..5) {
            let sent = sent(Kind::RAW[kind]);
            let v6 = "2001:db8::1".parse().expect("an address");
            let _ = (answer(&bytes, &sent), error(&bytes, router(), &sent), error(&bytes, v6, &sent));
            let _ = without_ip(&bytes);
        }

        #[test]
        fn any_quote_is_survived(bytes: Vec<u8>) {
            let sent = sent(Kind::Request);
            let message = [&icmp(11, &sent, 20)[..], &bytes[..]].concat();
            let _ = error(&message, router(), &sent);
        }
    }
}
