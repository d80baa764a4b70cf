//! Client side: from `tcp_connect` to the end of the handshake.
//!
//! What the SYN was like is read from the socket when the handshake is over, not where the SYN is built: there we
//! are not called when its options fill all 40 bytes (`bpf_skops_hdr_opt_len`, net/ipv4/tcp_output.c), and it would
//! be one more call for every connection.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RETRANS_CB_FLAG as RETRANS,
        BPF_SOCK_OPS_RTO_CB_FLAG as RTO, BPF_SOCK_OPS_STATE_CB_FLAG as STATE,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
    },
    helpers::generated::bpf_get_current_task,
};
use tfo_common::{
    CrossCheck, Handshake, Loss, Role, TfoOption,
    classify::{End, Withheld},
    flags::{Control, Shed},
    maps::Part,
    policy::{Mark, mark as marked},
    slots,
    time::{UNSEEN_US, started_ns, us_between},
};

use super::flags;
use crate::{
    kern::{self, Typed},
    layout::layout,
    observer::{
        account, clock,
        finish::finish_plain,
        flow::{self, Flow, Times, bit, stage},
        maps::config,
        mark, netns,
        parts::jump,
    },
    ops::{Address, Ops},
};

/// TCP states (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;
/// `TFO_CLIENT_NO_COOKIE` (include/net/tcp.h).
const SYSCTL_NO_COOKIE: u64 = 0x4;
/// `TFO_COOKIE_UNAVAILABLE` (include/net/tcp.h): set when a SYN is built without a cookie at hand.
const NO_COOKIE_KNOWN: u64 = 1;

/// `tcp_connect` (net/ipv4/tcp_output.c) begins: the SYN is about to be built. This, not the change to
/// SYN_SENT, is when the SYN leaves: with TCP_FASTOPEN_CONNECT the state changes at connect() and the SYN
/// waits for the first write. Runs in the process that connects. Returns whether it is for [`connect_again`]: the socket may
/// have connected before, or the first place for its flow is taken.
#[inline(always)]
pub fn connect(ops: &Ops) -> bool {
    // The timer's flag stays on a socket that asked for TFO before: it failed, and is connected again.
    if ops.flags() & RTO != 0 || may_be_left(ops) {
        return true;
    }
    match ops.tcp() {
        Some(tcp) => begin(ops, tcp, flow::begin_at_home),
        None => false,
    }
}

/// Whether an earlier connection of this socket, or of one at its address, has left a flow: one for which no flag was asked
/// (`trace --all`), or whose flags another program has taken away. Of others the flow ends before the connection. Not looked up for
/// all, since the line that tells has been written by another CPU ([`flow::Claim`]): a handshake that has lost its flags and fails
/// before user space has seen whoever took them, once a second, is lost (docs/limits.md).
#[inline(always)]
fn may_be_left(ops: &Ops) -> bool {
    (config!(emit_plain) != 0 || flags::control(Control::FlagsMayGo) != 0) && flow::at_home(ops).is_some()
}

/// The same for a socket that may have the flow of an earlier connection.
#[inline(always)]
pub fn connect_again(ops: &Ops, flow: Option<&mut Flow>) {
    if let Some(tcp) = ops.tcp()
        && is_new(ops, tcp, flow)
    {
        begin(ops, tcp, flow::begin);
    }
}

/// Begins a connection, with a place for its flow found by `place` where one is needed. Returns whether none was found.
#[inline(always)]
fn begin<'a>(ops: &Ops, tcp: Typed, place: impl Fn(&Ops, Role, u64) -> Option<&'a mut Flow>) -> bool {
    let at = layout!(tp_fastopen_req);
    if !at.is_present() {
        return false;
    }
    let request = tcp.follow(at);
    if request.address() == 0 && (config!(emit_plain) == 0 || flags::is_shed(Shed::Plain)) {
        flow::set_connecting(ops.sk());
        return false;
    }
    let is_asked = request.address() != 0;
    // Of one with Fast Open the socket tells later ([`began`]): a look at the clock takes 32 ns.
    let start_ns = if is_asked { 0 } else { clock::now() };
    let Some(flow) = place(ops, Role::Client, start_ns) else {
        return true;
    };
    flow.locate(ops);
    process(flow);
    if !is_asked {
        flow::forget_start(ops.sk());
    } else {
        flow.born = clock::jiffies();
        flow.bits = bit::REQUESTED;
        flow.offered = request.uint(layout!(req_size)) as u32;
        flags::add(ops, flow, RETRANS | RTO);
    }
    false
}

