//! The payload of a probe: the first bytes of a protocol, to which a server replies.
//!
//! SYN data can reach a server twice (RFC 7413 section 6.1), so every payload is idempotent: a HEAD request, a
//! `ClientHello`, a query for the name servers of the root.

use std::net::IpAddr;

/// The protocols of ports for which the user has named none.
const HTTP: u16 = 80;
const TLS: u16 = 443;
const DNS: u16 = 53;
/// Length of the payload for an unknown protocol.
const FILL: usize = 100;

/// The protocol of the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `HEAD / HTTP/1.1`.
    Http,
    /// A TLS 1.2 `ClientHello` (RFC 5246 section 7.4.1.2).
    Tls,
    /// A DNS query for the name servers of the root (RFC 1035; over TCP, with its length in front).
    Dns,
    /// 100 bytes without a meaning.
    Fill,
}

impl Protocol {
    /// The usual protocol of this port.
    pub const fn of_port(port: u16) -> Self {
        match port {
            HTTP => Self::Http,
            TLS => Self::Tls,
            DNS => Self::Dns,
            _ => Self::Fill,
        }
    }

    /// The payload in words.
    pub const fn describe(self) -> &'static str {
        match self {
            Self::Http => "HEAD / HTTP/1.1",
            Self::Tls => "a TLS ClientHello",
            Self::Dns => "a DNS question for the root's name servers",
            Self::Fill => "bytes without meaning",
        }
    }

    /// The bytes of the payload. `host` is the name or address that the user gave; `random` is for protocols that need
    /// random bytes.
    pub fn bytes(self, host: &str, random: [u8; 32]) -> Vec<u8> {
        match self {
            Self::Http => http(host),
            Self::Tls => client_hello(host, random),
            Self::Dns => dns(u16::from_be_bytes([random[0], random[1]])),
            Self::Fill => b"tfo-cli probe\r\n".iter().copied().cycle().take(FILL).collect(),
        }
    }
}

fn http(host: &str) -> Vec<u8> {
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(address)) => format!("[{address}]"),
        _ => host.to_owned(),
    };
    format!("HEAD / HTTP/1.1\r\nHost: {host}\r\nUser-Agent: tfo-cli-probe\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

fn dns(id: u16) -> Vec<u8> {
    // Recursion desired; one question: ".", type NS, class IN.
    let mut message = Vec::from(id.to_be_bytes());
    message.extend([0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0]);
    message.extend([0, 0, 2, 0, 1]);
    with_length_16(&message)
}

/// A `ClientHello` that ordinary servers answer with a `ServerHello`.
fn client_hello(host: &str, random: [u8; 32]) -> Vec<u8> {
    /// ECDHE with AES-GCM and `ChaCha20`, then RSA for old servers (IANA TLS cipher suites).
    const CIPHERS: [u16; 10] = [
        0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0x009c, 0x009d, 0x002f, 0x0035,
    ];
    /// x25519, secp256r1, secp384r1.
    const GROUPS: [u16; 3] = [0x001d, 0x0017, 0x0018];
    /// ECDSA, RSA-PSS and RSA with SHA-256, SHA-384 and SHA-512.
    const SIGNATURES: [u16; 9] = [
        0x0403, 0x0503, 0x0603, 0x0804, 0x0805, 0x0806, 0x0401, 0x0501, 0x0601,
    ];
    let words = |words: &[u16]| -> Vec<u8> { words.iter().flat_map(|word| word.to_be_bytes()).collect() };

    let mut extensions = Vec::new();
    // An address is no server name (RFC 6066 section 3).
    if host.parse::<IpAddr>().is_err() {
        let name = [&[0][..], &with_length_16(host.as_bytes())].concat();
        extension(&mut extensions, 0, &with_length_16(&name));
    }
    extension(&mut extensions, 10, &with_length_16(&words(&GROUPS)));
    extension(&mut extensions, 11, &[1, 0]);
    extension(&mut extensions, 13, &with_length_16(&words(&SIGNATURES)));

    let mut hello = vec![0x03, 0x03];
    hello.extend(random);
    // No session to resume.
    hello.push(0);
    hello.extend(with_length_16(&words(&CIPHERS)));
    // Compression: none.
    hello.extend([1, 0]);
    hello.extend(with_length_16(&extensions));

    let length = u32::try_from(hello.len()).unwrap_or(u32::MAX).to_be_bytes();
    let handshake = [&[1, length[1], length[2], length[3]][..], &hello].concat();
    [&[0x16, 0x03, 0x01][..], &with_length_16(&handshake)].concat()
}

fn extension(to: &mut Vec<u8>, kind: u16, content: &[u8]) {
    to.extend(kind.to_be_bytes());
    to.extend(with_length_16(content));
}

/// The content with its length, in two bytes, in front. All contents are far shorter than 64 KiB; the resolver refuses
/// host names that are not.
fn with_length_16(content: &[u8]) -> Vec<u8> {
    let content = &content[..content.len().min(usize::from(u16::MAX))];
    let length = u16::try_from(content.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], content].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ports_choose_the_protocol() {
        let chosen = [80, 443, 53, 8080].map(Protocol::of_port);
        assert_eq!(
            chosen,
            [Protocol::Http, Protocol::Tls, Protocol::Dns, Protocol::Fill]
        );
    }

    #[test]
    fn a_head_names_the_host_as_http_wants_it() {
        let text = |host: &str| String::from_utf8(Protocol::Http.bytes(host, [0; 32])).expect("is text");
        assert!(text("example.net").contains("\r\nHost: example.net\r\n"));
        assert!(text("fd00::1").contains("\r\nHost: [fd00::1]\r\n"));
        assert!(text("10.0.0.1").ends_with("\r\n\r\n"));
    }

    #[test]
    fn dns_has_its_length_in_front() {
        let bytes = Protocol::Dns.bytes("x", [0xab; 32]);
        assert_eq!(bytes.len(), 19);
        assert_eq!(bytes[..4], [0, 17, 0xab, 0xab]);
    }

    #[test]
    fn a_client_hello_names_the_server_only_by_name() {
        let by_name = Protocol::Tls.bytes("example.net", [7; 32]);
        let by_address = Protocol::Tls.bytes("10.0.0.1", [7; 32]);
        assert!(by_name.windows(11).any(|window| window == b"example.net"));
        assert!(!by_address.windows(8).any(|window| window == b"10.0.0.1"));
    }

    proptest! {
        #[test]
        fn lengths_of_a_client_hello_add_up(host in "[a-z]{1,60}(\\.[a-z]{1,60}){0,3}", random: [u8; 32]) {
            let bytes = Protocol::Tls.bytes(&host, random);
            let record = usize::from(u16::from_be_bytes([bytes[3], bytes[4]]));
            prop_assert_eq!(record + 5, bytes.len());
            let handshake = u32::from_be_bytes([0, bytes[6], bytes[7], bytes[8]]) as usize;
            prop_assert_eq!(handshake + 9, bytes.len());
            // It fits into one SYN of the smallest usual MTU.
            prop_assert!(bytes.len() < 1_200);
        }
    }
}
