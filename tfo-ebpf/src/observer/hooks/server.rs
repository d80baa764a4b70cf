//! Server side: from listen() to the end of the handshake.

use aya_ebpf::bindings::{BPF_SOCK_OPS_RTO_CB_FLAG as RTO, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE};
use tfo_common::{
    CrossCheck, Handshake, Loss, Role, TfoOption,
    classify::{End, Listener},
    counters::Stat,
    flags::{Control, Shed},
    listener::Arrival,
    maps::Part,
    request::{LISTENER_UNKNOWN, Request},
    time::{UNSEEN_US, us_between},
};

use super::flags;
use crate::{
    kern::{self, Typed},
    layout::layout,
    observer::{
        account, clock,
        finish::finish_plain,
        flow::{self, Flow, Times, bit, stage},
        listener,
        maps::{TFO_REQUESTS, TFO_WAITING, config},
        netns,
        parts::jump,
    },
    ops::{FoundOption, Ops, tcp_flag},
};

/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_RECV: u32 = 3;
const FIN_WAIT1: u32 = 4;
/// args[0] of HDR_OPT_LEN for a SYN-ACK under SYN cookies (`BPF_WRITE_HDR_TCP_SYNACK_COOKIE`).
const SYNACK_COOKIE: u32 = 2;
/// `TFO_SERVER_ENABLE` (include/net/tcp.h).
const SYSCTL_SERVER: u64 = 0x2;

/// listen(): from now on SYN-ACKs of this socket come by, and its children inherit the flag.
#[inline(always)]
pub fn listen(ops: &Ops) {
    let before = ops.flags();
    // The address may have been another listener's.
    if let Some(tcp) = ops.tcp() {
        account::forget_arrivals(tcp.number());
    }
    if before & WRITE != 0 {
        return;
    }
    ops.set_flags(before | WRITE);
    if let Some(mark) = listener::mark(ops.sk()) {
        mark.added = WRITE;
    }
    if let Some(tcp) = ops.tcp() {
        flow::set_primed(netns::inode_of(tcp), ops.local_port());
    }
}

/// `tcp_synack_options`: a SYN is being answered. Plain SYNs leave after a look at their header; for the
/// others the facts are kept until the handshake finishes, because only here the SYN and the state of the
/// listener are at hand.
#[inline(always)]
pub fn syn_answered(ops: &Ops) {
    if ops.tcp_flags() & tcp_flag::SYN == 0 {
        return;
    }
    if ops.is_answered_syn_usual() {
        return;
    }
    let request = kern::sock_of(&ops.ctx);
    // The SYN-ACK of a child made from the SYN: `established` has seen it.
    if kern::uint(request, layout!(treq_tfo_listener)) != 0 {
        return;
    }
    // None: a retransmitted SYN-ACK, the facts are kept already.
    let Some(found) = ops.tfo_option_of_syn() else {
        return;
    };
    let syn = kern::context_pointer(&ops.ctx, layout!(kern_syn_skb));
    let has_option = !matches!(found.option, TfoOption::None);
    let mut syn_len = if has_option { 0 } else { syn_payload(syn) };
    if !has_option && syn_len == 0 {
        return;
    }
    if has_option {
        syn_len = syn_payload(syn);
    }
    let syncookie = ops.arg::<0>() == SYNACK_COOKIE;
    let socket = kern::pointer(request, layout!(skc_listener));
    let listener = listener_state(request, socket);
    if !syncookie {
        count_syn(request, socket, &found, listener);
    }
    let facts = Request {
        start_ns: clock::now(),
        syn_len,
        option: found.option as u8,
        option_kind: found.kind,
        listener,
        syncookie: u8::from(syncookie),
        kind: ops.request_kind() as u32,
        defers: defers(socket),
    };
    // The child of a SYN cookie gets a socket cookie of its own.
    let key = if syncookie { ops.tuple() } else { ops.cookie() };
    let waiting = waiting(facts.kind as usize);
    // Before they are there, so that nobody is told that there are none; and only once, for a SYN may come again. Of
    // those that the table drops the count stays: who meets it looks in vain.
    let is_new = TFO_REQUESTS.get_ptr(key).is_none();
    if is_new {
        account::add32(waiting, 1);
    }
    if TFO_REQUESTS.insert(key, facts, 0).is_err() {
        if is_new {
            account::add32(waiting, u32::MAX);
        }
        account::lost(Loss::RequestInsert);
        return;
    }
    account::stat(Stat::RequestStored);
    if syncookie {
        flags::raise(Control::SyncookieSeen);
    }
}