/// Works out when the first SYN left, if that is not known yet: before a second one leaves it is what the socket has sent last
/// (`__tcp_transmit_skb`), to the nanosecond. The timer, after which nearly all second ones leave, asks in time ([`timeout`]).
/// Of one that an ICMP message has sent again (`tcp_simple_retransmit`) the socket knows it to a millisecond, until it is
/// answered (`tcp_clean_rtx_queue`). Of one whose callbacks another program has switched off, and of one that crossed
/// another, which has sent a SYN-ACK since, we know the tick.
///
/// Once for all that [`Part::Rare`] does: in each of its parts it was a tenth of what the verifier went through.
#[inline(always)]
pub fn work_out_start(ops: &Ops, flow: &mut Flow) {
    if flow.stage == stage::HANDSHAKE
        && flow.role == Role::Client as u8
        && flow.start_ns == 0
        && let Some(tcp) = ops.tcp()
    {
        // Not later than the verdict that may follow: that has the socket's clock, too.
        began(tcp, flow, tcp.clock(), !has_crossed(ops));
    }
}

/// See [`work_out_start`].
#[inline(always)]
fn began(tcp: Typed, flow: &mut Flow, now: u64, has_sent_one: bool) {
    if flow.start_ns != 0 {
        return;
    }
    let sent_ns = tcp.uint(layout!(tp_wstamp_ns));
    let stamp = tcp.uint(layout!(tp_retrans_stamp)) as u32;
    flow.start_ns = if has_sent_one && tcp.uint(layout!(tp_total_retrans)) == 0 && sent_ns != 0 {
        sent_ns
    } else if stamp != 0 {
        started_ns(stamp, now)
    } else {
        let ticks = clock::jiffies().wrapping_sub(flow.born) & u64::from(u32::MAX);
        now.saturating_sub(ticks * u64::from(config!(tick_us)) * 1_000)
    };
    flow.syn_ns = flow.start_ns;
}

/// Whether nothing of an earlier connection of this socket waits for its verdict. If it does, that comes first:
/// [`Part::Finish`] counts it and then begins once more.
#[inline(always)]
fn is_new(ops: &Ops, tcp: Typed, flow: Option<&mut Flow>) -> bool {
    let Some(flow) = flow else {
        return true;
    };
    if flow.stage != stage::HANDSHAKE {
        flow::remove(ops.sk());
        return true;
    }
    fail(tcp, flow, clock::now());
    jump::<{ Part::Finish as u32 }>(ops);
    false
}

/// Fills in the process that connects: with loads where the kernel says what its task is, else with three reads by a helper,
/// which take 25 ns.
#[inline(always)]
fn process(flow: &mut Flow) {
    let (tgid, leader, comm) = (layout!(task_tgid), layout!(task_leader), layout!(task_comm));
    if config!(typed_task) != 0 && tgid.is_present() && leader.is_present() && comm.is_present() {
        let task = Typed::current_task();
        flow.tgid = task.uint(tgid) as u32;
        let name = task.follow(leader);
        flow.comm = Address::of(name.word64(comm, 0), name.word64(comm, 8));
        return;
    }
    // SAFETY: no arguments.
    let task = unsafe { bpf_get_current_task() };
    flow.tgid = kern::uint(task, tgid) as u32;
    // What cannot be read is zero.
    let name_at = if comm.is_present() {
        kern::pointer(task, leader) + comm.byte
    } else {
        0
    };
    flow.comm = kern::read(name_at);
}

