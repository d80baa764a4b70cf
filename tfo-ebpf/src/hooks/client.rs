//! Client side: from `tcp_connect` to the first byte of the answer.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_RTO_CB_FLAG as RTO,
        BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
    },
    helpers::generated::{bpf_get_current_task, bpf_ktime_get_ns},
};
use tfo_common::{
    CrossCheck, Handshake, Loss, Role, TfoOption,
    classify::{End, Withheld},
    time::{UNSEEN_US, us_between},
};

use crate::{
    account,
    finish::{self, Times, finish},
    flow::{self, Flow, bit, stage},
    kern,
    maps::global,
    ops::Ops,
};

/// `TCP_SYN_SENT` and `TCP_CLOSE` (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;
/// Calls spent waiting for the first byte before giving up: a connection that only sends would pay for
/// every segment.
const MAX_WAITS: u16 = 64;
/// `TFO_CLIENT_NO_COOKIE` (include/net/tcp.h).
const SYSCTL_NO_COOKIE: u64 = 0x4;

/// `tcp_connect` (net/ipv4/tcp_output.c) begins: the SYN is not built yet. This, not the change to
/// SYN_SENT, is when the SYN leaves: with TCP_FASTOPEN_CONNECT the state changes at connect() and the SYN
/// waits for the first write. Runs in the process that connects.
#[inline(always)]
pub fn connect(ops: &Ops) {
    let sk = kern::sock_of(&ops.ctx);
    let Some(flow) = flow::create(ops.sk()) else {
        account::lost(Loss::Storage);
        return;
    };
    let request = kern::pointer(sk, global!(TFO_LAYOUT, tp_fastopen_req));
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    flow.start_ns = now;
    flow.syn_ns = now;
    flow.ttfb_us = UNSEEN_US;
    flow.stage = stage::HANDSHAKE;
    flow.role = Role::Client as u8;
    flow.bits = 0;
    flow.waits = 0;
    if request == 0 && global!(TFO_CONFIG, emit_plain) == 0 {
        return;
    }
    process(flow);
    if request == 0 {
        return;
    }
    flow.bits = bit::REQUESTED;
    flow.offered = kern::uint(request, global!(TFO_LAYOUT, req_size)) as u32;
    flow.syn_len = 0;
    flow.option = TfoOption::None as u8;
    flow.option_kind = 0;
    add_flags(ops, flow, WRITE | STATE | RTO);
}

/// Fills in the process that connects.
#[inline(always)]
fn process(flow: &mut Flow) {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    flow.tgid = kern::uint(task, global!(TFO_LAYOUT, task_tgid)) as u32;
    let comm = global!(TFO_LAYOUT, task_comm);
    if comm.is_present() {
        flow.comm = kern::read(kern::pointer(task, global!(TFO_LAYOUT, task_leader)) + u64::from(comm.byte));
    }
}

/// `tcp_syn_options`: a SYN is being built, with `skb_len` bytes of payload. The first one decides; a
/// second one without a retransmission is the kernel's fallback when the first was dropped on this host
/// (`tcp_send_syn_data`); later ones are retransmissions, always bare.
#[inline(always)]
pub fn syn_built(ops: &Ops) {
    let Some(flow) = flow::of(ops.sk()) else { return };
    let sk = kern::sock_of(&ops.ctx);
    // SAFETY: no arguments.
    flow.syn_ns = unsafe { bpf_ktime_get_ns() };
    if ops.total_retrans() > 0 {
        return;
    }
    if flow.has(bit::SYN_BUILT) {
        flow.bits |= bit::WITHHELD;
    } else {
        flow.bits |= bit::SYN_BUILT;
        flow.start_ns = flow.syn_ns;
        flow.syn_len = ops.skb_len();
    }
    let request = kern::pointer(sk, global!(TFO_LAYOUT, tp_fastopen_req));
    if request == 0 {
        return;
    }
    let length = kern::uint(request, global!(TFO_LAYOUT, req_cookie_len)) as u8 as i8;
    let experimental = kern::uint(request, global!(TFO_LAYOUT, req_cookie_exp)) != 0;
    let option = match length {
        ..0 => TfoOption::None,
        0 => TfoOption::Request,
        1.. => TfoOption::Cookie,
    };
    flow.option = option as u8;
    flow.option_kind = match (option, experimental) {
        (TfoOption::None, _) => 0,
        (_, true) => 254,
        (_, false) => 34,
    };
    if length < 0 && flow.syn_len == 0 && !flow.has(bit::WITHHELD) && !is_empty_cookieless(sk, flow) {
        flow.bits |= bit::PAUSED;
    }
}

