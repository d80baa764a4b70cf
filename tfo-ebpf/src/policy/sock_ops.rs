//! `sock_ops`: the push that keeps denied sockets from stalling, and how marked handshakes end. One program is attached and
//! decides which other one does the work, if any: of nine callbacks of a connection two are anything to us.
//!
//! Callback flags are shared with every other `sock_ops` program: STATE is OR-ed in only for connections a guard
//! wants to know about, and only taken back where we set it.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_HDR_OPT_LEN_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB,
        BPF_SOCK_OPS_RETRANS_CB, BPF_SOCK_OPS_RTO_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_TCP_CONNECT_CB, bpf_sock_ops,
    },
    helpers::generated::{bpf_getsockopt, bpf_setsockopt},
    macros::sock_ops,
    programs::SockOpsContext,
};
use tfo_common::{
    TfoOption,
    guard::{Evidence, Watch, slot_hash, waited_long_enough, watch as bits},
    policy::{Learned, Mark, Stat, Tail, mark, push},
};

use crate::{
    kern::{self, Typed},
    layout::layout,
    ops::Ops,
    policy::{
        count,
        guard::{self, End, Subject},
        maps::{TFO_POL_AFTER, TFO_POL_TAILS},
        marks, risk,
        watch::{self, Places},
    },
    tail,
};

/// include/uapi/linux/in.h and tcp.h.
const SOL_TCP: i32 = 6;
const TCP_NODELAY: i32 = 1;
/// TCP states (include/net/tcp_states.h).
const ESTABLISHED: u32 = 1;
const SYN_SENT: u32 = 2;
const SYN_RECV: u32 = 3;
const CLOSE: u32 = 7;
/// Errors that a RST and silence end a handshake with (include/uapi/asm-generic/errno.h).
const ECONNREFUSED: u32 = 111;
/// See [`ECONNREFUSED`].
const ETIMEDOUT: u32 = 110;

/// Entry. The return value is 1 whatever happens: 0 would turn into -EPERM for every program on the cgroup.
#[sock_ops]
pub fn tfo_pol_sockops(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    match ops.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => jump::<{ Tail::Connect as u32 }>(&ops),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            // Nearly all were answered at once, and no mark was made: then there is nothing to do.
            let kept = Kept::of(&ops);
            let were_made = marks::were_made();
            let ops = kept.ops();
            if were_made || is_late(&ops) {
                jump::<{ Tail::Established as u32 }>(&ops);
            }
            go_on(&kept.ops());
        }
        BPF_SOCK_OPS_STATE_CB if ops.arg::<0>() == SYN_SENT => jump::<{ Tail::State as u32 }>(&ops),
        // Together with the three above callbacks that come by a flag, and those that a connection begins with: where flags of an
        // observer that was killed are taken back, and where its marks on a socket that had this address before end.
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB
        | BPF_SOCK_OPS_HDR_OPT_LEN_CB
        | BPF_SOCK_OPS_RTO_CB
        | BPF_SOCK_OPS_RETRANS_CB
        | BPF_SOCK_OPS_STATE_CB => go_on(&ops),
        _ => {}
    }
    1
}

/// [`Tail::Connect`].
#[sock_ops]
pub fn tfo_pol_connect(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    connect(&ops);
    go_on(&ops);
    1
}

/// [`Tail::Established`].
#[sock_ops]
pub fn tfo_pol_est(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if established(&ops) && is_guarded(&ops) {
        jump::<{ Tail::Judge as u32 }>(&ops);
    }
    go_on(&ops);
    1
}

/// [`Tail::State`].
#[sock_ops]
pub fn tfo_pol_state(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    if state(&ops) && is_guarded(&ops) {
        jump::<{ Tail::Judge as u32 }>(&ops);
    }
    go_on(&ops);
    1
}

/// The context, kept on the stack. Where it is needed behind a call, LLVM keeps it in a register that helpers leave alone, and such a
/// one is saved and restored by every run of what is attached, not only by those that get there.
struct Kept(MaybeUninit<*mut bpf_sock_ops>);