/// `__tcp_retransmit_skb`: a SYN has left again, always bare. From here on the end is worth a callback of its own.
#[inline(always)]
pub fn retransmitted(ops: &Ops, flow: Option<&mut Flow>) {
    if let Some(flow) = flow
        && flow.stage == stage::HANDSHAKE
        && flow.role == Role::Client as u8
    {
        flow.syn_ns = clock::now();
        flags::add(ops, flow, STATE);
    }
}

/// `tcp_finish_connect`: the SYN-ACK was processed, its acknowledgement included; what the kernel makes of
/// unacked SYN data (`tcp_rcv_fastopen_synack`) comes after. So bytes acked and in flight are exact here.
///
/// The one verdict that most connections with TFO get: the SYN left once with cookie and data, all of it was acked by
/// a SYN-ACK without a cookie, and nothing is stored on the socket, a policy's mark, for one. A small program of its own;
/// [`established`] is for all others, and would come to the same verdict. Returns whether it was this one.
#[inline(always)]
pub fn accepted(ops: &Ops) -> bool {
    let Some(tcp) = ops.tcp() else { return false };
    let Some(flow) = flow::at_home(ops) else {
        return false;
    };
    let acked = ops.bytes_acked().saturating_sub(1) as u32;
    let sample = ops.srtt_us();
    if flow.stage != stage::HANDSHAKE
        || !flow.has(bit::REQUESTED)
        || acked == 0
        || sample == 0
        || ops.unacked() != 0
        || ops.total_retrans() != 0
        || !ops.has_usual_options()
        || mark::may_be_on(tcp)
        || !tcp.has(layout!(tp_syn_fastopen))
        || !tcp.has(layout!(tp_syn_data))
        || tcp.uint(layout!(tp_client_fail)) == NO_COOKIE_KNOWN
    {
        return false;
    }
    flow.describe(tcp);
    flow.bits |= bit::TO_COUNT;
    flow.option_kind = kind_sent(tcp);
    let now = tcp.clock();
    flow.start_ns = now - u64::from(sample) * 1_000;
    let facts = Handshake {
        requested: true,
        option: TfoOption::Cookie,
        syn_data_len: acked,
        syn_data_acked: acked,
        ..Handshake::plain(Role::Client)
    };
    let times = Times {
        now,
        handshake_us: sample,
        rtt_us: sample,
    };
    flow.conclude(facts, &times, true);
    true
}

/// A client that has no flow, most likely. Returns whether it has one: then [`established`] is to be called.
#[inline(always)]
pub fn established_plain(ops: &Ops) -> bool {
    let Some(tcp) = ops.tcp() else { return false };
    let asked = tcp.has(layout!(tp_syn_fastopen));
    if (asked || config!(emit_plain) != 0) && flow::of_context(ops).is_some() {
        return true;
    }
    plain_established(ops, tcp, tcp.clock());
    false
}

/// Every end of a client's handshake but [`accepted`], that with crossed SYNs included: the kernel calls it passive. Returns whether there is a verdict to finish.
#[inline(always)]
pub fn established(ops: &Ops, flow: Option<&mut Flow>) -> bool {
    let Some(tcp) = ops.tcp() else { return false };
    // `tcp_rcv_state_process` has just looked.
    let now = tcp.clock();
    let flow = match flow {
        Some(flow) if flow.stage == stage::HANDSHAKE => flow,
        found => {
            if found.is_some() {
                // Left by an earlier connection of a socket that was disconnected and connected again.
                flow::remove(ops.sk());
            }
            plain_established(ops, tcp, now);
            return false;
        }
    };
    let mut facts = Handshake::plain(Role::Client);
    facts.syn_retrans = ops.total_retrans();
    if flow.has(bit::REQUESTED) {
        if ops.flags() & RTO == 0 {
            flags::raise(Control::FlagsMayGo);
        }
        let mark = mark::of(tcp);
        let unacked = ops.unacked();
        let acked = ops.bytes_acked().saturating_sub(1) as u32;
        what_left(tcp, flow, &mark, acked.wrapping_add(unacked), &mut facts);
        facts.syn_data_acked = if facts.syn_data_len > 0 { acked } else { 0 };
        facts.cookie_received = cookie_received(ops, flow);
        if facts.syn_data_len > 0 && !has_crossed(ops) {
            let all = facts.syn_data_acked >= facts.syn_data_len;
            flow.netns = netns::inode_of(tcp);
            account::cross_check(flow.netns, active(all));
        }
    }
    let times = times(ops, flow, &facts, now);
    flow.conclude(facts, &times, true);
    true
}