/// Payload of a SYN: the sequence numbers it covers, less one for the SYN itself.
#[inline(always)]
fn syn_payload(syn: u64) -> u32 {
    let block = layout!(skb_cb);
    if !block.is_present() {
        return 0;
    }
    let block = syn + block.byte;
    let (first_at, end_at) = (layout!(cb_seq), layout!(cb_end_seq));
    let (first, end) = if end_at.byte == first_at.byte + 4 {
        let both: u64 = kern::read(block + first_at.byte);
        (both & 0xffff_ffff, both >> 32)
    } else {
        (kern::uint(block, first_at), kern::uint(block, end_at))
    };
    (end as u32).wrapping_sub(first as u32).saturating_sub(1)
}

/// What the listener behind a request could do for TFO: the checks of `tcp_try_fastopen`.
#[inline(always)]
fn listener_state(request: u64, listener: u64) -> u8 {
    let max_at = layout!(tfo_max_qlen);
    let length_at = layout!(tfo_qlen);
    let sysctl_at = layout!(net_tcp_fastopen);
    let net = kern::net_of(request);
    if !max_at.is_present() || !length_at.is_present() || !sysctl_at.is_present() || listener == 0 || net == 0
    {
        return LISTENER_UNKNOWN;
    }
    let max = kern::uint(listener, max_at);
    let length = kern::uint(listener, length_at);
    let sysctl = kern::uint(net, sysctl_at);
    if max == 0 || sysctl & SYSCTL_SERVER == 0 {
        Listener::Off as u8
    } else if length >= max {
        Listener::QueueFull as u8
    } else {
        Listener::Ready as u8
    }
}

/// [`Request::defers`] of a listener.
#[inline(always)]
fn defers(listener: u64) -> u32 {
    let seconds = layout!(icsk_defer_accept);
    u32::from(!seconds.is_present() || listener == 0 || kern::uint(listener, seconds) != 0)
}

/// Counts what the kernel counted for this SYN in `tcp_try_fastopen`, and for its listener.
#[inline(always)]
fn count_syn(request: u64, socket: u64, found: &FoundOption, listener: u8) {
    let netns = kern::netns_inode(request);
    if matches!(found.option, TfoOption::Request) {
        account::cross_check(netns, CrossCheck::CookieReqd);
    }
    if listener == Listener::QueueFull as u8 {
        account::cross_check(netns, CrossCheck::ListenOverflow);
    } else if listener == Listener::Ready as u8 && matches!(found.option, TfoOption::Cookie) {
        account::cross_check(netns, CrossCheck::PassiveFail);
    }
    let is_overflow = listener == Listener::QueueFull as u8 && !matches!(found.option, TfoOption::None);
    let is_granted = listener == Listener::Ready as u8 && matches!(found.option, TfoOption::Request);
    if is_overflow {
        account::arrived(socket, Arrival::Overflow);
    } else if !is_granted && listener != LISTENER_UNKNOWN {
        account::arrived(socket, Arrival::Rejected);
    }
}

