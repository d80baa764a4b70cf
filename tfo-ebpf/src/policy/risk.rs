//! Which sockets would hang when their SYN data is denied.

use crate::{kern::Typed, layout::layout};

/// Whether the kernel would leave the queued data where it is when the SYN-ACK comes:
/// `tcp_rcv_synsent_state_process` (net/ipv4/tcp_input.c) sends only an ACK, or nothing at all for a while, when
/// `rskq_defer_accept` is set or `inet_csk_in_pingpong_mode`. (`sk_write_pending` has a writer who goes on by
/// itself.) Where the members are unknown every socket is at risk.
#[inline(always)]
pub fn is_at_risk(tcp: Typed) -> bool {
    let (pingpong, defer) = (layout!(icsk_pingpong), layout!(icsk_defer_accept));
    if !pingpong.is_present() || !defer.is_present() || !layout!(skb_sk).is_present() {
        return true;
    }
    tcp.uint(pingpong) != 0 || tcp.uint(defer) != 0
}