/// What the kernel counts of SYN data (`tcp_rcv_fastopen_synack`).
#[inline(always)]
fn active(all: bool) -> CrossCheck {
    if all {
        CrossCheck::Active
    } else {
        CrossCheck::ActiveFail
    }
}

/// Whether the SYN met that of the peer on its way: `tcp_rcv_synsent_state_process` then looks neither at SYN data nor at
/// cookies, and `tcp_rcv_fastopen_synack`, which counts, is never called.
#[inline(always)]
fn has_crossed(ops: &Ops) -> bool {
    ops.op() == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
}

/// How long it took. The kernel's own sample is the SYN's, taken where it left and where its answer came, if it was
/// sent but once; else the answer belongs to the latest SYN, unless it is that of an earlier one, which shows.
#[inline(always)]
fn times(ops: &Ops, flow: &mut Flow, facts: &Handshake, now: u64) -> Times {
    let sample = ops.srtt_us();
    // With crossed SYNs the sample is of the SYN-ACK, which left later (`tcp_send_synack`).
    if facts.syn_retrans == 0 && sample != 0 && !has_crossed(ops) {
        flow.start_ns = now - u64::from(sample) * 1_000;
        return Times {
            now,
            handshake_us: sample,
            rtt_us: sample,
        };
    }
    let handshake_us = us_between(flow.start_ns, now);
    let rtt_us = match (facts.syn_retrans, facts.cookie_received) {
        (0, _) => handshake_us,
        (_, false) if flow.has(bit::REQUESTED) => us_between(flow.syn_ns, now),
        // For plain connections later SYNs are not timed.
        _ => UNSEEN_US,
    };
    if facts.syn_retrans > 0 && flow.has(bit::REQUESTED) && flow.syn_ns == flow.start_ns {
        // Sent again and nobody told us: another program took the flag. What the timer cost is everything but the
        // round trip.
        account::lost(Loss::FlagsLost);
        flags::raise(Control::FlagsMayGo);
        flow.syn_ns = now - u64::from(sample) * 1_000;
    }
    Times {
        now,
        handshake_us,
        rtt_us,
    }
}

/// A handshake without a flow: plain, unless the socket says that its SYN had TFO. Then it was under way
/// when we attached, or the flow table was full, and nothing but its bytes is known of it.
#[inline(always)]
fn plain_established(ops: &Ops, tcp: Typed, now: u64) {
    let acked = ops.bytes_acked() as u32;
    let unacked = ops.unacked();
    if acked + unacked > 1 {
        if has_crossed(ops) {
            return account::lost(Loss::SynUnseen);
        }
        account::cross_check(netns::inode_of(tcp), active(unacked == 0));
        return account::lost(Loss::SynUnseen);
    }
    if tcp.has(layout!(tp_syn_fastopen)) {
        return account::lost(Loss::SynUnseen);
    }
    let mut facts = Handshake::plain(Role::Client);
    facts.syn_retrans = ops.total_retrans();
    // The kernel's own sample is the SYN's, if it was sent but once.
    let (handshake_us, rtt_us) = match (facts.syn_retrans, ops.srtt_us()) {
        // With crossed SYNs it is that of the SYN-ACK, which left later.
        (0, _) if has_crossed(ops) => (UNSEEN_US, UNSEEN_US),
        (0, 0) => (UNSEEN_US, UNSEEN_US),
        (0, sample) => (sample, sample),
        _ => (since_first_syn(ops), UNSEEN_US),
    };
    if handshake_us != UNSEEN_US && clock::is_sampled(now) {
        let before = ops.flags();
        if before & WRITE == 0 {
            ops.set_flags(before | WRITE);
        }
        let start_ns = now - u64::from(handshake_us) * 1_000;
        flow::set_start(ops.sk(), start_ns, Role::Client, before & WRITE == 0);
    }
    finish_plain(
        ops,
        tcp.cgroup_id(),
        &facts,
        &Times {
            now,
            handshake_us,
            rtt_us,
        },
    );
}