impl Kept {
    #[inline(always)]
    fn of(ops: &Ops) -> Self {
        let mut place = MaybeUninit::<*mut bpf_sock_ops>::uninit();
        // SAFETY: a place of our own. Volatile, here and below: LLVM would see that it need not lie there.
        unsafe { place.as_mut_ptr().write_volatile(ops.ctx.ops) };
        Self(place)
    }

    #[inline(always)]
    fn ops(&self) -> Ops {
        // SAFETY: `of` has written it.
        let ctx = SockOpsContext::new(unsafe { self.0.as_ptr().read_volatile() });
        Ops { ctx }
    }
}

/// Goes on in another of our programs, and does not come back. It comes back only where the policy is being removed: what there
/// is to know lies in the array of watches, where the place is free again when a handshake could not last any longer.
#[inline(always)]
fn jump<const TAIL: u32>(ops: &Ops) {
    tail::call::<TAIL, _>(ops, &TFO_POL_TAILS);
}

/// Goes on with the observer's program, where one has left it; comes back where none has.
#[inline(always)]
fn go_on(ops: &Ops) {
    tail::call::<0, _>(ops, &TFO_POL_AFTER);
}

/// Whether a handshake that ended is anybody's: of one that nobody looked at before, this is found out now.
#[inline(always)]
fn is_guarded(ops: &Ops) -> bool {
    let sk = kern::sock_of(&ops.ctx);
    let Some(watch) = watch::of(sk) else { return false };
    if watch.flags & bits::EARLY != 0 {
        (watch.guard, watch.own) = guard::guard_of(sk);
        if watch.guard == 0 {
            watch.sk = 0;
            return false;
        }
    }
    true
}

/// [`Tail::Judge`], where something has failed: judges one of the four entries, and goes on with itself for the next. All at once
/// they would need more than a program's 512 bytes of stack.
#[sock_ops]
pub fn tfo_pol_judge(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    let sk = kern::sock_of(&ops.ctx);
    let Some(watch) = watch::of(sk) else { return 1 };
    let family = ops.family();
    let subject = Subject {
        guard: watch.guard,
        own: watch.own,
        net: guard::net_of(sk),
        local: ops.local(family).words,
        remote: ops.remote(family).words,
        port: ops.remote_port(),
        family,
    };
    let entry = u32::from(watch.entry);
    let end = End {
        evidence: Evidence::from_code(watch.evidence),
        is_trial: u32::from(watch.trial) == entry + 1,
        before: watch.seen,
        is_overtaken: watch.flags & bits::OVERTAKEN != 0,
        lost_us: watch.lost_us,
        sk,
    };
    watch.opened = guard::take_in(&subject, entry, &end, watch.opened != 0, count::now()).into();
    watch.entry += 1;
    if entry + 1 < guard::ENTRIES {
        jump::<{ Tail::Judge as u32 }>(&ops);
    }
    watch.sk = 0;
    1
}

/// `tcp_connect` begins, before any SYN.
///
/// A handshake that fails is only seen with STATE: by guards, and by whoever waits for those that would hang. Guards
/// want to know the end of those with Fast Open, and of all to where something failed.
#[inline(always)]
fn connect(ops: &Ops) {
    // A socket that was disconnected and connects again: its old mark says nothing any more.
    let Some(tcp) = ops.tcp() else { return };
    let (force, known) = (count::in_force(), count::learned());
    if let Some(mark) = marks::of(ops.sk(), tcp, known.marked != 0) {
        *mark = Mark {
            added: mark.added,
            ..Mark::NONE
        };
    }
    let is_tfo = tcp.uint(layout!(tp_fastopen_req)) != 0;
    if is_tfo && known.push == push::UNKNOWN {
        learn_push(ops, known);
    }
    if force.guards != 0 && (is_tfo || known.troubled != 0 && places(ops).are_troubled()) {
        if watch::is_quiet(force, known) {
            // What an earlier connection of this socket has left there would be taken for this one's.
            if !has_left_tfo(tcp) {
                watch::note_birth(tcp.number(), ask(ops) != 0);
                return;
            }
        } else {
            // Of a socket that had this address, and whose end was not seen.
            let _ = watch::take_birth(tcp.number());
            if let Some(watch) = watch::begin(tcp.number()) {
                watch.added = ask(ops);
                return;
            }
        }
        count::stat(Stat::Unwatched);
    }
    if is_tfo
        && risk::is_at_risk(tcp)
        && let Some(mark) = marks::make(ops.sk())
    {
        let added = ask(ops);
        mark.added |= added;
        if added != 0 {
            count::stat(Stat::Flagged);
        }
    }
}

