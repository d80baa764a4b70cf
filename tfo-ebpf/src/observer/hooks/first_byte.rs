//! The first payload byte of the server's answer, seen from either end without a cost per packet.
//!
//! Both ends watch the headers they build themselves (HDR_OPT_LEN). A server is about to send its first data when
//! the kernel asks how much room a segment has (`tcp_current_mss`, from `tcp_sendmsg_locked`). A client sees the
//! first segment it builds after data came in. Where that is late, because the application turned TCP_QUICKACK off,
//! the socket's time of last receipt tells, within a jiffy.
//!
//! `PARSE_HDR_OPT_CB` would be the obvious hook for a client, but header prediction (`tcp_rcv_established`)
//! skips it: it stays silent whenever a pure ACK came before the data.

use aya_ebpf::bindings::{BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE};
use tfo_common::{Role, slots, time::UNSEEN_US};

use super::{flags, server};
use crate::{
    layout::layout,
    observer::{
        clock, finish,
        flow::{self, Flow, bit, stage},
        maps::config,
    },
    ops::Ops,
};

/// Segments built before we stop waiting: a connection that only sends, or only receives, would pay for
/// every one of them.
const MAX_WAITS: u32 = 64;
/// args[0] of HDR_OPT_LEN where no packet is built (`BPF_WRITE_HDR_TCP_CURRENT_MSS`).
const CURRENT_MSS: u32 = 1;
/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_RECV: u32 = 3;
const CLOSE_WAIT: u32 = 8;

/// Whether the header at hand tells nothing, whosever it is: nothing has come yet, and nothing is sent. The first one that
/// a client builds is of this kind, and it takes neither a look-up nor another program to tell.
#[inline(always)]
pub fn is_idle(ops: &Ops) -> bool {
    ops.data_segments_in() == 0
        && ops.skb_len() == 0
        && !is_sending(ops)
        && ops.state() == ESTABLISHED
        && ops.segments_out() < MAX_WAITS
}

/// Whether data is about to be sent: the kernel asks for the room of a segment.
#[inline(always)]
pub fn is_sending(ops: &Ops) -> bool {
    ops.arg::<0>() == CURRENT_MSS
}

/// A client whose flow is at its first place builds a header, and the reader of its record counts its first byte. Before its
/// handshake has ended it does, too, where another program wants its headers.
#[inline(always)]
pub fn building_client(ops: &Ops, flow: &mut Flow) {
    if flow.stage == stage::HANDSHAKE {
        return;
    }
    let seen = is_here(ops, Role::Client);
    if seen && flow.ttfb_us == UNSEEN_US {
        flow.ttfb_us = elapsed(ops, Role::Client, flow.start_ns);
    }
    if is_done(ops, flow, seen, finish::tell_first_byte) {
        flow::remove_at_home(ops);
    }
}

/// Whether there is nothing more to wait for: the first byte is here, and told, or it is given up.
#[inline(always)]
fn is_done(ops: &Ops, flow: &mut Flow, seen: bool, tell: impl FnOnce(&Flow)) -> bool {
    flow.waits += 1;
    if !seen && u32::from(flow.waits) < MAX_WAITS && ops.segments_out() < MAX_WAITS {
        return false;
    }
    flags::swap(ops, flow, WRITE, 0);
    if seen {
        tell(flow);
    }
    true
}

/// A header of a connection with a flow is being built. Returns whether there is a verdict to finish: that of a
/// child made from its SYN, whose handshake has ended since.
#[inline(always)]
pub fn building(ops: &Ops, flow: &mut Flow) -> bool {
    let role = if flow.role == Role::Server as u8 {
        Role::Server
    } else {
        Role::Client
    };
    let open = flow.stage == stage::HANDSHAKE;
    // A client comes by before its handshake ends as well, where another program wants its headers.
    if matches!(role, Role::Client) && open {
        return false;
    }
    let seen = is_here(ops, role);
    if seen && flow.ttfb_us == UNSEEN_US {
        flow.ttfb_us = elapsed(ops, role, flow.start_ns);
    }
    if open {
        return child(ops, flow);
    }
    if is_done(ops, flow, seen, finish::first_byte) {
        flow::remove(ops.sk());
    }
    false
}

/// A child made from its SYN sends: if its handshake has ended, the time has come to tell. If not, the server was
/// faster than the client's ACK, and the end of the handshake is worth a callback.
#[inline(always)]
fn child(ops: &Ops, flow: &mut Flow) -> bool {
    if !flow.has(bit::FROM_SYN) {
        return false;
    }
    let srtt = ops.srtt_us();
    if ops.state() != SYN_RECV
        && srtt != 0
        && let Some(tcp) = ops.tcp()
    {
        flow.locate(ops);
        flow.describe(tcp);
        server::child_ended(flow, srtt, tcp.clock());
        return true;
    }
    if flow.ttfb_us != UNSEEN_US {
        flags::swap(ops, flow, WRITE, STATE);
    }
    false
}

/// A header of a connection without a flow is being built: plain, or given up.
#[inline(always)]
pub fn building_plain(ops: &Ops) {
    let Some((number, slot)) = flow::start_of(ops.sk()) else {
        return;
    };
    // SAFETY: points into an array; aligned.
    let value = unsafe { *slot };
    if !slots::start_is_of(number, value) {
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
        let now = clock::now();
        let ttfb_us = elapsed(ops, role, now - slots::age_ns(value, now));
        finish::count_plain_first_byte(ops, role, ttfb_us);
    }
}

/// Whether the first byte has just come (client) or is about to leave (server).
///
/// A client has payload when bytes were received (the FIN counts as one) and a segment had payload (one that
/// came before the SYN-ACK was dropped, but counted). A server that is asked for the room of a segment has data to
/// send, unless it is about to send its FIN, which the state tells.
///
/// All fields are read before the choice: LLVM turns a read in each arm into one read at a chosen offset,
/// and the verifier answers "dereference of modified ctx ptr R2 off=144 disallowed".
#[inline(always)]
fn is_here(ops: &Ops, role: Role) -> bool {
    let segments = ops.data_segments_in();
    let bytes = ops.bytes_received();
    let sending = ops.skb_len();
    let asks = is_sending(ops);
    let open = matches!(ops.state(), ESTABLISHED | SYN_RECV | CLOSE_WAIT);
    match role {
        Role::Client => segments > 0 && bytes > 0,
        Role::Server => sending > 0 || asks && open,
    }
}

/// Time from the start to the first byte, us, at least 1: until now, less what a client took to acknowledge it.
#[inline(always)]
fn elapsed(ops: &Ops, role: Role, start_ns: u64) -> u32 {
    let received = layout!(icsk_lrcvtime);
    let now = if matches!(role, Role::Client)
        && received.is_present()
        && let Some(tcp) = ops.tcp()
    {
        let ago = (clock::jiffies() as u32).wrapping_sub(tcp.uint(received) as u32);
        if ago <= 1 {
            // It came in this jiffy or the last one; the kernel looked at the clock when it did (`tcp_rcv_established`).
            tcp.clock()
        } else if ago < 0x1_0000 {
            let late = u64::from(ago - 1) * u64::from(config!(tick_us)) * 1_000;
            (clock::now() - late).max(start_ns)
        } else {
            clock::now()
        }
    } else {
        clock::now()
    };
    tfo_common::time::us_between(start_ns, now).max(1)
}