/// Time since a plain client's first SYN left, us, to a tick; [`UNSEEN_US`] where another socket has taken its slot.
#[inline(always)]
fn since_first_syn(ops: &Ops) -> u32 {
    let Some((number, slot)) = flow::start_of(ops.sk()) else {
        return UNSEEN_US;
    };
    // SAFETY: points into an array; aligned.
    match slots::connecting_since(number, unsafe { *slot }, clock::jiffies()) {
        Some(ticks) => {
            let us = ticks.min(1 << 30) * u64::from(config!(tick_us));
            us.min(u64::from(UNSEEN_US - 1)) as u32
        }
        None => UNSEEN_US,
    }
}

/// What the SYN was like, from what it left on the socket (`tcp_send_syn_data`, `tcp_syn_options`) and on the mark of
/// a policy. `syn_len` is the payload of the SYN that left.
#[inline(always)]
fn what_left(tcp: Typed, flow: &mut Flow, mark: &Mark, syn_len: u32, facts: &mut Handshake) {
    flow.policy = mark.action;
    let option = tcp.uint(layout!(tp_syn_fastopen)) != 0;
    let data = tcp.uint(layout!(tp_syn_data)) != 0;
    let no_cookie = tcp.uint(layout!(tp_client_fail)) == NO_COOKIE_KNOWN;
    facts.requested = true;
    // What is neither: with a cookie, or in cookie-less mode, or in the pause.
    let bare = !data && !no_cookie;
    if mark.flags & (marked::DENIED | marked::STRIP) != 0 {
        facts.withheld = Withheld::Policy;
    } else if bare && option && flow.offered > 0 {
        facts.withheld = Withheld::Other;
    } else if bare && !option {
        if !is_cookieless(tcp) {
            facts.paused = true;
        } else if flow.offered > 0 {
            facts.withheld = Withheld::Other;
        }
    }
    facts.option = option_sent(option, no_cookie, facts.withheld, mark);
    flow.option_kind = match facts.option {
        TfoOption::None => 0,
        _ => kind_sent(tcp),
    };
    // A denied socket's data may have been pushed out in this very callback, by the policy's program.
    if mark.flags & marked::DENIED == 0 {
        facts.syn_data_len = syn_len;
        flow.bits |= (mark.flags & marked::CARRIED) << 1;
    }
}

/// The kind of the option that a SYN left with.
#[inline(always)]
fn kind_sent(tcp: Typed) -> u8 {
    if tcp.uint(layout!(tp_syn_fastopen_exp)) != 0 {
        254
    } else {
        34
    }
}

/// The option of the SYN that left: where one with a cookie and data was kept back, the kernel sends a request.
#[inline(always)]
fn option_sent(option: bool, no_cookie: bool, withheld: Withheld, mark: &Mark) -> TfoOption {
    if !option || mark.flags & marked::STRIP != 0 {
        TfoOption::None
    } else if no_cookie || !matches!(withheld, Withheld::No) {
        TfoOption::Request
    } else {
        TfoOption::Cookie
    }
}

/// Whether the SYN-ACK brought a cookie, in either kind: Linux takes both, whatever it sent
/// (`tcp_parse_fastopen_option`). One that nobody asked for it ignores.
#[inline(always)]
fn cookie_received(ops: &Ops, flow: &Flow) -> bool {
    if flow.option_kind == 0 || ops.has_usual_options() {
        return false;
    }
    matches!(ops.tfo_option(), Some(found) if matches!(found.option, TfoOption::Cookie))
}