/// Whether a SYN of this socket has had the TFO option or data.
#[inline(always)]
fn has_left_tfo(tcp: Typed) -> bool {
    tcp.has_either(layout!(tp_syn_fastopen), layout!(tp_syn_data))
}

/// What the SYN of an early one was like, as the socket knows it when it has left (`tcp_send_syn_data`, `tcp_syn_options`).
#[inline(always)]
fn what_left(tcp: Typed) -> u8 {
    if tcp.has(layout!(tp_syn_data)) {
        bits::DATA
    } else if tcp.has(layout!(tp_syn_fastopen)) {
        bits::OPTION
    } else {
        0
    }
}

/// Of a handshake that began before anything had failed: its SYN was answered at once, and nothing has failed since.
#[inline(always)]
fn went_well(ops: &Ops, tcp: Typed) {
    let left = what_left(tcp);
    let with_data = left & bits::DATA != 0;
    let family = ops.family();
    let (local, remote) = (ops.local(family).words, ops.remote(family).words);
    let destination = slot_hash(local, remote, ops.remote_port());
    if left == 0 || watch::has_succeeded(destination, with_data) {
        return;
    }
    watch::succeeded(destination, with_data, ops.srtt_us());
    if with_data {
        watch::network_succeeded(places(ops).network);
    }
}

/// Asks for STATE; what was added.
#[inline(always)]
fn ask(ops: &Ops) -> u8 {
    let before = ops.flags();
    if before & STATE != 0 {
        return 0;
    }
    ops.set_flags(before | STATE);
    STATE as u8
}

/// Takes flags back that we set. Whether there were any.
#[inline(always)]
fn give_back(ops: &Ops, added: &mut u8) -> bool {
    let were_any = *added != 0;
    if were_any {
        ops.set_flags(ops.flags() & !u32::from(*added));
        *added = 0;
    }
    were_any
}

/// Where a connection's numbers are.
#[inline(always)]
fn places(ops: &Ops) -> Places {
    let family = ops.family();
    Places::of(
        ops.local(family).words,
        ops.remote(family).words,
        ops.remote_port(),
    )
}

/// Finds out whether sockets can be pushed: reading TCP_NODELAY became possible together with setting it (Linux
/// 6.1, `bpf_sol_tcp_setsockopt`, net/core/filter.c).
#[inline(always)]
fn learn_push(ops: &Ops, known: &mut Learned) {
    let mut value = 0i32;
    let works = get_nodelay(ops, &mut value) == 0;
    known.push = if works { push::WORKS } else { push::REFUSED };
}

/// `tcp_finish_connect`: the SYN-ACK's acknowledgement is processed, queued data not sent yet.
///
/// Whether there is something to judge.
#[inline(always)]
fn established(ops: &Ops) -> bool {
    let Some(tcp) = ops.tcp() else { return false };
    let mut to_judge = false;
    if is_late(ops) && count::in_force().guards != 0 {
        // One that no guard has noted `state` has let go of.
        if let Some(watch) = watch::of(tcp.number()) {
            let lost = watch::age_us(watch).saturating_sub(ops.srtt_us()).max(1);
            let evidence = answered_late(ops, watch.flags);
            to_judge = report(ops, watch, evidence, lost);
        }
    }
    let Some(mark) = marks::of(ops.sk(), tcp, marks::were_made()) else {
        return to_judge;
    };
    if strip_missed(mark) {
        count::stat(Stat::StripMissed);
    }
    if mark.flags & mark::DENIED != 0 {
        unstall(ops, mark);
    }
    to_judge
}

/// Whether the SYN had to be sent again.
#[inline(always)]
fn is_late(ops: &Ops) -> bool {
    ops.total_retrans() > 0
}

