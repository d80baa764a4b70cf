//! TCP headers and the Fast Open option in them (RFC 7413 section 4.1.1), also where the capture cut them.

use tfo_common::TfoOption;

/// FIN, in [`Header::flags`].
pub const FIN: u8 = 0x01;
/// SYN.
pub const SYN: u8 = 0x02;
/// RST.
pub const RST: u8 = 0x04;
/// ACK.
pub const ACK: u8 = 0x10;

/// The kind IANA assigned.
const KIND: u8 = 34;
/// The experimental kind (RFC 6994), with [`MAGIC`].
const EXPERIMENTAL: u8 = 254;
/// The experiment's number.
const MAGIC: [u8; 2] = [0xf9, 0x89];
/// Longest cookie (`TCP_FASTOPEN_COOKIE_MAX`).
pub const MOST_COOKIE: usize = 16;

/// A TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Source port.
    pub source: u16,
    /// Destination port.
    pub destination: u16,
    /// Sequence number.
    pub sequence: u32,
    /// Acknowledgement number; means something only with [`ACK`].
    pub acknowledgement: u32,
    /// Flags.
    pub flags: u8,
    /// Length of the header on the wire.
    pub length: usize,
    /// Options, as far as they were kept.
    pub options: &'a [u8],
    /// The whole header was kept.
    pub whole: bool,
    /// Payload, as far as it was kept.
    pub payload: &'a [u8],
}

/// Why a header cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Cut before the flags.
    Cut,
    /// A length it cannot have.
    Malformed,
}

impl<'a> Header<'a> {
    /// Reads a header.
    pub fn parse(tcp: &'a [u8]) -> Result<Self, HeaderError> {
        let fixed = tcp.first_chunk::<20>().ok_or(HeaderError::Cut)?;
        let length = usize::from(fixed[12] >> 4) * 4;
        if length < 20 {
            return Err(HeaderError::Malformed);
        }
        let kept = length.min(tcp.len());
        Ok(Self {
            source: u16::from_be_bytes([fixed[0], fixed[1]]),
            destination: u16::from_be_bytes([fixed[2], fixed[3]]),
            sequence: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            acknowledgement: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            flags: fixed[13],
            length,
            options: &tcp[20..kept],
            whole: kept == length,
            payload: &tcp[kept..],
        })
    }

    /// Whether all these flags are set.
    pub fn has(&self, flags: u8) -> bool {
        self.flags & flags == flags
    }
}

/// A Fast Open option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastOpen<'a> {
    /// 34 or 254; 0 for no option.
    pub kind: u8,
    /// The cookie; empty for a request.
    pub cookie: &'a [u8],
}

const NO_OPTION: FastOpen<'static> = FastOpen { kind: 0, cookie: &[] };

impl FastOpen<'_> {
    /// What it is to the classifier.
    pub fn option(&self) -> TfoOption {
        match (self.kind, self.cookie) {
            (0, _) => TfoOption::None,
            (_, []) => TfoOption::Request,
            _ => TfoOption::Cookie,
        }
    }
}

/// Looks for the option as `tcp_parse_options` and `tcp_parse_fastopen_option` do (`net/ipv4/tcp_input.c`): one
/// of an odd length is passed over, one of an impossible even length (2, or more than 16) stands for none.
/// `None`: the header was cut before the option was met.
pub fn fast_open<'a>(header: &Header<'a>) -> Option<FastOpen<'a>> {
    let mut found = NO_OPTION;
    let mut rest = header.options;
    loop {
        match rest {
            [] if header.whole || found.kind != 0 => return Some(found),
            [] => return None,
            [0, ..] => return Some(found),
            [1, after @ ..] => rest = after,
            // The length is missing.
            [_] => return (header.whole || found.kind != 0).then_some(found),
            [kind, length, ..] => {
                let length = usize::from(*length);
                if length < 2 {
                    return Some(found);
                }
                let Some(value) = rest.get(2..length) else {
                    // Cut off, or a length that leaves the header: the kernel stops there as well.
                    return (header.whole || found.kind != 0).then_some(found);
                };
                let cookie = match *kind {
                    KIND => Some(value),
                    EXPERIMENTAL => value.strip_prefix(&MAGIC),
                    _ => None,
                };
                match cookie.map(|cookie| (cookie.len(), cookie)) {
                    Some((0 | 4 | 6 | 8 | 10 | 12 | 14 | MOST_COOKIE, cookie)) => {
                        found = FastOpen { kind: *kind, cookie };
                    }
                    Some((length, _)) if length % 2 == 0 => found = NO_OPTION,
                    _ => {}
                }
                rest = &rest[length..];
            }
        }
    }
}
