//! `cgroup_skb/egress`: runs for every packet of every socket below the root, and is done with almost all of
//! them after one look at the flags.
//!
//! Returning 0 turns into -EPERM for `ip_finish_output` and comes back to `tcp_send_syn_data`
//! (net/ipv4/tcp_output.c), which queues the data and sends a plain SYN in the same call. Never 2 or 3: those
//! become NET_XMIT_CN, and `tcp_enter_cwr` lowers the window before the first byte.

use core::{arch::asm, mem::MaybeUninit};

use aya_ebpf::{helpers::generated::bpf_skb_cgroup_id, macros::cgroup_skb, programs::SkBuffContext};
use tfo_common::{
    PolicyAction,
    action::OnSyn,
    guard::{Decision, Watch, watch as bits},
    policy::{MARK_VERSION, Mark, Stat, mark, push},
};

use crate::{
    forget::forget,
    kern::{self, Typed},
    layout::layout,
    policy::{
        carried, count,
        guard::{self, Subject},
        lookup,
        lookup::Found,
        marks, risk,
        syn::{self, Syn},
        watch::{self, Places},
    },
};

/// Verdicts.
const PASS: i32 = 1;
const DENY: i32 = 0;

/// Entry.
#[cgroup_skb]
pub fn tfo_pol_egress(ctx: SkBuffContext) -> i32 {
    let (force, known) = (count::in_force(), count::learned());
    let unrest = watch::unrest(force, known);
    // A guard that has nothing to deny, and nobody who wants to know what SYNs carry: on most hosts that is all of every packet.
    if unrest | u64::from(force.observed) == 0 {
        return PASS;
    }
    let Some(syn) = syn::find(&ctx) else {
        return PASS;
    };
    // Most of what a SYN carries may be sent twice, and on most hosts nothing else is anything to a policy.
    // SAFETY: a valid context.
    let noise = unsafe { (*ctx.skb.skb).len }.into();
    // One way for every kind of packet.
    let syn = Syn {
        family: forget(syn.family.into(), noise) as u8,
        payload: forget(syn.payload.into(), noise) as u32,
        payload_at: forget(syn.payload_at.into(), noise) as u32,
        ..syn
    };
    let carried = forget(carried::look(&ctx, &syn, force.observed, noise), noise);
    // As one number of which the verifier learns nothing: what is behind would be gone through once for each part of it.
    if forget(carried | unrest, noise) == 0 {
        return PASS;
    }
    let troubled = known.troubled.into();
    let Some((syn, tcp)) = syn::of_socket(&ctx, syn) else {
        return PASS;
    };
    let mut verdict = decide(&ctx, &syn, tcp, carried, troubled);
    // Without it the verifier does not see the bounds: "At program exit the register R0 has unknown scalar
    // value should have been in [0, 3]".
    // SAFETY: changes this one register.
    unsafe { asm!("{0} &= 1", inout(reg) verdict) };
    verdict
}

#[inline(always)]
fn decide(ctx: &SkBuffContext, syn: &Syn, tcp: Typed, carried: u64, troubled: u64) -> i32 {
    let has_data = syn.payload > 0;
    let request = if has_data {
        0
    } else {
        tcp.uint(layout!(tp_fastopen_req))
    };
    let has_option = request != 0 && carries_option(request);
    let guards = count::in_force().guards != 0;
    // A guard waits for the end of plain handshakes only where something has failed, and of those with Fast Open, whose request is
    // there until the answer comes.
    let may_be_watched = guards && (troubled != 0 || request != 0);
    if !has_data && !has_option && !may_be_watched {
        return PASS;
    }
    let now = time_of(tcp);
    // From here on there is one way for every kind of SYN; the verifier would go each of them by itself.
    let data = forget(has_data.into(), now);
    let option = forget(has_option.into(), now);
    let guards = forget(guards.into(), now) != 0;
    let syn = &Syn {
        family: forget(syn.family.into(), now) as u8,
        ..*syn
    };
    let is_watched = forget((guards && watch::of(tcp.number()).is_some()).into(), now);
    // Rules and states are about Fast Open; a guard hears of a plain handshake only where its end is waited for. One look at one
    // number, for the same reason.
    if forget(data | option | is_watched, now) == 0 {
        return PASS;
    }
    let concern = Concern::of(syn, guards, is_watched, now);
    let (has_data, has_option) = (data != 0, option != 0);
    let found = lookup::find(ctx, syn, has_data || has_option, guards, now);
    let verdict = if found.action != 0 {
        by_rule(ctx, tcp, &found, has_data, now)
    } else if found.guard != 0 && !found.decided {
        by_guard(ctx, tcp, syn, &found, &concern, has_data, has_option, now)
    } else {
        return PASS;
    };
    // Again one way for all of them.
    let verdict = forget(verdict as u64, now) as i32;
    if verdict != DENY && carried != 0 {
        carried::note(ctx, carried);
    }
    verdict
}

