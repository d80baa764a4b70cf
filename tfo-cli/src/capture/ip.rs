//! IPv4 and IPv6 with their extension headers, and one level of tunnel: VXLAN, GENEVE, GRE, IP in IP.

use super::link::{self, Network, be16};

/// Protocol numbers (IANA).
mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const IPIP: u8 = 4;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const IPV6: u8 = 41;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const GRE: u8 = 47;
    pub const AUTHENTICATION: u8 = 51;
    pub const DESTINATION: u8 = 60;
    pub const MOBILITY: u8 = 135;
    pub const HIP: u8 = 139;
    pub const SHIM6: u8 = 140;
}

/// UDP port of VXLAN (RFC 7348).
const VXLAN: u16 = 4789;
/// UDP port of GENEVE (RFC 8926).
const GENEVE: u16 = 6081;
/// An Ethernet frame inside GRE or GENEVE ("transparent Ethernet bridging").
const BRIDGED: u16 = 0x6558;
/// IPv6 extension headers followed: no sender uses more than a few.
const MOST_HEADERS: usize = 16;

/// One TCP segment, its headers not yet looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Datagram<'a> {
    /// 4 or 6.
    pub family: u8,
    /// Source address, network order; IPv4 in the first four bytes.
    pub source: [u8; 16],
    /// Destination address.
    pub destination: [u8; 16],
    /// Identification of an IPv4 packet.
    pub id: Option<u16>,
    /// The TCP segment as far as it was kept.
    pub tcp: &'a [u8],
    /// Bytes it had on the wire; `None` for the first fragment of more.
    pub tcp_len: Option<usize>,
    /// It came out of a tunnel.
    pub tunnelled: bool,
}

/// What an IP packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content<'a> {
    /// A TCP segment.
    Tcp(Datagram<'a>),
    /// Another protocol.
    Other,
    /// A fragment that does not begin with a TCP header.
    Fragment,
    /// The headers end before they should, and the packet was cut there.
    Cut,
    /// Headers that contradict themselves.
    Malformed,
}

/// Takes an IP packet apart. `wire_len`: bytes it had on the wire, for packets whose length field says 0 because
/// they are longer than it can say (`GSO`, BIG TCP). `tunnels`: how many may still be opened.
pub fn content(data: &[u8], wire_len: usize, tunnels: u8) -> Content<'_> {
    match data.first().map(|first| first >> 4) {
        None => Content::Cut,
        Some(4) => v4(data, wire_len, tunnels),
        Some(6) => v6(data, wire_len, tunnels),
        Some(_) => Content::Malformed,
    }
}

/// What a header says of the packet behind it.
struct Outer<'a> {
    family: u8,
    source: [u8; 16],
    destination: [u8; 16],
    id: Option<u16>,
    protocol: u8,
    /// Behind the header, without padding.
    payload: &'a [u8],
    /// Its length on the wire.
    payload_len: usize,
    /// More fragments follow.
    more: bool,
}

fn v4(data: &[u8], wire_len: usize, tunnels: u8) -> Content<'_> {
    let Some(header) = data.first_chunk::<20>() else {
        return Content::Cut;
    };
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = match u16::from_be_bytes([header[2], header[3]]) {
        0 => wire_len,
        total => usize::from(total),
    };
    if header_len < 20 || total < header_len {
        return Content::Malformed;
    }
    let fragment = u16::from_be_bytes([header[6], header[7]]);
    if fragment & 0x1fff != 0 {
        return Content::Fragment;
    }
    let mut addresses = [[0; 16]; 2];
    addresses[0][..4].copy_from_slice(&header[12..16]);
    addresses[1][..4].copy_from_slice(&header[16..20]);
    let Some(payload) = data.get(header_len..) else {
        return Content::Cut;
    };
    inside(
        &Outer {
            family: 4,
            source: addresses[0],
            destination: addresses[1],
            id: Some(u16::from_be_bytes([header[4], header[5]])),
            protocol: header[9],
            payload: &payload[..payload.len().min(total - header_len)],
            payload_len: total - header_len,
            more: fragment & 0x2000 != 0,
        },
        tunnels,
    )
}