/// Whether a bare SYN is explained by a zero-byte send in cookie-less mode rather than by the pause. The
/// route attribute `fastopen_no_cookie` cannot be seen from here.
#[inline(always)]
fn is_empty_cookieless(sk: u64, flow: &Flow) -> bool {
    if flow.offered > 0 {
        return false;
    }
    let sysctl = kern::uint(kern::net_of(sk), global!(TFO_LAYOUT, net_tcp_fastopen));
    sysctl & SYSCTL_NO_COOKIE != 0 || kern::uint(sk, global!(TFO_LAYOUT, tp_no_cookie)) != 0
}

/// `tcp_finish_connect`: the SYN-ACK was processed, its acknowledgement included; what the kernel makes of
/// unacked SYN data (`tcp_rcv_fastopen_synack`) comes after. So bytes acked and in flight are exact here.
#[inline(always)]
pub fn established(ops: &Ops) {
    let Some(flow) = flow::of(ops.sk()) else { return };
    if flow.stage != stage::HANDSHAKE {
        return;
    }
    let sk = kern::sock_of(&ops.ctx);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let mut facts = Handshake::plain(Role::Client);
    facts.syn_retrans = ops.total_retrans();
    if flow.has(bit::REQUESTED) {
        tfo_facts(ops, flow, &mut facts);
        if facts.syn_data_len > 0 {
            let all = facts.syn_data_acked >= facts.syn_data_len;
            account::cross_check(
                sk,
                if all {
                    CrossCheck::Active
                } else {
                    CrossCheck::ActiveFail
                },
            );
        }
    }
    let handshake_us = us_between(flow.start_ns, now);
    let rtt_us = match (
        facts.syn_retrans,
        flow.has(bit::REQUESTED) && !facts.cookie_received,
    ) {
        (0, _) => handshake_us,
        // The answer belongs to the latest SYN. For plain connections later SYNs are not timed.
        (_, true) => us_between(flow.syn_ns, now),
        (_, false) => UNSEEN_US,
    };
    finish(ops, sk, flow, &facts, &Times { now, handshake_us, rtt_us });
    // The headers we build from here on tell when the first byte came, see `building`.
    swap_flags(ops, flow, STATE, WRITE);
}

/// Facts of a handshake that asked for TFO.
#[inline(always)]
fn tfo_facts(ops: &Ops, flow: &Flow, facts: &mut Handshake) {
    let acked = ops.bytes_acked().saturating_sub(1) as u32;
    let sent = acked.wrapping_add(ops.unacked());
    facts.requested = true;
    facts.paused = flow.has(bit::PAUSED);
    facts.withheld = withheld(flow);
    facts.option = TfoOption::from_code(flow.option).unwrap_or(TfoOption::None);
    facts.syn_data_len = sent;
    facts.syn_data_acked = acked;
    if let Some(found) = ops.tfo_option() {
        facts.cookie_received = matches!(found.option, TfoOption::Cookie);
    }
}

#[inline(always)]
fn withheld(flow: &Flow) -> Withheld {
    if flow.has(bit::WITHHELD) && flow.syn_len > 0 {
        Withheld::Other
    } else {
        Withheld::No
    }
}

