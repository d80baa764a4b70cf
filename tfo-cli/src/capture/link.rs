//! Link layers: from the first byte of a packet to its IP header. Numbers are those of
//! <https://www.tcpdump.org/linktypes.html>.

use pcap_parser::Linktype;

/// IPv4 in an `EtherType`.
pub const IPV4: u16 = 0x0800;
/// IPv6 in an `EtherType`.
pub const IPV6: u16 = 0x86dd;
/// VLAN tags believed to be stacked: one of the customer, one of the provider, and two more.
const MOST_TAGS: usize = 4;

/// What a packet carries above its link layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Network<'a> {
    /// IP; what is cut off is missing at the end.
    Ip(&'a [u8]),
    /// Something else: ARP, LLDP, ...
    Other,
    /// The packet ends inside the link layer's header.
    Cut,
    /// A link layer this program does not know.
    Foreign,
}

/// Takes the link layer off.
pub fn network(link: Linktype, data: &[u8]) -> Network<'_> {
    match link.0 {
        // LINKTYPE_ETHERNET.
        1 => ethernet(data),
        // DLT_RAW as three systems number it, LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6.
        12 | 14 | 101 | 228 | 229 => Network::Ip(data),
        // LINKTYPE_NULL: the address family in the byte order of whoever wrote it. LINKTYPE_LOOP: in network order.
        0 | 108 => loopback(data),
        // LINKTYPE_LINUX_SLL: 14 bytes, then the protocol.
        113 => typed(data, 14, 16),
        // LINKTYPE_LINUX_SLL2: the protocol first, 20 bytes in all.
        276 => typed(data, 0, 20),
        _ => Network::Foreign,
    }
}

/// An Ethernet frame, tagged or not. Also what VXLAN, GENEVE and GRE carry.
pub fn ethernet(data: &[u8]) -> Network<'_> {
    typed(data, 12, 14)
}

/// A header of `length` bytes with an `EtherType` at `place`, then VLAN tags, if any.
fn typed(data: &[u8], place: usize, length: usize) -> Network<'_> {
    let (Some(mut kind), Some(mut rest)) = (be16(data, place), data.get(length..)) else {
        return Network::Cut;
    };
    for _ in 0..=MOST_TAGS {
        match kind {
            IPV4 | IPV6 => return Network::Ip(rest),
            // 802.1Q, 802.1ad, and what switches used before it.
            0x8100 | 0x88a8 | 0x9100 => {
                let (Some(inner), Some(after)) = (be16(rest, 2), rest.get(4..)) else {
                    return Network::Cut;
                };
                (kind, rest) = (inner, after);
            }
            _ => return Network::Other,
        }
    }
    Network::Other
}

/// BSD loopback. `AF_INET` is 2 everywhere; `AF_INET6` differs: 10, 24, 28, 30.
fn loopback(data: &[u8]) -> Network<'_> {
    let (Some(family), Some(rest)) = (data.first_chunk::<4>(), data.get(4..)) else {
        return Network::Cut;
    };
    let family = match u32::from_le_bytes(*family) {
        little @ 0..=0xffff => little,
        _ => u32::from_be_bytes(*family),
    };
    match family {
        2 | 10 | 24 | 28 | 30 => Network::Ip(rest),
        _ => Network::Other,
    }
}

/// Two bytes in network order.
pub fn be16(data: &[u8], at: usize) -> Option<u16> {
    let bytes = data.get(at..at.checked_add(2)?)?;
    Some(u16::from_be_bytes([bytes[0], bytes[1]]))
}