/// Whether a bare SYN is explained by cookie-less mode rather than by the pause. The route attribute
/// `fastopen_no_cookie` cannot be seen from here.
#[inline(always)]
fn is_cookieless(tcp: Typed) -> bool {
    let (net, sysctl) = (layout!(skc_net), layout!(net_tcp_fastopen));
    let mode = if net.is_present() {
        tcp.follow(net).uint(sysctl)
    } else {
        0
    };
    mode & SYSCTL_NO_COOKIE != 0 || tcp.uint(layout!(tp_no_cookie)) != 0
}

/// SYN_SENT to CLOSE: the handshake failed. Asked for only once a
/// SYN was sent again; else the socket's error or its end tells (`hooks::trace`). Returns whether there is a verdict
/// to finish.
#[inline(always)]
pub fn state(ops: &Ops, flow: &mut Flow) -> bool {
    if ops.arg::<0>() != SYN_SENT || ops.arg::<1>() != CLOSE || flow.stage != stage::HANDSHAKE {
        return false;
    }
    let Some(tcp) = ops.tcp() else { return false };
    fail(tcp, flow, clock::now());
    true
}

/// `ECONNREFUSED` (include/uapi/asm-generic/errno.h).
const ECONNREFUSED: u64 = 111;

/// Whether a handshake that failed was answered by a RST: `tcp_reset` leaves this error before it ends the socket, and the RST
/// was counted as it came in (`tcp_v4_rcv`). An ICMP message that says that nobody listens leaves the same error, but no
/// segment. No tracepoint is asked, for it would be called for every RST of the host (`tcp_receive_reset`, used where
/// errors are not told).
#[inline(always)]
fn was_reset(tcp: Typed) -> bool {
    tcp.uint(layout!(sk_err)) == ECONNREFUSED && tcp.uint(layout!(tp_segs_in)) != 0
}

/// The verdict on a handshake that never completed, of a socket that reports an error or goes.
#[inline(always)]
pub fn give_up(tcp: Typed, flow: &mut Flow) {
    let now = clock::now();
    // One whose SYN crossed another has sent a SYN-ACK since; it is in SYN_RECV, and fails without an answer to that.
    began(tcp, flow, now, true);
    fail(tcp, flow, now);
}

/// The verdict. Everything is still on the socket, unless it was disconnected since.
#[inline(always)]
fn fail(tcp: Typed, flow: &mut Flow, now: u64) {
    let mut facts = Handshake {
        end: if flow.has(bit::RESET) || was_reset(tcp) {
            End::Reset
        } else {
            End::Failed
        },
        syn_retrans: tcp.uint(layout!(tp_total_retrans)) as u32,
        ..Handshake::plain(Role::Client)
    };
    if flow.has(bit::REQUESTED) {
        let in_flight =
            (tcp.uint(layout!(tp_snd_nxt)) as u32).wrapping_sub(tcp.uint(layout!(tp_snd_una)) as u32);
        what_left(tcp, flow, &mark::of(tcp), in_flight.saturating_sub(1), &mut facts);
        // `tcp_disconnect` clears what was sent along with the port: then only the failure is certain.
        if tcp.uint(layout!(skc_dport)) == 0 {
            facts.paused = false;
            facts.syn_data_len = 0;
        }
        if !matches!(facts.withheld, Withheld::No) {
            facts.syn_data_len = 0;
        }
    }
    let times = Times {
        now,
        handshake_us: UNSEEN_US,
        rtt_us: UNSEEN_US,
    };
    flow.conclude(facts, &times, false);
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
    let Some(tcp) = ops.tcp() else { return };
    let bits = tcp.uint(layout!(tp_syn_fastopen))
        | tcp.uint(layout!(tp_syn_data))
        | tcp.uint(layout!(tp_syn_data_acked));
    if bits != 0 {
        account::cross_check(netns::inode_of(tcp), CrossCheck::ActiveFailTimeout);
    }
}
