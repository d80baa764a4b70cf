//! What rode in a SYN, by its first bytes: the one classifier of captures, of the policy's programs and of `probe`. The
//! bytes themselves are never kept.

use crate::{codes::codes, event::event_flags, policy::mark};

codes! {
    /// A guess at the protocol that needs only the first bytes: a SYN carries little, and captures cut it.
    Carried: u8 {
        /// Nobody kept or looked at any of it.
        NotKept = 0, "not-kept";
        /// A TLS handshake record with a `ClientHello`.
        ClientHello = 1, "client-hello";
        /// An HTTP request whose method is safe or idempotent (RFC 9110 section 9.2.2): sent twice it does no harm.
        HttpIdempotent = 2, "http-idempotent";
        /// An HTTP request that may not be sent twice: POST, PATCH, CONNECT.
        HttpUnsafe = 3, "http-unsafe";
        /// The preface of HTTP/2, whose requests are not looked at.
        Http2 = 4, "http2";
        /// A DNS query over TCP.
        Dns = 5, "dns";
        /// A DNS update or notification.
        DnsUpdate = 6, "dns-update";
        /// Something else.
        Other = 7, "other";
    }
}

/// Methods that may be sent twice.
const IDEMPOTENT: [&str; 6] = ["GET ", "HEAD ", "OPTIONS ", "TRACE ", "PUT ", "DELETE "];
/// Methods that may not.
const UNSAFE: [&str; 3] = ["POST ", "PATCH ", "CONNECT "];

/// The first bytes, as two numbers in network order with zeros behind what there is: the verifier follows a comparison of
/// two numbers once, and one of bytes once for each byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    words: [u64; 2],
}

impl Head {
    /// How many bytes are looked at.
    pub const LEN: usize = 16;

    /// Of these bytes, as they lie in memory.
    #[inline(always)]
    pub const fn of_words(words: [u64; 2]) -> Self {
        Self {
            words: [u64::from_be(words[0]), u64::from_be(words[1])],
        }
    }

    /// Of what there is.
    pub fn of(kept: &[u8]) -> Self {
        let mut words = [[0u8; 8]; 2];
        for (to, from) in words.as_flattened_mut().iter_mut().zip(kept) {
            *to = *from;
        }
        Self {
            words: words.map(u64::from_be_bytes),
        }
    }

    /// Whether it begins with a word of at most eight letters.
    #[inline(always)]
    const fn begins(self, word: &str) -> bool {
        let word = word.as_bytes();
        let (mut value, mut index) = (0u64, 0);
        while index < word.len() {
            value = value << 8 | word[index] as u64;
            index += 1;
        }
        self.words[0] >> (64 - 8 * word.len()) == value
    }

    /// The byte at this place of the first eight.
    #[inline(always)]
    const fn byte(self, at: u32) -> u8 {
        (self.words[0] >> (56 - 8 * at)) as u8
    }
}

impl Carried {
    /// What these first bytes of so many belong to.
    pub fn of(kept: &[u8], length: u32) -> Self {
        if kept.is_empty() {
            return Self::NotKept;
        }
        Self::of_head(Head::of(kept), length)
    }

    /// The same where there is at least one byte.
    #[inline(always)]
    pub const fn of_head(head: Head, length: u32) -> Self {
        if is_not_to_repeat(head) {
            return Self::HttpUnsafe;
        }
        // Record type handshake, version 3.x, and behind the record's length the message's type.
        if head.byte(0) == 0x16 && head.byte(1) == 0x03 && head.byte(5) == 0x01 {
            return Self::ClientHello;
        }
        if head.begins("PRI * HT") && head.words[1] >> 32 == 0x5450_2f32 {
            return Self::Http2;
        }
        let mut index = 0;
        while index < IDEMPOTENT.len() {
            if head.begins(IDEMPOTENT[index]) {
                return Self::HttpIdempotent;
            }
            index += 1;
        }
        dns(head, length)
    }

    /// What it looks like, where a server that got it twice may do something twice (RFC 7413 section 6.1).
    pub const fn not_to_repeat(self) -> Option<&'static str> {
        match self {
            Self::HttpUnsafe => Some("POST, PATCH or CONNECT"),
            Self::DnsUpdate => Some("a DNS update"),
            Self::NotKept
            | Self::ClientHello
            | Self::HttpIdempotent
            | Self::Http2
            | Self::Dns
            | Self::Other => None,
        }
    }

    /// The bit of [`mark`] for it; 0 for what may be repeated, of which nobody takes note.
    #[inline(always)]
    pub const fn mark(self) -> u8 {
        match self {
            Self::HttpUnsafe => mark::HTTP_UNSAFE,
            Self::DnsUpdate => mark::DNS_UPDATE,
            Self::NotKept
            | Self::ClientHello
            | Self::HttpIdempotent
            | Self::Http2
            | Self::Dns
            | Self::Other => 0,
        }
    }

    /// The bit of [`event_flags`] for it; 0 likewise.
    pub const fn flag(self) -> u8 {
        flag_of_mark(self.mark())
    }

    /// What a record's [`event_flags`] say.
    pub const fn of_flags(flags: u8) -> Option<Self> {
        if flags & event_flags::HTTP_UNSAFE != 0 {
            Some(Self::HttpUnsafe)
        } else if flags & event_flags::DNS_UPDATE != 0 {
            Some(Self::DnsUpdate)
        } else {
            None
        }
    }
}