/// `tcp_init_transfer` of a passive connection: at the SYN for a child created from it
/// (`tcp_fastopen_create_child`), at the final ACK for any other. Returns whether there is a verdict to finish.
#[inline(always)]
pub fn established(ops: &Ops) -> bool {
    let Some(tcp) = ops.tcp() else { return false };
    if ops.tcp_flags() & (tcp_flag::SYN | tcp_flag::ACK) == tcp_flag::SYN {
        child_from_syn(ops, tcp, clock::now());
        return false;
    }
    if ops.segments_out() != 0 {
        // A child has sent nothing yet: its SYN-ACKs were its request's. This is a client whose SYN crossed that of its
        // peer (`tcp_rcv_synsent_state_process`, then `tcp_rcv_state_process`, which takes every socket in SYN_RECV
        // without a request for passive).
        jump::<{ Part::Rare as u32 }>(ops);
        return false;
    }
    // `tcp_rcv_state_process` has just looked.
    let now = tcp.clock();
    if ops.flags() & WRITE == 0 {
        // Inherited from the listener, so the listener did not have it: nobody saw the SYN.
        account::lost(Loss::Unprimed);
        return false;
    }
    let mut facts = Handshake::plain(Role::Server);
    facts.syn_retrans = ops.total_retrans();
    // An ACK that brings data waited for its application: all of them under TCP_DEFER_ACCEPT, which drops the
    // first (`tcp_check_req`). Neither we nor the kernel know the round trip then. Where the listener is known not to, the
    // client had its data at hand: that of a SYN which was refused leaves at once (`tcp_rcv_fastopen_synack`).
    let waited = ops.payload() > 0;
    let srtt = ops.srtt_us();
    let mut handshake_us = if srtt == 0 || waited { UNSEEN_US } else { srtt };
    // Nobody asked for TFO, until facts of the SYN say otherwise. The handshake's RTT is then the kernel's own
    // sample, from SYN-ACK to final ACK.
    let mut start_ns = now - u64::from(srtt) * 1_000;
    // Kept as numbers: of a request that is not there LLVM loads what nobody has stored before it looks whether it is, which the
    // verifier of 5.10 refuses: "invalid read from stack R10 off=-168 size=8".
    let (mut bits, mut option_kind) = (0, 0);
    match take_request(ops) {
        Some(request) => {
            if !request.add_to(&mut facts) {
                account::lost(Loss::ListenerUnknown);
                return false;
            }
            (bits, option_kind) = (bit::REQUESTED, request.option_kind);
            start_ns = request.start_ns;
            handshake_us = if waited && request.defers != 0 {
                UNSEEN_US
            } else {
                us_between(start_ns, now)
            };
        }
        None if config!(emit_plain) == 0 || flags::is_shed(Shed::Plain) => {
            let times = Times {
                now,
                handshake_us,
                rtt_us: unless_repeated(handshake_us, &facts),
            };
            await_first_byte(ops, now, start_ns);
            finish_plain(ops, tcp.cgroup_id(), &facts, &times);
            return false;
        }
        None => {}
    }
    let Some(flow) = flow::begin(ops, Role::Server, start_ns) else {
        return false;
    };
    flow.locate(ops);
    flow::forget_start(ops.sk());
    flow.bits = bits;
    flow.option_kind = option_kind;
    adopt_inherited(flow);
    let times = Times {
        now,
        handshake_us,
        rtt_us: unless_repeated(handshake_us, &facts),
    };
    flow.conclude(facts, &times, true);
    true
}

/// Waits for the first byte of a plain connection, if it is one of the sample; else no header of it is of interest.
#[inline(always)]
fn await_first_byte(ops: &Ops, now: u64, start_ns: u64) {
    let ours = flags::inherited_is_ours();
    if clock::is_sampled(now) {
        return flow::set_start(ops.sk(), start_ns, Role::Server, ours);
    }
    if ours {
        flags::drop_write(ops);
    }
}

/// A handshake is one RTT, unless its SYN-ACK had to be sent again.
#[inline(always)]
fn unless_repeated(handshake_us: u32, facts: &Handshake) -> u32 {
    if facts.syn_retrans == 0 {
        handshake_us
    } else {
        UNSEEN_US
    }
}

#[inline(always)]
fn adopt_inherited(flow: &mut Flow) {
    if flags::inherited_is_ours() {
        flow.added |= WRITE as u8;
    }
}

/// The address of the listener that a child made from its SYN belongs to, by way of its request; 0 where unknown.
#[inline(always)]
fn listener_of_child(tcp: Typed) -> u64 {
    let (request, listener) = (layout!(tp_fastopen_rsk), layout!(skc_listener));
    if request.is_present() && listener.is_present() {
        tcp.follow(request).uint(listener)
    } else {
        0
    }
}

