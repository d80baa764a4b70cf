//! The host's settings in words.

/// Bits of `net.ipv4.tcp_fastopen` (`TFO_*` in include/net/tcp.h) and what they switch on.
pub const SYSCTL_BITS: [(u32, &str, &str); 5] = [
    (0x1, "client", "sockets may connect with Fast Open"),
    (0x2, "server", "listeners may accept it"),
    (
        0x4,
        "client-no-cookie",
        "data goes into the first SYN without a cookie",
    ),
    (0x200, "server-no-cookie", "data is accepted without a cookie"),
    (0x400, "all-listeners", "every listener has it on"),
];

/// The sysctl in words, with bits nobody knows as a number.
pub fn sysctl_words(value: u32) -> String {
    let mut words: Vec<String> = SYSCTL_BITS
        .iter()
        .filter(|(bit, _, _)| value & bit != 0)
        .map(|(_, word, _)| (*word).to_owned())
        .collect();
    let known: u32 = SYSCTL_BITS.iter().map(|(bit, _, _)| bit).sum();
    if value & !known != 0 {
        words.push(format!("{:#x}", value & !known));
    }
    if words.is_empty() {
        "off".to_owned()
    } else {
        words.join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_become_words() {
        let table = [
            (0, "off"),
            (1, "client"),
            (3, "client server"),
            (0x407, "client server client-no-cookie all-listeners"),
            (0x602, "server server-no-cookie all-listeners"),
            (0x801, "client 0x800"),
        ];
        for (value, want) in table {
            assert_eq!(sysctl_words(value), want);
        }
    }
}