/// What a SYN is to guards.
struct Concern {
    /// Where it goes.
    places: Places,
    /// 1: something has failed there, or at another place with this hash.
    is_troubled: u64,
    /// 1: the end of its socket's handshake is waited for.
    is_watched: u64,
}

impl Concern {
    /// No concern where there are no guards.
    #[inline(always)]
    fn of(syn: &Syn, guards: bool, is_watched: u64, now: u64) -> Self {
        let places = Places::of(syn.local, syn.remote, syn.port);
        let is_troubled = guards && places.are_troubled();
        Self {
            places,
            is_troubled: forget(is_troubled.into(), now),
            is_watched,
        }
    }

    #[inline(always)]
    fn is_one(&self) -> bool {
        self.is_troubled | self.is_watched != 0
    }
}

/// `CLOCK_MONOTONIC`, ns: as TCP has noted it a few hundred instructions ago (`tcp_connect` and `tcp_write_timer_handler` do). A
/// look at the clock takes as long as two map look-ups.
#[inline(always)]
fn time_of(tcp: Typed) -> u64 {
    match tcp.clock() {
        0 => count::now(),
        noted => noted,
    }
}

/// A rule applies.
#[inline(always)]
fn by_rule(ctx: &SkBuffContext, tcp: Typed, found: &Found, has_data: bool, now: u64) -> i32 {
    match PolicyAction::on_syn(found.action, has_data) {
        OnSyn::Pass => PASS,
        OnSyn::MarkForStrip => {
            // After a denied SYN it is the same connection's: the mark is there.
            let Some(mark) = marks::make_for_packet(ctx) else {
                count::stat(Stat::PassedNoMark);
                return PASS;
            };
            if mark.flags & mark::DENIED == 0 {
                count::hit(found.rule, now);
            }
            mark.rule = found.rule;
            mark.action = found.action;
            mark.flags |= mark::STRIP;
            PASS
        }
        OnSyn::Count => {
            count::hit(found.rule, now);
            count::stat(Stat::Observed);
            if let Some(mark) = marks::make_for_packet(ctx) {
                mark.rule = found.rule;
                mark.action = found.action;
            }
            PASS
        }
        OnSyn::Deny => {
            count::hit(found.rule, now);
            let strip = PolicyAction::from_code(found.action).is_some_and(PolicyAction::strips_option);
            let flags = if strip { mark::STRIP } else { 0 };
            deny(ctx, tcp, found.rule, found.action, flags)
        }
    }
}

/// No rule applies, and a guard watches.
#[inline(always)]
fn by_guard(
    ctx: &SkBuffContext,
    tcp: Typed,
    syn: &Syn,
    found: &Found,
    concern: &Concern,
    has_data: bool,
    has_option: bool,
    now: u64,
) -> i32 {
    if !concern.is_one() {
        return PASS;
    }
    let sk = tcp.number();
    // SAFETY: a valid context.
    let own = unsafe { bpf_skb_cgroup_id(ctx.skb.skb) };
    if concern.is_watched != 0
        && let Some(watch) = watch::of(sk)
    {
        note(watch, found.guard, own, concern.places, has_data, has_option);
    }
    if concern.is_troubled == 0 {
        return PASS;
    }
    let subject = Subject {
        guard: found.guard,
        own,
        net: guard::net_of(sk),
        local: syn.local,
        remote: syn.remote,
        port: syn.port,
        family: syn.family,
    };
    by_states(ctx, tcp, &subject, has_data, has_option, now)
}

