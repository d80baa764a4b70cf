//! `/proc/net/tcp` and `tcp6`: for a listening socket the last column is the length of its Fast Open queue
//! (`get_tcp4_sock`, `net/ipv4/tcp_ipv4.c`). Pure and total: lines that are no listener are skipped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// `TCP_LISTEN` (`include/net/tcp_states.h`).
const LISTEN: &str = "0A";
/// Columns of a line, and those we read.
const COLUMNS: usize = 17;
const LOCAL: usize = 1;
const STATE: usize = 3;
const UID: usize = 7;
const INODE: usize = 9;

/// One listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// As bound.
    pub address: SocketAddr,
    /// User that owns it.
    pub uid: u32,
    /// Inode of the socket.
    pub inode: u64,
    /// `fastopenq.max_qlen`; 0 is off.
    pub limit: u32,
}

/// The listening sockets of a table.
pub fn listeners(table: &str) -> Vec<Row> {
    table.lines().filter_map(row).collect()
}

fn row(line: &str) -> Option<Row> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    if fields.len() != COLUMNS || fields[STATE] != LISTEN {
        return None;
    }
    Some(Row {
        address: address(fields[LOCAL])?,
        uid: fields[UID].parse().ok()?,
        inode: fields[INODE].parse().ok()?,
        limit: fields[COLUMNS - 1].parse().ok()?,
    })
}

/// `0100007F:0050`: words of 32 bits in host order, the port in network order.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if !is_hex(ip) || !is_hex(port) {
        return None;
    }
    let word = |at: usize| {
        u32::from_str_radix(ip.get(at * 8..at * 8 + 8)?, 16)
            .ok()
            .map(u32::to_ne_bytes)
    };
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let mut bytes = [0; 16];
            for (at, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(at)?);
            }
            Ipv6Addr::from(bytes).into()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TCP: &str = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode                                                     \n\
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 4711 1 0000000000000000 100 0 0 10 256\n\
   1: 00000000:0050 00000000:0000 0A 00000000:00000002 00:00000000 00000000     0        0 4712 1 0000000000000000 100 0 0 10 0\n\
   2: 0100007F:1F90 0100007F:D431 01 00000000:00000000 00:00000000 00000000  1000        0 4713 1 0000000000000000 20 4 30 10 -1\n";

    #[test]
    #[cfg(target_endian = "little")]
    fn listeners_are_found_with_their_queues() {
        let row = |address: &str, uid, inode, limit| Row {
            address: address.parse().expect("an address"),
            uid,
            inode,
            limit,
        };
        assert_eq!(
            listeners(TCP),
            [
                row("127.0.0.1:8080", 1000, 4711, 256),
                row("0.0.0.0:80", 0, 4712, 0)
            ]
        );
        let tcp6 = "   0: 000077FD000000000000000002000000:01BB 00000000000000000000000000000000:0000 0A 00000000:00000000 \
                    00:00000000 00000000     0        0 9 1 0000000000000000 100 0 0 10 16\n";
        assert_eq!(listeners(tcp6), [row("[fd77::2]:443", 0, 9, 16)]);
    }

    #[test]
    fn odd_lines_are_no_listeners() {
        let good = TCP.lines().nth(1).expect("a line");
        assert_eq!(listeners(good).len(), 1);
        for (from, to) in [
            ("0100007F:1F90", "0100007F"),
            ("0100007F:1F90", "+100007F:1F90"),
            ("0100007F:1F90", "0100007:1F90"),
            ("0100007F:1F90", "0100007F:1F901"),
            (" 0A ", " 01 "),
            ("4711", "-1"),
            (" 256", " -1"),
            (" 256", " 99999999999"),
            (" 256", ""),
        ] {
            assert_eq!(listeners(&good.replacen(from, to, 1)), [], "{to}");
        }
    }

    proptest! {
        #[test]
        fn any_table_is_survived(text in "\\PC{0,300}", cells in proptest::collection::vec("[0-9A-F:+-]{0,34}", 17)) {
            let _ = listeners(&text);
            let mut cells = cells;
            cells[STATE] = LISTEN.to_owned();
            let _ = listeners(&cells.join(" "));
        }
    }
}