/// What an answer to a SYN that was sent again shows. With data out the acknowledgement tells; a SYN-ACK with a cookie
/// answered the TFO SYN itself, be it late, because a retransmitted one carries none (`tcp_rtx_synack`).
#[inline(always)]
fn answered_late(ops: &Ops, flags: u8) -> u8 {
    let failed = if flags & bits::DATA != 0 {
        Evidence::TfoFailed
    } else if left_with_option(flags) {
        Evidence::BareFailed
    } else {
        return Evidence::PlainFailed as u8;
    };
    if flags & bits::DATA != 0 && ops.bytes_acked() > 1 || has_cookie(ops) {
        bits::NOTHING
    } else {
        failed as u8
    }
}

/// What it shows that a SYN was answered at once.
#[inline(always)]
fn answered_at_once(flags: u8) -> u8 {
    let passed = if flags & bits::DATA != 0 {
        Evidence::TfoOk
    } else if left_with_option(flags) {
        Evidence::BareOk
    } else {
        Evidence::PlainOk
    };
    passed as u8
}

/// What it shows that a SYN was reset, or never answered.
#[inline(always)]
fn never_answered(flags: u8) -> u8 {
    let failed = if flags & bits::DATA != 0 {
        Evidence::TfoDead
    } else if left_with_option(flags) {
        Evidence::BareFailed
    } else {
        Evidence::PlainFailed
    };
    failed as u8
}

/// Whether a bare SYN had the option on the wire. A stripped one is a plain one there.
#[inline(always)]
const fn left_with_option(flags: u8) -> bool {
    flags & (bits::OPTION | bits::STRIPPED) == bits::OPTION
}

/// Whether the option left although it was to be taken out: by an interface without the classifier.
#[inline(always)]
fn strip_missed(mark: &Mark) -> bool {
    mark.flags & mark::STRIP_DONE == mark::STRIP
}

#[inline(always)]
fn has_cookie(ops: &Ops) -> bool {
    matches!(ops.tfo_option(), Some(found) if matches!(found.option, TfoOption::Cookie))
}

/// Pushes out what waits in the queue: setting TCP_NODELAY runs `tcp_push_pending_frames`
/// (`__tcp_sock_set_nodelay`, net/ipv4/tcp.c). The application's own setting is restored.
#[inline(always)]
fn unstall(ops: &Ops, mark: &Mark) {
    let mut before = 0i32;
    let known = get_nodelay(ops, &mut before) == 0;
    let pushed = known && set_nodelay(ops, 1) == 0;
    if pushed && before == 0 {
        set_nodelay(ops, 0);
    }
    count::stat(if pushed { Stat::Pushed } else { Stat::PushFailed });
    if mark.flags & mark::AT_RISK != 0 {
        count::stat(Stat::AtRiskEnded);
    }
}

