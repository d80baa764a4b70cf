//! `sock_ops`: the push that keeps denied sockets from stalling, and how marked handshakes end.
//!
//! Callback flags are shared with every other `sock_ops` program: STATE is OR-ed in only for connections a guard
//! wants to know about, and only taken back where we set it.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB, BPF_SOCK_OPS_STATE_CB_FLAG as STATE,
        BPF_SOCK_OPS_TCP_CONNECT_CB,
    },
    helpers::generated::{bpf_getsockopt, bpf_setsockopt},
    macros::sock_ops,
    programs::SockOpsContext,
};
use tfo_common::{
    TfoOption,
    guard::{Evidence, GIVE_UP_NS, GuardKey},
    policy::{Mark, Stat, Switch, mark, push},
    time::us_between,
};

use crate::{
    kern,
    layout::layout,
    ops::Ops,
    policy::{count, guard, marks, risk},
};

/// include/uapi/linux/in.h and tcp.h.
const SOL_TCP: i32 = 6;
const TCP_NODELAY: i32 = 1;
/// TCP states (include/net/tcp_states.h).
const SYN_SENT: u32 = 2;
const CLOSE: u32 = 7;

/// Entry. The return value is 1 whatever happens: 0 would turn into -EPERM for every program on the cgroup.
#[sock_ops]
pub fn tfo_pol_sockops(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    match ops.op() {
        BPF_SOCK_OPS_TCP_CONNECT_CB => connect(&ops),
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => established(&ops),
        BPF_SOCK_OPS_STATE_CB => state(&ops),
        _ => {}
    }
    1
}

/// `tcp_connect` begins, before any SYN.
#[inline(always)]
fn connect(ops: &Ops) {
    if count::switch(Switch::Push) == push::UNKNOWN {
        learn_push(ops);
    }
    // A socket that was disconnected and connects again: its old mark says nothing any more.
    if let Some(mark) = marks::of(ops.sk()) {
        *mark = Mark {
            added: mark.added,
            ..Mark::NONE
        };
    }
    let sk = kern::sock_of(&ops.ctx);
    if kern::pointer(sk, layout!(tp_fastopen_req)) == 0 {
        return;
    }
    if count::switch(Switch::Guards) == 0 && !risk::is_at_risk(sk) {
        return;
    }
    // A handshake that fails is only seen with this flag: by guards, and by whoever waits for those that would hang.
    let before = ops.flags();
    if before & STATE == 0
        && let Some(mark) = marks::make(ops.sk())
    {
        mark.added = STATE as u8;
        ops.set_flags(before | STATE);
        count::stat(Stat::Flagged);
    }
}

/// Finds out whether sockets can be pushed: reading TCP_NODELAY became possible together with setting it (Linux
/// 6.1, `bpf_sol_tcp_setsockopt`, net/core/filter.c).
#[inline(always)]
fn learn_push(ops: &Ops) {
    let mut value = 0i32;
    let works = get_nodelay(ops, &mut value) == 0;
    count::set_switch(Switch::Push, if works { push::WORKS } else { push::REFUSED });
}

/// `tcp_finish_connect`: the SYN-ACK's acknowledgement is processed, queued data not sent yet.
#[inline(always)]
fn established(ops: &Ops) {
    let Some(mark) = marks::of(ops.sk()) else { return };
    if mark.guard != 0 {
        let now = count::now();
        let lost = if ops.total_retrans() > 0 {
            us_between(mark.syn_ns, now).saturating_sub(ops.srtt_us()).max(1)
        } else {
            0
        };
        report(ops, mark, answered(ops, mark), lost, now);
    }
    if strip_missed(mark) {
        count::stat(Stat::StripMissed);
    }
    if mark.flags & mark::DENIED != 0 {
        unstall(ops, mark);
    }
}

/// Takes the flags back that we set.
#[inline(always)]
fn take_back(ops: &Ops, mark: &mut Mark) {
    if mark.added != 0 {
        ops.set_flags(ops.flags() & !u32::from(mark.added));
        mark.added = 0;
        count::stat(Stat::Unflagged);
    }
}

/// What the answer shows. With data out the acknowledgement tells; a SYN-ACK with a cookie answered the TFO SYN
/// itself, be it late, because a retransmitted one carries none (`tcp_rtx_synack`).
#[inline(always)]
fn answered(ops: &Ops, mark: &Mark) -> Option<Evidence> {
    let late = ops.total_retrans() > 0;
    if mark.flags & mark::DATA != 0 {
        let acked = ops.bytes_acked() > 1;
        return match (late, acked) {
            (false, _) => Some(Evidence::TfoOk),
            (true, true) => None,
            (true, false) => (!has_cookie(ops)).then_some(Evidence::TfoFailed),
        };
    }
    if strip_missed(mark) {
        return None;
    }
    // A stripped SYN is a plain one on the wire.
    if mark.flags & mark::OPTION != 0 && mark.flags & mark::STRIP == 0 {
        return match late {
            false => Some(Evidence::BareOk),
            true => (!has_cookie(ops)).then_some(Evidence::BareFailed),
        };
    }
    Some(if late {
        Evidence::PlainFailed
    } else {
        Evidence::PlainOk
    })
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

/// SYN_SENT to CLOSE: the handshake failed, by a RST (ECONNREFUSED), a timeout or because the application gave
/// up.
///
/// Flags are taken back whatever comes after SYN_SENT. `tcp_finish_connect` (net/ipv4/tcp_input.c) sets the state
/// before it calls for ACTIVE_ESTABLISHED, where others ask for this flag: theirs must stay.
#[inline(always)]
fn state(ops: &Ops) {
    if ops.arg::<0>() != SYN_SENT {
        return;
    }
    let Some(mark) = marks::of(ops.sk()) else { return };
    take_back(ops, mark);
    if ops.arg::<1>() != CLOSE {
        return;
    }
    if mark.flags & (mark::DENIED | mark::AT_RISK) == mark::DENIED | mark::AT_RISK {
        count::stat(Stat::AtRiskEnded);
    }
    if strip_missed(mark) {
        count::stat(Stat::StripMissed);
    }
    if mark.guard == 0 {
        return;
    }
    let now = count::now();
    let error = kern::uint(kern::sock_of(&ops.ctx), layout!(sk_err));
    let told = error != 0 || now.saturating_sub(mark.syn_ns) >= GIVE_UP_NS;
    let evidence = if !told || strip_missed(mark) {
        None
    } else if mark.flags & mark::DATA != 0 {
        Some(Evidence::TfoFailed)
    } else if mark.flags & mark::OPTION != 0 && mark.flags & mark::STRIP == 0 {
        Some(Evidence::BareFailed)
    } else {
        Some(Evidence::PlainFailed)
    };
    report(ops, mark, evidence, 0, now);
}

/// Hands the end of a handshake to its guard, once.
#[inline(always)]
fn report(ops: &Ops, mark: &mut Mark, evidence: Option<Evidence>, lost_us: u32, now: u64) {
    let family = ops.family();
    let key = GuardKey {
        cgroup: mark.guard,
        addr: ops.remote(family).bytes(),
        port: ops.remote_port(),
        family,
        pad: [0; 5],
    };
    let trial = mark.flags & mark::TRIAL != 0;
    mark.guard = 0;
    if evidence.is_some() || trial {
        guard::take_in(&key, evidence, trial, mark.seen, lost_us, now);
    }
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