fn v6(data: &[u8], wire_len: usize, tunnels: u8) -> Content<'_> {
    let Some(header) = data.first_chunk::<40>() else {
        return Content::Cut;
    };
    let total = match u16::from_be_bytes([header[4], header[5]]) {
        0 => wire_len.saturating_sub(40),
        length => usize::from(length),
    };
    let (mut source, mut destination) = ([0; 16], [0; 16]);
    source.copy_from_slice(&header[8..24]);
    destination.copy_from_slice(&header[24..40]);
    let rest = &data[40..];
    let mut outer = Outer {
        family: 6,
        source,
        destination,
        id: None,
        protocol: header[6],
        payload: &rest[..rest.len().min(total)],
        payload_len: total,
        more: false,
    };
    for _ in 0..MOST_HEADERS {
        let length = match outer.protocol {
            protocol::HOP_BY_HOP
            | protocol::ROUTING
            | protocol::DESTINATION
            | protocol::MOBILITY
            | protocol::HIP
            | protocol::SHIM6 => outer.payload.get(1).map(|words| (usize::from(*words) + 1) * 8),
            protocol::AUTHENTICATION => outer.payload.get(1).map(|words| (usize::from(*words) + 2) * 4),
            protocol::FRAGMENT => {
                let Some(field) = be16(outer.payload, 2) else {
                    return Content::Cut;
                };
                if field & 0xfff8 != 0 {
                    return Content::Fragment;
                }
                outer.more |= field & 1 != 0;
                Some(8)
            }
            _ => return inside(&outer, tunnels),
        };
        let Some(length) = length else {
            return Content::Cut;
        };
        if length > outer.payload_len {
            return Content::Malformed;
        }
        let Some(rest) = outer.payload.get(length..) else {
            return Content::Cut;
        };
        outer.protocol = outer.payload[0];
        outer.payload = rest;
        outer.payload_len -= length;
    }
    Content::Malformed
}

fn inside<'a>(outer: &Outer<'a>, tunnels: u8) -> Content<'a> {
    let opened = match outer.protocol {
        protocol::TCP => {
            return Content::Tcp(Datagram {
                family: outer.family,
                source: outer.source,
                destination: outer.destination,
                id: outer.id,
                tcp: outer.payload,
                tcp_len: (!outer.more).then_some(outer.payload_len),
                tunnelled: false,
            });
        }
        // What is inside a fragment may end anywhere.
        _ if tunnels == 0 || outer.more => return Content::Other,
        protocol::IPIP | protocol::IPV6 => Some(Network::Ip(outer.payload)),
        protocol::GRE => gre(outer.payload),
        protocol::UDP => udp(outer.payload),
        _ => return Content::Other,
    };
    match opened {
        None | Some(Network::Cut) => Content::Cut,
        Some(Network::Other | Network::Foreign) => Content::Other,
        Some(Network::Ip(inner)) => {
            let cut = outer.payload_len.saturating_sub(outer.payload.len());
            match content(inner, inner.len() + cut, tunnels - 1) {
                Content::Tcp(datagram) => Content::Tcp(Datagram {
                    tunnelled: true,
                    ..datagram
                }),
                // A UDP port is no promise: what does not look like a tunnel is none.
                Content::Malformed if outer.protocol == protocol::UDP => Content::Other,
                other => other,
            }
        }
    }
}

/// GRE (RFC 2784, 2890): flags say which of checksum, key and sequence number are there.
fn gre(data: &[u8]) -> Option<Network<'_>> {
    let (flags, kind) = (be16(data, 0)?, be16(data, 2)?);
    // Version 1 is PPTP's; routing (RFC 1701) is gone since 2000.
    if flags & 0x4007 != 0 {
        return Some(Network::Other);
    }
    let optional = [0x8000, 0x2000, 0x1000]
        .into_iter()
        .filter(|bit| flags & bit != 0);
    let inner = data.get(4 + 4 * optional.count()..)?;
    Some(carried(kind, inner))
}

fn carried(kind: u16, inner: &[u8]) -> Network<'_> {
    match kind {
        link::IPV4 | link::IPV6 => Network::Ip(inner),
        BRIDGED => link::ethernet(inner),
        _ => Network::Other,
    }
}

fn udp(data: &[u8]) -> Option<Network<'_>> {
    match be16(data, 2)? {
        VXLAN => {
            let header = data.get(8..16)?;
            // The flag that says there is a network identifier must be set.
            if header[0] & 0x08 == 0 {
                return Some(Network::Other);
            }
            Some(link::ethernet(data.get(16..)?))
        }
        GENEVE => {
            let header = data.get(8..16)?;
            if header[0] >> 6 != 0 {
                return Some(Network::Other);
            }
            let options = usize::from(header[0] & 0x3f) * 4;
            Some(carried(
                u16::from_be_bytes([header[2], header[3]]),
                data.get(16 + options..)?,
            ))
        }
        _ => Some(Network::Other),
    }
}