/// The bits of [`event_flags`] for those of a [`mark`].
#[inline(always)]
pub const fn flag_of_mark(flags: u8) -> u8 {
    (flags & mark::CARRIED) << 4
}

const _: () = assert!(flag_of_mark(mark::HTTP_UNSAFE) == event_flags::HTTP_UNSAFE);
const _: () = assert!(flag_of_mark(mark::DNS_UPDATE) == event_flags::DNS_UPDATE);

#[inline(always)]
const fn is_not_to_repeat(head: Head) -> bool {
    let mut index = 0;
    while index < UNSAFE.len() {
        if head.begins(UNSAFE[index]) {
            return true;
        }
        index += 1;
    }
    false
}

/// DNS over TCP: its length, then the header (RFC 1035 section 4.2.2). The length must fit, so that arbitrary
/// bytes are not taken for a query. What was cut has no question.
#[inline(always)]
const fn dns(head: Head, length: u32) -> Carried {
    let message = (head.words[0] >> 48) as u32;
    let questions = head.words[0] as u16;
    let kind = head.byte(4);
    let is_answer = kind & 0x80 != 0;
    if message < 12 || message + 2 > length || is_answer || questions != 1 {
        return Carried::Other;
    }
    match (kind >> 3) & 0x0f {
        0 => Carried::Dns,
        // NOTIFY and UPDATE.
        4 | 5 => Carried::DnsUpdate,
        _ => Carried::Other,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn named(data: &[u8]) -> (&[u8], u32) {
        (data, data.len() as u32)
    }

    fn dns(kind: u8) -> [u8; 31] {
        let mut bytes = [0; 31];
        bytes[..8].copy_from_slice(&[0, 29, 0x12, 0x34, kind, 0, 0, 1]);
        bytes
    }

    #[test]
    fn first_bytes_tell() {
        for (data, want) in [
            (&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], Carried::ClientHello),
            (b"GET / HTTP/1.1\r\n", Carried::HttpIdempotent),
            (b"OPTIONS * HTTP/1.1", Carried::HttpIdempotent),
            (b"DELETE /1 HTTP/1.1", Carried::HttpIdempotent),
            (b"POST / HTTP/1.1\r\n", Carried::HttpUnsafe),
            (b"PATCH / HTTP/1.1\r", Carried::HttpUnsafe),
            (b"CONNECT a:443 HTTP", Carried::HttpUnsafe),
            (b"POSTAGE / HTTP/1.1", Carried::Other),
            (b"post / HTTP/1.1\r\n", Carried::Other),
            (b" POST / HTTP/1.1\r", Carried::Other),
            (b"PRI * HTTP/2.0\r\n", Carried::Http2),
            (b"PRI * HTTP/3.0\r\n", Carried::Other),
            (b"POST", Carried::Other),
            (b"SSH-2.0-OpenSSH_9", Carried::Other),
            (b"", Carried::NotKept),
            (&dns(1), Carried::Dns),
            (&dns(5 << 3), Carried::DnsUpdate),
            (&dns(4 << 3), Carried::DnsUpdate),
            (&dns(2 << 3), Carried::Other),
            (&dns(0x80), Carried::Other),
        ] {
            let (kept, length) = named(data);
            assert_eq!(Carried::of(kept, length), want, "{data:?}");
        }
        assert_eq!(
            Carried::of(&dns(5 << 3), 30),
            Carried::Other,
            "the length does not fit"
        );
    }

    #[test]
    fn what_may_not_be_repeated_is_what_is_marked() {
        for carried in Carried::ALL {
            assert_eq!(
                carried.mark() != 0,
                carried.not_to_repeat().is_some(),
                "{carried:?}"
            );
            let told = Carried::of_flags(carried.flag());
            assert_eq!(told, carried.not_to_repeat().map(|_| carried));
        }
        // Nothing else of a mark or a record is taken for it.
        assert_eq!(flag_of_mark(!mark::CARRIED), 0);
        assert_eq!(
            Carried::of_flags(!(event_flags::HTTP_UNSAFE | event_flags::DNS_UPDATE)),
            None
        );
    }

    const STARTS: &[&[u8]] = &[b"", b"POST ", b"GET ", b"\0\x1d\0\0\x28\0\0\x01"];

    proptest! {
        /// The kernel's way, with sixteen bytes as they lie in memory, and that of captures.
        #[test]
        fn both_ways_to_look_see_the_same(
            start in prop::sample::select(STARTS), rest: [u8; 16], length in 16_u32..2_000,
        ) {
            let mut bytes = rest;
            bytes[..start.len()].copy_from_slice(start);
            let (first, second) = bytes.split_at(8);
            let word = |half: &[u8]| u64::from_ne_bytes(half.try_into().unwrap_or_default());
            let head = Head::of_words([word(first), word(second)]);
            prop_assert_eq!(head, Head::of(&bytes));
            prop_assert_eq!(Carried::of_head(head, length), Carried::of(&bytes, length));
        }
    }
}
