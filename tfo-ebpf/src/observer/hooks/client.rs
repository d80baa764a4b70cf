//! Client side: from `tcp_connect` to the end of the handshake.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_RTO_CB_FLAG as RTO, BPF_SOCK_OPS_STATE_CB_FLAG as STATE,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
    },
    helpers::generated::bpf_get_current_task,
};
use tfo_common::{
    CrossCheck, Handshake, Loss, Role, TfoOption,
    classify::{End, Withheld},
    policy::{Mark, mark as marked},
    slots,
    time::{UNSEEN_US, us_between},
};

use super::flags;
use crate::{
    kern,
    layout::layout,
    observer::{
        account,
        finish::finish_plain,
        flow::{self, Flow, Times, bit, stage},
        maps::config,
        mark,
    },
    ops::Ops,
};

/// TCP states (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;
/// `TFO_CLIENT_NO_COOKIE` (include/net/tcp.h).
const SYSCTL_NO_COOKIE: u64 = 0x4;

/// `tcp_connect` (net/ipv4/tcp_output.c) begins: the SYN is not built yet. This, not the change to
/// SYN_SENT, is when the SYN leaves: with TCP_FASTOPEN_CONNECT the state changes at connect() and the SYN
/// waits for the first write. Runs in the process that connects.
#[inline(always)]
pub fn connect(ops: &Ops) {
    let sk = kern::sock_of(&ops.ctx);
    let request = kern::pointer(sk, layout!(tp_fastopen_req));
    let now = flow::now();
    if request == 0 && config!(emit_plain) == 0 {
        return flow::set_start(sk, now, Role::Client, false);
    }
    let Some(flow) = flow::begin(sk, Role::Client, now) else {
        return;
    };
    process(flow);
    if request != 0 {
        flow.bits = bit::REQUESTED;
        flow.offered = kern::uint(request, layout!(req_size)) as u32;
        flags::add(ops, flow, WRITE | STATE | RTO);
    }
}

/// Fills in the process that connects.
#[inline(always)]
fn process(flow: &mut Flow) {
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    flow.tgid = kern::uint(task, layout!(task_tgid)) as u32;
    let comm = layout!(task_comm);
    if comm.is_present() {
        flow.comm = kern::read(kern::pointer(task, layout!(task_leader)) + u64::from(comm.byte));
    }
}

