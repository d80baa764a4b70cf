//! TCP socket options that `nix` lacks: the Fast Open family and `TCP_INFO`.

use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// Length of a listener's queue of children whose handshake is not finished; 0 turns TFO off.
    FastOpenQueue, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, u32);
sockopt_impl!(
    /// Makes `connect` defer the SYN to the first write, whose data it then carries.
    FastOpenConnect, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT, u32);
sockopt_impl!(
    /// Data in the SYN without any cookie.
    FastOpenNoCookie, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_NO_COOKIE, u32);
sockopt_impl!(
    /// A listener's own key.
    FastOpenKey, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, [u8; 16]);
sockopt_impl!(
    /// A listener's own primary and backup key.
    FastOpenKeyPair, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_KEY, [u8; 32]);
sockopt_impl!(
    /// Seconds a listener waits for data before it hands out a connection.
    DeferAccept, SetOnly, libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, u32);
sockopt_impl!(
    /// 0: delayed ACKs from the start.
    QuickAck, SetOnly, libc::IPPROTO_TCP, libc::TCP_QUICKACK, u32);
sockopt_impl!(
    /// 1: partial segments wait.
    Cork, SetOnly, libc::IPPROTO_TCP, libc::TCP_CORK, u32);
sockopt_impl!(
    /// Number of SYN retransmissions before `connect` fails.
    SynCount, SetOnly, libc::IPPROTO_TCP, libc::TCP_SYNCNT, u32);
sockopt_impl!(
    /// The first 128 bytes of `struct tcp_info`, which every kernel since 4.2 fills.
    RawTcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u8; 128]);

/// The state of a connection, from `struct tcp_info` (include/uapi/linux/tcp.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct TcpInfo {
    /// `TCP_ESTABLISHED` is 1.
    pub state: u8,
    /// `TCPI_OPT_*` bits; 32 (`TCPI_OPT_SYN_DATA`) says all SYN data was acked.
    pub options: u8,
    /// `tcpi_fastopen_client_fail`: 1 no cookie, 2 data not acked, 3 the same after a SYN timeout.
    pub client_fail: u8,
    /// Smoothed round trip time in microseconds.
    pub rtt_us: u32,
    /// Segments retransmitted over the connection's life.
    pub total_retrans: u32,
    /// Bytes acked, the SYN included.
    pub bytes_acked: u64,
}

impl TcpInfo {
    /// Whether the SYN's data was acked in full by the SYN-ACK.
    pub fn syn_data_acked(&self) -> bool {
        self.options & 32 != 0
    }
}

impl From<[u8; 128]> for TcpInfo {
    fn from(raw: [u8; 128]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        let bytes_acked = [word(120).to_ne_bytes(), word(124).to_ne_bytes()].concat();
        Self {
            state: raw[0],
            options: raw[5],
            client_fail: (raw[7] >> 1) & 3,
            rtt_us: word(68),
            total_retrans: word(100),
            bytes_acked: bytes_acked.try_into().map_or(0, u64::from_ne_bytes),
        }
    }
}
