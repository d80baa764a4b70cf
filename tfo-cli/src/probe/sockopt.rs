//! TCP socket options that `nix` lacks (include/uapi/linux/tcp.h).

use nix::{getsockopt_impl, setsockopt_impl, sockopt_impl};

sockopt_impl!(
    /// Length of a listener's queue of children whose handshake is not finished; 0 turns Fast Open off.
    FastOpenQueue, SetOnly, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, u32);
sockopt_impl!(
    /// The first 128 bytes of `struct tcp_info`, which every kernel since 4.2 fills.
    RawTcpInfo, GetOnly, libc::IPPROTO_TCP, libc::TCP_INFO, [u8; 128]);

/// The state of a connection, from `struct tcp_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// All data of the SYN was acked by the SYN-ACK (`TCPI_OPT_SYN_DATA`).
    pub syn_data_acked: bool,
    /// `tcpi_fastopen_client_fail`: 1 no cookie, 2 data not acked, 3 the same after a SYN timeout.
    pub client_fail: u8,
    /// Smoothed round trip time, us.
    pub rtt_us: u32,
    /// Segments that were retransmitted since the connection began.
    pub total_retrans: u32,
}

impl From<[u8; 128]> for TcpInfo {
    fn from(raw: [u8; 128]) -> Self {
        let word = |at: usize| u32::from_ne_bytes([raw[at], raw[at + 1], raw[at + 2], raw[at + 3]]);
        Self {
            syn_data_acked: raw[5] & 32 != 0,
            client_fail: (raw[7] >> 1) & 3,
            rtt_us: word(68),
            total_retrans: word(100),
        }
    }
}
