//! What rode in a SYN, by its first bytes. The bytes themselves are never kept.

use serde::Serialize;

/// A guess at the protocol that needs only the first bytes: a SYN carries little, and captures cut it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carried {
    /// A TLS handshake record with a `ClientHello`.
    ClientHello,
    /// An HTTP request whose method is safe or idempotent (RFC 9110 section 9.2.2): sent twice it does no harm.
    HttpIdempotent,
    /// An HTTP request that may not be sent twice: POST, PATCH, CONNECT.
    HttpUnsafe,
    /// The preface of HTTP/2, whose requests are not looked at.
    Http2,
    /// A DNS query over TCP.
    Dns,
    /// A DNS update or notification.
    DnsUpdate,
    /// Something else.
    Other,
    /// The capture kept none of it.
    NotKept,
}

/// Methods that may be sent twice.
const IDEMPOTENT: [&[u8]; 6] = [b"GET ", b"HEAD ", b"OPTIONS ", b"TRACE ", b"PUT ", b"DELETE "];
/// Methods that may not.
const UNSAFE: [&[u8]; 3] = [b"POST ", b"PATCH ", b"CONNECT "];

impl Carried {
    /// What these first bytes of so many belong to.
    pub fn of(kept: &[u8], length: u32) -> Self {
        let begins = |words: &[&[u8]]| words.iter().any(|word| kept.starts_with(word));
        match kept {
            [] => Carried::NotKept,
            // Record type handshake, version 3.x, and behind the record's length the message's type.
            [0x16, 0x03, _, _, _, 0x01, ..] => Carried::ClientHello,
            _ if kept.starts_with(b"PRI * HTTP/2") => Carried::Http2,
            _ if begins(&IDEMPOTENT) => Carried::HttpIdempotent,
            _ if begins(&UNSAFE) => Carried::HttpUnsafe,
            _ => dns(kept, length).unwrap_or(Carried::Other),
        }
    }

    /// The word every output uses.
    pub fn name(self) -> &'static str {
        match self {
            Carried::ClientHello => "client-hello",
            Carried::HttpIdempotent => "http-idempotent",
            Carried::HttpUnsafe => "http-unsafe",
            Carried::Http2 => "http2",
            Carried::Dns => "dns",
            Carried::DnsUpdate => "dns-update",
            Carried::Other => "other",
            Carried::NotKept => "not-kept",
        }
    }

    /// What it looks like, where a server that got it twice may do something twice (RFC 7413 section 6.1).
    pub fn not_to_repeat(self) -> Option<&'static str> {
        match self {
            Carried::HttpUnsafe => Some("POST, PATCH or CONNECT"),
            Carried::DnsUpdate => Some("a DNS update"),
            _ => None,
        }
    }
}

/// DNS over TCP: its length, then the header (RFC 1035 section 4.2.2). The length must fit, so that arbitrary
/// bytes are not taken for a query.
fn dns(kept: &[u8], length: u32) -> Option<Carried> {
    let header = kept.first_chunk::<14>()?;
    let message = u32::from(u16::from_be_bytes([header[0], header[1]]));
    let questions = u16::from_be_bytes([header[6], header[7]]);
    let is_answer = header[4] & 0x80 != 0;
    if message < 12 || message + 2 > length || is_answer || questions != 1 {
        return None;
    }
    match (header[4] >> 3) & 0x0f {
        0 => Some(Carried::Dns),
        // NOTIFY and UPDATE.
        4 | 5 => Some(Carried::DnsUpdate),
        _ => None,
    }
}