/// Notes what leaves first, to be compared with how it ends.
#[inline(always)]
fn note(watch: &mut Watch, guard: u64, own: u64, places: Places, has_data: bool, has_option: bool) {
    let option = if has_option { bits::OPTION } else { 0 };
    if watch.guard == 0 {
        let (tfo, bare, _) = watch::numbers(places.destination);
        watch.guard = guard;
        watch.own = own;
        watch.destination = places.destination;
        watch.network = places.network;
        watch.seen = [tfo, bare];
        watch.flags = if has_data { bits::DATA } else { option };
    } else if watch.flags & bits::DENIED != 0 {
        // The bare SYN after a denied one.
        watch.flags |= option;
    }
}

/// Something has failed here, or at another place with this hash: the states decide.
#[inline(always)]
fn by_states(
    ctx: &SkBuffContext,
    tcp: Typed,
    subject: &Subject,
    has_data: bool,
    has_option: bool,
    now: u64,
) -> i32 {
    if !has_data && !has_option {
        return PASS;
    }
    let mut place = MaybeUninit::uninit();
    let (mut strictest, mut by, mut due) = (forget(0, now), 0, forget(0, now));
    let mut entry = 0;
    while entry < guard::ENTRIES {
        let decision = forget(guard::decide(subject.key(&mut place, entry), now) as u64, now);
        let number = u64::from(entry) + 1;
        if decision == Decision::Trial as u64 {
            due = number;
        } else if decision > strictest {
            strictest = decision;
            by = number;
        }
        entry += 1;
    }
    if due != 0 && strictest == 0 {
        let key = subject.key(&mut place, due as u32 - 1);
        let door = guard::closed_door(key);
        // At level no-data only a SYN with data shows anything; at level strip one with the option does too.
        let shows = has_data || matches!(door, Decision::Strip);
        if shows && guard::claim_trial(key, now) {
            count::stat(Stat::GuardTrials);
            if let Some(watch) = watch::of(tcp.number()) {
                watch.trial = due as u8;
            }
            return PASS;
        }
        strictest = door as u64;
        by = due;
    }
    if strictest == 0 {
        return PASS;
    }
    let strips = strictest == Decision::Strip as u64;
    let flags = if strips { mark::STRIP } else { 0 };
    if has_data {
        let action = if strips {
            PolicyAction::Strip
        } else {
            PolicyAction::NoData
        };
        if deny(ctx, tcp, 0, action as u8, flags) == PASS {
            return PASS;
        }
    } else {
        let Some(mark) = marks::make_for_packet(ctx) else {
            return PASS;
        };
        // The bare SYN after a denied one was counted with that.
        if !strips || mark.flags & mark::DENIED != 0 {
            return PASS;
        }
        mark.action = PolicyAction::Strip as u8;
        mark.flags |= mark::STRIP;
    }
    guard::denied(subject.key(&mut place, by as u32 - 1));
    count::stat(Stat::GuardDenied);
    if let Some(watch) = watch::of(tcp.number()) {
        watch.flags = watch.flags & !bits::DATA
            | if has_data { bits::DENIED } else { 0 }
            | if strips { bits::STRIPPED } else { 0 };
    }
    if has_data { DENY } else { PASS }
}

/// Denies a SYN with data, unless its socket would hang.
#[inline(always)]
fn deny(ctx: &SkBuffContext, tcp: Typed, rule: u32, action: u8, flags: u8) -> i32 {
    let at_risk = risk::is_at_risk(tcp);
    let can_push = count::learned().push == push::WORKS;
    if at_risk && !can_push {
        count::stat(Stat::PassedAtRisk);
        return PASS;
    }
    let Some(mark) = marks::make_for_packet(ctx) else {
        count::stat(Stat::PassedNoMark);
        return PASS;
    };
    *mark = Mark {
        rule,
        action,
        flags: flags | mark::DENIED | if at_risk { mark::AT_RISK } else { 0 },
        added: mark.added,
        version: MARK_VERSION,
    };
    count::stat(Stat::Denied);
    if at_risk {
        count::stat(Stat::AtRisk);
    }
    DENY
}

/// Whether a bare SYN carries the TFO option: it does when it is built for a TFO connect with a cookie or a
/// request for one (`request`, a `struct tcp_fastopen_request`). `tcp_connect` sets the length to -1 when the SYN
/// is out, so retransmissions, which never carry it, are told apart.
#[inline(always)]
fn carries_option(request: u64) -> bool {
    kern::uint(request, layout!(req_cookie_len)) as u8 as i8 >= 0
}
