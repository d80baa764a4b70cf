//! The first payload byte of the server's answer, seen from either end without a cost per packet.
//!
//! Both ends watch the headers they build themselves (HDR_OPT_LEN). A server sees the first segment with
//! payload. A client sees the first segment it builds after data came in: the kernel acks the first data
//! segment at once (`tcp_event_data_recv` enters quick-ack mode, and pingpong mode cannot begin before it),
//! unless the application turned TCP_QUICKACK off; then its delayed ACK comes up to 40 ms late.
//!
//! `PARSE_HDR_OPT_CB` would be the obvious hook for a client, but header prediction (`tcp_rcv_established`)
//! skips it: it stays silent whenever a pure ACK came before the data.

use aya_ebpf::bindings::BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE;
use tfo_common::{Role, slots, time::UNSEEN_US};

use super::flags;
use crate::{
    kern,
    observer::{
        finish,
        flow::{self, Flow, stage},
    },
    ops::Ops,
};

/// Segments built before we stop waiting: a connection that only sends, or only receives, would pay for
/// every one of them.
const MAX_WAITS: u32 = 64;

/// A header of a connection with a flow is being built.
#[inline(always)]
pub fn building(ops: &Ops, flow: &mut Flow) {
    let role = if flow.role == Role::Server as u8 {
        Role::Server
    } else {
        Role::Client
    };
    // A client comes by before its handshake ends as well: `tcp_current_mss` asks for the option length
    // (without a packet, hence without a SYN flag) whenever the SYN is retransmitted.
    let early = matches!(role, Role::Client) && flow.stage == stage::HANDSHAKE;
    if flow.ttfb_us != UNSEEN_US || early {
        return;
    }
    let seen = is_here(ops, role);
    flow.waits += 1;
    if !seen && u32::from(flow.waits) < MAX_WAITS {
        return;
    }
    flags::swap(ops, flow, WRITE, 0);
    let done = if seen {
        finish::first_byte(ops, flow, role)
    } else {
        flow.stage == stage::FIRST_BYTE
    };
    if done {
        flow::remove(ops.sk() as u64);
    }
}

/// A header of a connection without a flow is being built: plain, or given up.
#[inline(always)]
pub fn building_plain(ops: &Ops) {
    let sk = kern::sock_of(&ops.ctx);
    let Some(slot) = flow::start_slot(sk) else { return };
    // SAFETY: points into an array; aligned.
    let value = unsafe { *slot };
    if !slots::start_is_of(sk, value) {
        // Done with, or the slot went to another connection.
        if flags::inherited_is_ours() {
            flags::drop_write(ops);
        }
        return;
    }
    let role = if slots::start_is_server(value) {
        Role::Server
    } else {
        Role::Client
    };
    let seen = is_here(ops, role);
    if !seen && ops.segments_out() < MAX_WAITS {
        return;
    }
    // SAFETY: as above; one store.
    unsafe { *slot = 0 };
    if slots::start_added(value) {
        flags::drop_write(ops);
    }
    if seen {
        let ttfb_us = slots::since_start_us(value, flow::now());
        finish::count_first_byte(ops, role, kern::cgroup_id(sk), false, ttfb_us);
    }
}

/// Whether the first byte has just come (client) or is about to leave (server).
///
/// A client has payload when bytes were received (the FIN counts as one) and a segment had payload (one that
/// came before the SYN-ACK was dropped, but counted).
///
/// All fields are read before the choice: LLVM turns a read in each arm into one read at a chosen offset,
/// and the verifier answers "dereference of modified ctx ptr R2 off=144 disallowed".
#[inline(always)]
fn is_here(ops: &Ops, role: Role) -> bool {
    let segments = ops.data_segments_in();
    let bytes = ops.bytes_received();
    let sending = ops.skb_len();
    match role {
        Role::Client => segments > 0 && bytes > 0,
        Role::Server => sending > 0,
    }
}
