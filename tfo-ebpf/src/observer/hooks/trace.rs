//! Tracepoints: what `sock_ops` does not tell. All are rare but the last, which runs once per socket.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tfo_common::Loss;

use crate::observer::{
    account,
    flow::{self, bit, stage},
};

/// `tcp_reset` (net/ipv4/tcp_input.c): `TP_PROTO(struct sock *sk)`. Noted for connections whose handshake
/// lasts; the state change that follows ends them.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tfo_rcv_reset(ctx: BtfTracePointContext) -> i32 {
    if let Some(flow) = flow::of(ctx.arg::<u64>(0)) {
        if flow.stage == stage::HANDSHAKE {
            flow.bits |= bit::RESET;
        }
    }
    0
}

/// `TP_PROTO(const struct sock *sk, struct request_sock *req)`. For a child created from the SYN `sk` is
/// the child; for others it is the listener, and the child gets the number in `total_retrans`.
#[btf_tracepoint(function = "tcp_retransmit_synack")]
pub fn tfo_rtx_synack(ctx: BtfTracePointContext) -> i32 {
    if let Some(flow) = flow::of(ctx.arg::<u64>(0)) {
        flow.synack_retrans = flow.synack_retrans.saturating_add(1);
    }
    0
}

/// `tcp_v4_destroy_sock`: `TP_PROTO(struct sock *sk)`. Removes the flow, whose address may be another
/// socket's next. One that has no verdict by now lost its callback flags to another program (or both ends opened at
/// once, RFC 9293 section 3.5, and the kernel took the server's way out of the handshake).
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tfo_destroy(ctx: BtfTracePointContext) -> i32 {
    let sk = ctx.arg::<u64>(0);
    if let Some(flow) = flow::of(sk) {
        if flow.stage == stage::HANDSHAKE && flow.has(bit::REQUESTED) {
            account::lost(Loss::FlagsLost);
        }
        flow::remove(sk);
    }
    0
}