/// SYN_SENT to CLOSE: the handshake failed. A RST was noted by `tcp_receive_reset` just before.
#[inline(always)]
pub fn state(ops: &Ops, flow: &mut Flow) {
    if ops.arg::<0>() != SYN_SENT || ops.arg::<1>() != CLOSE || flow.stage != stage::HANDSHAKE {
        return;
    }
    let sk = kern::sock_of(&ops.ctx);
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    let withheld = withheld(flow);
    let facts = Handshake {
        end: if flow.has(bit::RESET) {
            End::Reset
        } else {
            End::Failed
        },
        requested: flow.has(bit::REQUESTED),
        paused: flow.has(bit::PAUSED),
        withheld,
        option: TfoOption::from_code(flow.option).unwrap_or(TfoOption::None),
        syn_data_len: if matches!(withheld, Withheld::No) {
            flow.syn_len
        } else {
            0
        },
        syn_retrans: ops.total_retrans(),
        ..Handshake::plain(Role::Client)
    };
    finish(
        ops,
        sk,
        flow,
        &facts,
        &Times {
            now,
            handshake_us: UNSEEN_US,
            rtt_us: UNSEEN_US,
        },
    );
    flow.stage = stage::DONE;
    swap_flags(ops, flow, WRITE | STATE, 0);
}

/// A header of an established client is being built. The first one after data came in marks the first
/// byte: the kernel acks the first data segment at once (`tcp_event_data_recv` enters quick-ack mode, and
/// pingpong mode cannot begin before), unless the application turned TCP_QUICKACK off; then its delayed ACK
/// is up to 40 ms late.
///
/// `PARSE_HDR_OPT_CB` would be the obvious hook, but header prediction (`tcp_rcv_established`) skips it: it
/// stays silent whenever a pure ACK came before the data.
#[inline(always)]
pub fn building(ops: &Ops, flow: &mut Flow) {
    if ops.data_segments_in() > 0 {
        // SAFETY: no arguments.
        finish::first_byte(ops, flow, Role::Client, unsafe { bpf_ktime_get_ns() });
        swap_flags(ops, flow, WRITE, 0);
        return;
    }
    give_up_waiting(ops, flow);
}

/// Counts a callback that brought nothing; after [`MAX_WAITS`] of them the flag goes.
#[inline(always)]
pub fn give_up_waiting(ops: &Ops, flow: &mut Flow) {
    flow.waits += 1;
    if flow.waits >= MAX_WAITS {
        if flow.stage == stage::FIRST_BYTE {
            flow.stage = stage::DONE;
        }
        swap_flags(ops, flow, WRITE, 0);
    }
}

/// A retransmission timer fired on a socket with TFO. Mirrors `tcp_fastopen_active_detect_blackhole`, which
/// adds to TCPFastOpenActiveFail on the third consecutive timeout, or on expiry before it; called just
/// before this callback by `tcp_write_timeout`.
#[inline(always)]
pub fn timeout(ops: &Ops) {
    let (timeouts, expired) = (ops.arg::<0>(), ops.arg::<2>());
    if timeouts != 2 && (timeouts > 2 || expired == 0) {
        return;
    }
    if flow::of(ops.sk()).is_none() {
        return;
    }
    let sk = kern::sock_of(&ops.ctx);
    let bits = kern::uint(sk, global!(TFO_LAYOUT, tp_syn_fastopen))
        | kern::uint(sk, global!(TFO_LAYOUT, tp_syn_data))
        | kern::uint(sk, global!(TFO_LAYOUT, tp_syn_data_acked));
    if bits != 0 {
        account::cross_check(sk, CrossCheck::ActiveFailTimeout);
    }
}

/// Sets callback flags and remembers which of them were not set before.
#[inline(always)]
pub fn add_flags(ops: &Ops, flow: &mut Flow, wanted: u32) {
    let before = ops.flags();
    flow.added |= (wanted & !before) as u8;
    if before & wanted != wanted {
        ops.set_flags(before | wanted);
    }
}

/// Takes back those of `done` that we added, and sets `next`.
#[inline(always)]
pub fn swap_flags(ops: &Ops, flow: &mut Flow, done: u32, next: u32) {
    let before = ops.flags();
    let ours = u32::from(flow.added) & done;
    flow.added = (flow.added & !(ours as u8)) | (next & !before) as u8;
    let after = (before & !ours) | next;
    if after != before {
        ops.set_flags(after);
    }
}