/// A child whose handshake has just begun. Its verdict (accepted) is certain; its record waits for the
/// final ACK, which gives the RTT.
#[inline(always)]
fn child_from_syn(ops: &Ops, tcp: Typed, now: u64) {
    // Not with the verdict: of connections that stay half open there is none for a minute.
    account::arrived(listener_of_child(tcp), Arrival::Accepted);
    let netns = netns::inode_of(tcp);
    let Some(flow) = flow::begin(ops, Role::Server, now) else {
        // The kernel's counter moved whether or not we can follow.
        return account::accepted(netns, Role::Server);
    };
    flow.netns = netns;
    flow.bits = bit::FROM_SYN | bit::REQUESTED | bit::TO_COUNT;
    flow.syn_len = ops.payload() as u16;
    if ops.has_usual_cookie() {
        flow.option = TfoOption::Cookie as u8;
        flow.option_kind = 34;
    } else if let Some(found) = ops.tfo_option() {
        flow.option = found.option as u8;
        flow.option_kind = found.kind;
    }
    if flow.syn_len > 0 {
        // `tcp_create_openreq_child` has set `rcv_nxt` to the number behind the SYN's. User space knows by it whether this
        // SYN has made a child before: a slot for each of them was a tenth of what a Fast Open connection took, for it is
        // in no cache.
        flow.offered = ops.receive_next();
    }
    if ops.flags() & WRITE != 0 {
        adopt_inherited(flow);
    }
    // The headers it builds tell when its handshake has ended (`first_byte`).
    flags::add(ops, flow, RTO | WRITE);
}

/// Takes the facts of this connection's SYN out of the table. Of most connections there are none: then a counter tells,
/// where the table would take two cache misses and a socket cookie.
#[inline(always)]
fn take_request(ops: &Ops) -> Option<Request> {
    let waiting = waiting(ops.request_kind());
    // SAFETY: points into an array; aligned.
    if unsafe { waiting.read_volatile() } == 0 {
        return None;
    }
    let mut found = take(ops.cookie());
    if found.is_none() && flags::control(Control::SyncookieSeen) != 0 {
        found = take(ops.tuple());
    }
    if found.is_some() {
        account::add32(waiting, u32::MAX);
    }
    found
}

/// The counter of SYNs of a kind.
#[inline(always)]
fn waiting(kind: usize) -> *mut u32 {
    TFO_WAITING.at(kind as u32)
}

#[inline(always)]
fn take(key: u64) -> Option<Request> {
    // SAFETY: the value is copied out at once; nobody updates an entry in place.
    let found = unsafe { TFO_REQUESTS.get(key) }.copied()?;
    // Counted before it goes: user space then never takes it for evicted.
    account::stat(Stat::RequestTaken);
    let _ = TFO_REQUESTS.remove(key);
    Some(found)
}

/// The state of a child created from the SYN changes, which is asked for where the server answered before the final
/// ACK: its handshake ends. Where the application closes before that the states are SYN_RECV -> FIN_WAIT1 -> ..., and
/// the RTT comes a little later. Returns whether there is a verdict to finish.
#[inline(always)]
pub fn state(ops: &Ops, flow: &mut Flow) -> bool {
    let (from, to) = (ops.arg::<0>(), ops.arg::<1>());
    if flow.stage != stage::HANDSHAKE || !flow.has(bit::FROM_SYN) || (from == SYN_RECV && to == FIN_WAIT1) {
        return false;
    }
    let handshake_us = match (from, to, ops.srtt_us()) {
        (SYN_RECV, ESTABLISHED, _) => us_between(flow.start_ns, clock::now()),
        (_, _, 0) => UNSEEN_US,
        (_, _, srtt) => srtt,
    };
    flow.locate(ops);
    child_ended(flow, handshake_us, clock::now());
    if handshake_us == UNSEEN_US {
        flow.facts.end = End::Failed;
    }
    flow.waits_on = u8::from(to == ESTABLISHED);
    true
}

/// The verdict on a child made from its SYN, whose handshake took so long; [`UNSEEN_US`] where it never ended.
#[inline(always)]
pub fn child_ended(flow: &mut Flow, handshake_us: u32, now: u64) {
    let facts = Handshake {
        requested: true,
        child_from_syn: true,
        option: TfoOption::from_code(flow.option).unwrap_or(TfoOption::None),
        syn_data_len: u32::from(flow.syn_len),
        syn_data_acked: u32::from(flow.syn_len),
        syn_retrans: u32::from(flow.synack_retrans),
        ..Handshake::plain(Role::Server)
    };
    let times = Times {
        now,
        handshake_us,
        rtt_us: unless_repeated(handshake_us, &facts),
    };
    flow.conclude(facts, &times, true);
}
