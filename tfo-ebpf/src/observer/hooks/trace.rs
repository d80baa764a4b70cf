//! Tracepoints: what `sock_ops` does not tell. All are rare but `tfo_destroy`, which runs once per socket.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_RETRANS_CB_FLAG as RETRANS, BPF_SOCK_OPS_RTO_CB_FLAG as RTO,
        BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
    },
    macros::btf_tracepoint,
    programs::BtfTracePointContext,
};
use tfo_common::{
    Role,
    classify::End,
    flags::Control,
    slots,
    time::{UNSEEN_US, whole_us},
};

use super::{client, flags, server};
use crate::{
    kern::Typed,
    layout::layout,
    observer::{
        account, clock, finish,
        flow::{self, Flow, bit, stage},
        maps::config,
    },
};

/// `TCP_CLOSE` (include/net/tcp_states.h).
const CLOSE: u64 = 7;
/// `ECONNRESET` (include/uapi/asm-generic/errno.h).
const ECONNRESET: u64 = 104;
/// `TCP_SYN_SENT`.
const SYN_SENT: u64 = 2;

/// The socket, which is the first argument of each.
#[inline(always)]
fn socket_of(ctx: &BtfTracePointContext) -> *mut core::ffi::c_void {
    ctx.arg(0)
}

/// Whether a socket may have a flow: as long as it has one, one of these flags of ours is on it. The kernel has just looked at
/// them (`tcp_set_state`); of a flow it is not known but by a line of its own, which is in no cache and takes 100 ns.
///
/// `trace --all` asks for no flag of plain connections, and other `sock_ops` programs may have taken ours away. Should somebody
/// have done so who is gone by now, the flow is found when its socket's address has its next connection (`client::may_be_left`).
#[inline(always)]
fn may_have_flow(tcp: Typed) -> bool {
    tcp.uint(layout!(tp_cb_flags)) & u64::from(RETRANS | STATE | WRITE) != 0
        || config!(emit_plain) != 0
        || flags::control(Control::ForeignSockOps) != 0
}

/// `tcp_reset` (net/ipv4/tcp_input.c): `TP_PROTO(struct sock *sk)`. Noted for connections whose handshake
/// lasts. Attached only where errors are not told (before 5.14): where they are, the socket still has its error then.
#[btf_tracepoint(function = "tcp_receive_reset")]
pub fn tfo_rcv_reset(ctx: BtfTracePointContext) -> i32 {
    // Most resets end connections, not handshakes.
    if Typed::sock(socket_of(&ctx)).uint(layout!(skc_state)) != SYN_SENT {
        return 0;
    }
    if let Some(flow) = flow::of(socket_of(&ctx)) {
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
    if let Some(flow) = flow::of(socket_of(&ctx)) {
        flow.synack_retrans = flow.synack_retrans.saturating_add(1);
    }
    0
}

/// `sk_error_report` (net/core/sock.c): `TP_PROTO(const struct sock *sk)`. A handshake that ends with an error, a RST
/// or an ICMP message, ends here, before its application knows.
#[btf_tracepoint(function = "inet_sk_error_report")]
pub fn tfo_sk_error(ctx: BtfTracePointContext) -> i32 {
    let sk = socket_of(&ctx);
    // Most errors are resets of connections. In SYN_SENT the error is another one (`tcp_reset`), and one whose SYN crossed
    // that of its peer is told when it is destroyed.
    if Typed::sock(sk).uint(layout!(sk_err)) == ECONNRESET {
        return 0;
    }
    if let Some(tcp) = Typed::tcp_sock(sk)
        && may_have_flow(tcp)
        && let Some(flow) = flow::of(sk)
        && flow.stage == stage::HANDSHAKE
        && flow.role == Role::Client as u8
        && is_over(tcp)
    {
        client::give_up(tcp, flow);
        finish::tell_and_count(tcp, flow::reread(flow));
        flow::remove(sk);
    }
    0
}

/// Whether a socket that reports an error is done with its handshake: it is closed, or will be (until Linux 6.10 the
/// report of a timeout and of an ICMP message comes before). Messages that it only queues leave `sk_err` alone.
#[inline(always)]
fn is_over(tcp: Typed) -> bool {
    tcp.uint(layout!(skc_state)) == CLOSE || tcp.uint(layout!(sk_err)) != 0
}

/// `tcp_v4_destroy_sock`: `TP_PROTO(struct sock *sk)`. Removes the flow, whose address may be another
/// socket's next. One that has no verdict by now gets it: nobody is left to change it.
#[btf_tracepoint(function = "tcp_destroy_sock")]
pub fn tfo_destroy(ctx: BtfTracePointContext) -> i32 {
    let sk = socket_of(&ctx);
    let Some(tcp) = Typed::tcp_sock(sk) else { return 0 };
    let flow = if may_have_flow(tcp) { flow::of(sk) } else { None };
    let Some(flow) = flow else {
        lived(sk, tcp);
        return 0;
    };
    // One that still waits for its first byte has hardly lived.
    if flow.stage == stage::HANDSHAKE {
        last_words(tcp, flow);
        finish::tell_and_count(tcp, flow::reread(flow));
    }
    flow::remove(sk);
    0
}

/// A connection ends, long after its handshake. Only of clients with Fast Open that lived long more than their age is asked.
#[inline(always)]
fn lived(sk: *mut core::ffi::c_void, tcp: Typed) {
    // Whoever asked for Fast Open has the flag of the timer for life, unless another program has taken it.
    let is_marked = tcp.uint(layout!(tp_cb_flags)) & u64::from(RTO) != 0;
    if !is_marked && flags::control(Control::ForeignSockOps) == 0 {
        return;
    }
    // The clock as the socket saw it with its last packet.
    let now = tcp.clock();
    let long_lived_ns = u64::from(config!(long_lived_ms)) * 1_000_000;
    if long_lived_ns >= slots::EPOCH_NS && flow::is_of_this_epoch(sk, now) {
        return;
    }
    let Some(age_ns) = flow::age_ns(sk, now) else {
        return;
    };
    // A server's child may have the flag and the slot as well. Asked last: what says so lies in a line of the socket that is in no
    // cache when it ends, 35 ns each.
    if age_ns < long_lived_ns || tcp.uint(layout!(tp_syn_fastopen)) == 0 {
        return;
    }
    let bytes = tcp.uint(layout!(tp_bytes_acked)).saturating_sub(1) + tcp.uint(layout!(tp_bytes_received));
    account::lived(&account::dest_of_client(tcp), whole_us(age_ns), bytes);
}

/// The verdict on a handshake whose socket goes: a client was never answered; a server's child was, if the kernel
/// has timed the answer.
#[inline(always)]
fn last_words(tcp: Typed, flow: &mut Flow) {
    if flow.role == Role::Client as u8 {
        return client::give_up(tcp, flow);
    }
    flow.locate_by(tcp);
    let srtt = tcp.uint(layout!(tp_srtt_us)) as u32 >> 3;
    server::child_ended(flow, if srtt == 0 { UNSEEN_US } else { srtt }, clock::now());
    if srtt == 0 {
        flow.facts.end = End::Failed;
    }
}