/// SYN_SENT ends: with ESTABLISHED, or with CLOSE after a RST (ECONNREFUSED), a timeout or because the application gave
/// up.
///
/// Flags are taken back whatever comes after SYN_SENT. `tcp_finish_connect` (net/ipv4/tcp_input.c) sets the state
/// before it calls for ACTIVE_ESTABLISHED, where others ask for this flag: theirs must stay.
///
/// Whether there is something to judge.
#[inline(always)]
fn state(ops: &Ops) -> bool {
    let closed = ops.arg::<1>() == CLOSE;
    // The peer's own SYN has crossed ours: that is no answer (`tcp_rcv_synsent_state_process`), and shows nothing. Nor is
    // there an ACTIVE_ESTABLISHED to come, or a need to push: `tcp_rcv_state_process` sends what waits.
    let has_crossed = ops.arg::<1>() == SYN_RECV;
    let Some(tcp) = ops.tcp() else { return false };
    let known = count::learned();
    let birth = watch::take_birth(tcp.number());
    if birth.asked() {
        ops.set_flags(ops.flags() & !STATE);
    }
    let mut missed = false;
    let mut stripped = 0;
    if let Some(mark) = marks::of(ops.sk(), tcp, known.marked != 0) {
        if give_back(ops, &mut mark.added) {
            count::stat(Stat::Unflagged);
        }
        missed = strip_missed(mark);
        if mark.flags & mark::STRIP != 0 {
            stripped = bits::STRIPPED;
        }
        if closed || has_crossed {
            let denied_at_risk = mark::DENIED | mark::AT_RISK;
            if mark.flags & denied_at_risk == denied_at_risk {
                count::stat(Stat::AtRiskEnded);
            }
            if missed {
                count::stat(Stat::StripMissed);
            }
        }
    }
    let found = if birth.is_some() {
        let answered_at_once = ops.arg::<1>() == ESTABLISHED && !is_late(ops);
        if answered_at_once && known.troubled == 0 && stripped == 0 {
            went_well(ops, tcp);
            return false;
        }
        let begun = watch::begin_late(tcp.number(), birth, places(ops), what_left(tcp) | stripped);
        if begun.is_none() {
            count::stat(Stat::Unwatched);
        }
        begun
    } else {
        watch::of(tcp.number())
    };
    let Some(watch) = found else { return false };
    give_back(ops, &mut watch.added);
    if watch.flags & bits::EARLY == 0 && watch.guard == 0 {
        watch.sk = 0;
        return false;
    }
    if closed {
        let evidence = if !missed && tells(ops, tcp, watch) {
            never_answered(watch.flags)
        } else {
            bits::NOTHING
        };
        return report(ops, watch, evidence, 0);
    }
    // What was answered late `established` looks at, which has the SYN-ACK at hand.
    (has_crossed || !is_late(ops)) && {
        let evidence = if missed || has_crossed {
            bits::NOTHING
        } else {
            answered_at_once(watch.flags)
        };
        report(ops, watch, evidence, 0)
    }
}

/// Whether a handshake without an answer shows anything. Errors that ICMP tells of (no route, the hop limit) do not.
#[inline(always)]
fn tells(ops: &Ops, tcp: Typed, watch: &Watch) -> bool {
    let error = tcp.uint(layout!(sk_err)) as u32;
    if error != 0 {
        return error == ECONNREFUSED || error == ETIMEDOUT;
    }
    // Nothing has left since the SYN, or it is late.
    let waited = count::now().saturating_sub(tcp.uint(layout!(tp_wstamp_ns)));
    is_late(ops) || waited_long_enough(waited, watch::numbers(watch.destination).2)
}

/// The end of a watched handshake: counted where nothing ever failed. Whether there is something to judge.
#[inline(always)]
fn report(ops: &Ops, watch: &mut Watch, evidence: u8, lost_us: u32) -> bool {
    let places = Places::noted(watch);
    let rtt = ops.srtt_us();
    if evidence == Evidence::TfoOk as u8 {
        watch::succeeded(places.destination, true, rtt);
        watch::network_succeeded(places.network);
    } else if evidence == Evidence::BareOk as u8 {
        watch::succeeded(places.destination, false, rtt);
    }
    let passed = evidence == Evidence::TfoOk as u8
        || evidence == Evidence::BareOk as u8
        || evidence == Evidence::PlainOk as u8;
    let tells = evidence != bits::NOTHING && (!passed || places.are_troubled());
    if tells || watch.trial != 0 {
        watch.evidence = evidence;
        watch.lost_us = lost_us;
        return true;
    }
    watch.sk = 0;
    false
}

#[inline(always)]
fn get_nodelay(ops: &Ops, value: &mut i32) -> i64 {
    // SAFETY: a valid context and four writable bytes.
    unsafe {
        bpf_getsockopt(
            ops.ctx.ops.cast(),
            SOL_TCP,
            TCP_NODELAY,
            core::ptr::from_mut(value).cast(),
            4,
        )
    }
}

#[inline(always)]
fn set_nodelay(ops: &Ops, value: i32) -> i64 {
    let mut value = value;
    // SAFETY: a valid context and four readable bytes.
    unsafe {
        bpf_setsockopt(
            ops.ctx.ops.cast(),
            SOL_TCP,
            TCP_NODELAY,
            (&raw mut value).cast(),
            4,
        )
    }
}
