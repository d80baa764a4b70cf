//! DNS messages (RFC 1035), as far as one question for one name needs them. Answers come from anybody: every
//! byte of them is suspect.

use std::{fmt::Write as _, net::IpAddr};

const PTR: u16 = 12;
const HEADER: usize = 12;
/// Jumps a compressed name may take.
const MOST_JUMPS: usize = 16;

/// The question for the name of an address.
pub fn question(id: u16, ip: IpAddr) -> Vec<u8> {
    let mut message = Vec::with_capacity(96);
    message.extend(id.to_be_bytes());
    // Recursion desired, one question.
    message.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in reverse_name(ip).split('.') {
        message.push(u8::try_from(label.len()).unwrap_or(0));
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(PTR.to_be_bytes());
    message.extend([0, 1]);
    message
}

/// `1.2.0.192.in-addr.arpa`, or nibbles below `ip6.arpa` (RFC 3596).
fn reverse_name(ip: IpAddr) -> String {
    let mut name = String::new();
    match ip {
        IpAddr::V4(v4) => {
            for byte in v4.octets().into_iter().rev() {
                let _ = write!(name, "{byte}.");
            }
            name.push_str("in-addr.arpa");
        }
        IpAddr::V6(v6) => {
            for byte in v6.octets().into_iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            name.push_str("ip6.arpa");
        }
    }
    name
}

/// The name in an answer to the question with this id.
pub fn name(message: &[u8], id: u16) -> Option<String> {
    let (flags, code) = (message.get(2)?, message.get(3)? & 15);
    let is_answer = number(message, 0)? == id && flags & 0x80 != 0 && code == 0;
    if !is_answer {
        return None;
    }
    let (questions, answers) = (number(message, 4)?, number(message, 6)?);
    let mut at = HEADER;
    for _ in 0..questions {
        at = skip_name(message, at)? + 4;
    }
    for _ in 0..answers {
        at = skip_name(message, at)?;
        let (kind, length) = (number(message, at)?, number(message, at + 8)?);
        at += 10;
        if kind == PTR {
            return read_name(message, at);
        }
        at += usize::from(length);
    }
    None
}

fn number(message: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*message.get(at)?, *message.get(at + 1)?]))
}

/// The place behind a name.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length @ 1..64 => at += 1 + usize::from(length),
            192.. => return Some(at + 2),
            _ => return None,
        }
    }
}

fn read_name(message: &[u8], mut at: usize) -> Option<String> {
    let mut name = String::new();
    let mut jumps = 0;
    loop {
        match *message.get(at)? {
            0 => return (!name.is_empty()).then_some(name),
            length @ 1..64 => {
                let label = message.get(at + 1..at + 1 + usize::from(length))?;
                // Names of hosts are letters, digits, hyphens; whatever else stands here could steer a terminal.
                if !label
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
                {
                    return None;
                }
                if !name.is_empty() {
                    name.push('.');
                }
                name.push_str(std::str::from_utf8(label).ok()?);
                at += 1 + usize::from(length);
            }
            high @ 192.. => {
                jumps += 1;
                if jumps > MOST_JUMPS || name.len() > 255 {
                    return None;
                }
                at = usize::from(high & 63) << 8 | usize::from(*message.get(at + 1)?);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The question with an answer behind it; its name points back to the question.
    fn answer(ip: IpAddr, labels: &[u8]) -> Vec<u8> {
        let mut message = question(7, ip);
        message[2] |= 0x80;
        message[7] = 1;
        message.extend([0xc0, 12, 0, 12, 0, 1, 0, 0, 0, 60]);
        message.extend(u16::try_from(labels.len()).expect("it is short").to_be_bytes());
        message.extend(labels);
        message
    }

    #[test]
    fn names_are_asked_for_and_read() {
        let ip: IpAddr = "192.0.2.1".parse().expect("a good address");
        assert_eq!(reverse_name(ip), "1.2.0.192.in-addr.arpa");
        let message = answer(ip, b"\x02db\x07example\x03org\x00");
        assert_eq!(name(&message, 7).as_deref(), Some("db.example.org"));
        assert_eq!(name(&message, 8), None, "somebody else's answer");
        let six: IpAddr = "2001:db8::1".parse().expect("a good address");
        assert!(reverse_name(six).starts_with("1.0.0.0."));
        assert!(reverse_name(six).ends_with(".8.b.d.0.1.0.0.2.ip6.arpa"));
    }

    #[test]
    fn hostile_answers_are_no_names() {
        let ip: IpAddr = "192.0.2.1".parse().expect("a good address");
        let at = u8::try_from(question(7, ip).len() + 12).expect("it is short");
        assert_eq!(
            name(&answer(ip, &[0xc0, at]), 7),
            None,
            "a name that points to itself"
        );
        assert_eq!(
            name(&answer(ip, b"\x04\x1b[2J\x00"), 7),
            None,
            "an escape sequence"
        );
        assert_eq!(
            name(&answer(ip, b"\x3fshort"), 7),
            None,
            "a label longer than the message"
        );
    }

    proptest! {
        #[test]
        fn garbage_never_panics(message: Vec<u8>, id: u16) {
            let _ = name(&message, id);
        }

        #[test]
        fn damaged_answers_never_panic(place in 0usize..80, byte: u8) {
            let mut message = answer("192.0.2.1".parse().expect("a good address"), b"\x02db\x07example\x03org\x00");
            let place = place % message.len();
            message[place] = byte;
            let _ = name(&message, 7);
        }
    }
}
