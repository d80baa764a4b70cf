//! TCP segments as bytes: parses those that arrive, encodes those to send.

use std::net::{IpAddr, SocketAddr};

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const ACK: u8 = 0x10;

/// Option kind of Fast Open (RFC 7413, section 4.1.1).
const TFO_KIND: u8 = 34;
/// Option kind for experiments (RFC 6994), which Fast Open shares with others.
const EXPERIMENTAL_KIND: u8 = 254;
/// The identifier of Fast Open in the experimental option.
const MAGIC: [u8; 2] = [0xf9, 0x89];
const HEADER_LEN: usize = 20;

/// The TFO option of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FastOpen {
    /// No option.
    None,
    /// An empty option, which requests a cookie.
    Request,
    /// An option with a cookie.
    Cookie,
}

/// A received segment.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    pub source: u16,
    pub destination: u16,
    pub sequence: u32,
    pub flags: u8,
    pub fast_open: FastOpen,
    pub payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// Parses a segment; `None` if it is cut short. Checksums are not verified.
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let header = bytes.first_chunk::<HEADER_LEN>()?;
        let data_offset = usize::from(header[12] >> 4) * 4;
        let options = bytes.get(HEADER_LEN..data_offset)?;
        Some(Self {
            source: u16::from_be_bytes([header[0], header[1]]),
            destination: u16::from_be_bytes([header[2], header[3]]),
            sequence: u32::from_be_bytes([header[4], header[5], header[6], header[7]]),
            flags: header[13],
            fast_open: fast_open(options),
            payload: &bytes[data_offset..],
        })
    }
}

/// A segment to send.
#[derive(Clone, Debug)]
pub struct Outgoing {
    pub sequence: u32,
    pub acknowledgement: u32,
    pub flags: u8,
    pub payload: Vec<u8>,
    pub cookie: Option<Cookie>,
}

/// The kind of cookie that the responder grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Whether it is in option 254 instead of 34.
    pub experimental: bool,
    /// Its length in bytes: 4 to 16, even.
    pub length: u8,
}

impl Cookie {
    /// A cookie as Linux servers grant it.
    pub const ORDINARY: Self = Self {
        experimental: false,
        length: 8,
    };

    /// The option with the cookie, padded to a multiple of 4 bytes.
    fn option(self) -> Vec<u8> {
        const BYTES: &[u8; 16] = b"tfo-lab!tfo-lab!";
        let bytes = &BYTES[..usize::from(self.length).min(BYTES.len())];
        let mut option = if self.experimental {
            vec![EXPERIMENTAL_KIND, self.length + 4, MAGIC[0], MAGIC[1]]
        } else {
            vec![TFO_KIND, self.length + 2]
        };
        option.extend_from_slice(bytes);
        option.resize(option.len().next_multiple_of(4), 1);
        option
    }
}

/// The two ends of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Ends {
    pub from: SocketAddr,
    pub to: SocketAddr,
}

impl Outgoing {
    /// The segment as bytes, checksum included.
    pub fn encode(&self, ends: &Ends) -> Vec<u8> {
        let mut options = Vec::new();
        if self.flags & SYN != 0 {
            options.extend_from_slice(&[2, 4, 0x05, 0xa0]); // MSS 1440
        }
        if let Some(cookie) = self.cookie {
            options.extend(cookie.option());
        }
        let words = u8::try_from((HEADER_LEN + options.len()) / 4).unwrap_or_default();
        let mut bytes = Vec::with_capacity(HEADER_LEN + options.len() + self.payload.len());
        bytes.extend_from_slice(&ends.from.port().to_be_bytes());
        bytes.extend_from_slice(&ends.to.port().to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.acknowledgement.to_be_bytes());
        bytes.extend_from_slice(&[words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        bytes.extend_from_slice(&options);
        bytes.extend_from_slice(&self.payload);
        let sum = checksum(ends, &bytes).to_be_bytes();
        bytes[16..18].copy_from_slice(&sum);
        bytes
    }
}

/// The TCP segment in a packet from a raw socket: those of IPv4 deliver the IP header, too, those of IPv6 do not.
pub fn strip_ip(packet: &[u8], v4: bool) -> Option<&[u8]> {
    if !v4 {
        return Some(packet);
    }
    let header = usize::from(packet.first()? & 0x0f) * 4;
    packet.get(header..)
}

fn fast_open(mut options: &[u8]) -> FastOpen {
    loop {
        match options {
            [1, rest @ ..] => options = rest,
            [TFO_KIND, 2, ..] => return FastOpen::Request,
            [TFO_KIND, len, ..] if *len > 2 => return FastOpen::Cookie,
            [EXPERIMENTAL_KIND, 4, a, b, ..] if [*a, *b] == MAGIC => return FastOpen::Request,
            [EXPERIMENTAL_KIND, len, a, b, ..] if *len > 4 && [*a, *b] == MAGIC => return FastOpen::Cookie,
            [0, ..] | [] | [_] | [_, 0..=1, ..] => return FastOpen::None,
            [_, len, ..] => options = options.get(usize::from(*len)..).unwrap_or_default(),
        }
    }
}

/// The same segment with its checksum worked out anew.
pub fn with_checksum(ends: &Ends, segment: &[u8]) -> Vec<u8> {
    let mut bytes = segment.to_vec();
    if bytes.len() >= HEADER_LEN {
        bytes[16..18].fill(0);
        let sum = checksum(ends, &bytes).to_be_bytes();
        bytes[16..18].copy_from_slice(&sum);
    }
    bytes
}

fn checksum(ends: &Ends, segment: &[u8]) -> u16 {
    let mut pseudo = Vec::new();
    for address in [ends.from.ip(), ends.to.ip()] {
        match address {
            IpAddr::V4(ip) => pseudo.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => pseudo.extend_from_slice(&ip.octets()),
        }
    }
    let length = u32::try_from(segment.len()).unwrap_or_default();
    pseudo.extend_from_slice(&length.to_be_bytes());
    pseudo.extend_from_slice(&6_u32.to_be_bytes());
    let words = pseudo.chunks(2).chain(segment.chunks(2));
    let mut sum: u32 = words
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair.get(1).copied().unwrap_or(0)])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !u16::try_from(sum).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_written_segment_can_be_read_and_its_checksum_adds_up() {
        let ends = Ends {
            from: "10.77.0.2:80".parse().unwrap(),
            to: "10.77.0.1:4000".parse().unwrap(),
        };
        let sent = Outgoing {
            sequence: 7,
            acknowledgement: 9,
            flags: SYN | ACK,
            payload: b"odd".to_vec(),
            cookie: Some(Cookie::ORDINARY),
        };
        let bytes = sent.encode(&ends);
        let read = Segment::parse(&bytes).unwrap();
        assert_eq!((read.source, read.destination, read.sequence), (80, 4000, 7));
        assert_eq!((read.fast_open, read.payload), (FastOpen::Cookie, &b"odd"[..]));
        assert_eq!(checksum(&ends, &bytes), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some(segment) = strip_ip(&bytes, true).and_then(Segment::parse) {
                prop_assert!(segment.payload.len() <= bytes.len());
            }
        }
    }
}