/// `tcp_syn_options`: a SYN is being built, with `skb_len` bytes of payload. The first one decides; a
/// second one without a retransmission is the kernel's fallback when the first was dropped on this host
/// (`tcp_send_syn_data`); later ones are retransmissions, always bare.
#[inline(always)]
pub fn syn_built(ops: &Ops, flow: &mut Flow) {
    flow.syn_ns = flow::now();
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
    let sk = kern::sock_of(&ops.ctx);
    let request = kern::pointer(sk, layout!(tp_fastopen_req));
    if request == 0 {
        return;
    }
    let length = kern::uint(request, layout!(req_cookie_len)) as u8 as i8;
    let option = match length {
        ..0 => TfoOption::None,
        0 => TfoOption::Request,
        1.. => TfoOption::Cookie,
    };
    flow.option = option as u8;
    flow.option_kind = if length < 0 {
        0
    } else if kern::uint(request, layout!(req_cookie_exp)) != 0 {
        254
    } else {
        34
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
    let sysctl = kern::uint(kern::net_of(sk), layout!(net_tcp_fastopen));
    sysctl & SYSCTL_NO_COOKIE != 0 || kern::uint(sk, layout!(tp_no_cookie)) != 0
}

/// `tcp_finish_connect`: the SYN-ACK was processed, its acknowledgement included; what the kernel makes of
/// unacked SYN data (`tcp_rcv_fastopen_synack`) comes after. So bytes acked and in flight are exact here. Returns
/// whether there is a verdict to finish.
#[inline(always)]
pub fn established(ops: &Ops) -> bool {
    let sk = kern::sock_of(&ops.ctx);
    let now = flow::now();
    let flow = match flow::of(sk) {
        Some(flow) if flow.stage == stage::HANDSHAKE => flow,
        found => {
            if found.is_some() {
                // Left by an earlier connection of a socket that was disconnected and connected again.
                flow::remove(sk);
            }
            plain_established(ops, sk, now);
            return false;
        }
    };
    let mut facts = Handshake::plain(Role::Client);
    facts.syn_retrans = ops.total_retrans();
    if flow.has(bit::REQUESTED) {
        tfo_facts(ops, sk, flow, &mut facts);
        if facts.syn_data_len > 0 {
            let all = facts.syn_data_acked >= facts.syn_data_len;
            flow.netns = account::cross_check(
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
    let times = Times {
        now,
        handshake_us,
        rtt_us,
    };
    flow.conclude(facts, &times, true);
    true
}

/// A handshake without a flow: plain, unless the socket says that its SYN had TFO. Then it was under way
/// when we attached, or the flow table was full, and nothing but its bytes is known of it.
#[inline(always)]
fn plain_established(ops: &Ops, sk: u64, now: u64) {
    let acked = ops.bytes_acked() as u32;
    let unacked = ops.unacked();
    if acked + unacked > 1 {
        account::cross_check(
            sk,
            if unacked == 0 {
                CrossCheck::Active
            } else {
                CrossCheck::ActiveFail
            },
        );
        return account::lost(Loss::SynUnseen);
    }
    if kern::uint(sk, layout!(tp_syn_fastopen)) != 0 {
        return account::lost(Loss::SynUnseen);
    }
    let mut facts = Handshake::plain(Role::Client);
    facts.syn_retrans = ops.total_retrans();
    let mut handshake_us = UNSEEN_US;
    if let Some(slot) = flow::start_slot(sk) {
        // SAFETY: points into an array; aligned.
        let value = unsafe { *slot };
        if slots::start_is_of(sk, value) {
            handshake_us = slots::since_start_us(value, now);
            let before = ops.flags();
            if before & WRITE == 0 {
                ops.set_flags(before | WRITE);
            }
            let start = now - u64::from(handshake_us) * 1_000;
            flow::set_start(sk, start, Role::Client, before & WRITE == 0);
        }
    }
    let rtt_us = if facts.syn_retrans == 0 {
        handshake_us
    } else {
        UNSEEN_US
    };
    finish_plain(
        ops,
        sk,
        &facts,
        &Times {
            now,
            handshake_us,
            rtt_us,
        },
    );
}

/// Facts of a handshake that asked for TFO.
#[inline(always)]
fn tfo_facts(ops: &Ops, sk: u64, flow: &mut Flow, facts: &mut Handshake) {
    let acked = ops.bytes_acked().saturating_sub(1) as u32;
    let mark = mark::of(sk);
    flow.policy = mark.action;
    facts.requested = true;
    facts.paused = flow.has(bit::PAUSED);
    facts.withheld = withheld(flow, &mark);
    facts.option = TfoOption::from_code(flow.option).unwrap_or(TfoOption::None);
    // A denied socket's data may have been pushed out in this very callback, by the policy's program.
    if mark.flags & marked::DENIED == 0 {
        facts.syn_data_len = acked.wrapping_add(ops.unacked());
        facts.syn_data_acked = acked;
    }
    // The server answers in kind (`tcp_synack_options`); a cookie nobody asked for is ignored.
    if flow.option_kind != 0 {
        let found = ops.tfo_option_of_kind(flow.option_kind);
        facts.cookie_received = matches!(found, TfoOption::Cookie);
    }
}

/// Whose doing it was that the SYN left without its data, or without the option it was built with.
#[inline(always)]
fn withheld(flow: &Flow, mark: &Mark) -> Withheld {
    if mark.flags & (marked::DENIED | marked::STRIP) != 0 {
        Withheld::Policy
    } else if flow.has(bit::WITHHELD) && flow.syn_len > 0 {
        Withheld::Other
    } else {
        Withheld::No
    }
}

/// SYN_SENT to CLOSE: the handshake failed. A RST was noted by `tcp_receive_reset` just before. Returns whether
/// there is a verdict to finish.
#[inline(always)]
pub fn state(ops: &Ops, sk: u64, flow: &mut Flow) -> bool {
    if ops.arg::<0>() != SYN_SENT || ops.arg::<1>() != CLOSE || flow.stage != stage::HANDSHAKE {
        return false;
    }
    let mark = mark::of(sk);
    flow.policy = mark.action;
    let withheld = withheld(flow, &mark);
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
    let times = Times {
        now: flow::now(),
        handshake_us: UNSEEN_US,
        rtt_us: UNSEEN_US,
    };
    flow.conclude(facts, &times, false);
    true
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
    let sk = kern::sock_of(&ops.ctx);
    let bits = kern::uint(sk, layout!(tp_syn_fastopen))
        | kern::uint(sk, layout!(tp_syn_data))
        | kern::uint(sk, layout!(tp_syn_data_acked));
    if bits != 0 {
        account::cross_check(sk, CrossCheck::ActiveFailTimeout);
    }
}
