//! `cgroup_skb/egress`: runs for every packet of every socket below the root, and is done with almost all of
//! them after one look at the flags.
//!
//! Returning 0 turns into -EPERM for `ip_finish_output` and comes back to `tcp_send_syn_data`
//! (net/ipv4/tcp_output.c), which queues the data and sends a plain SYN in the same call. Never 2 or 3: those
//! become NET_XMIT_CN, and `tcp_enter_cwr` lowers the window before the first byte.

use core::arch::asm;

use aya_ebpf::{macros::cgroup_skb, programs::SkBuffContext};
use tfo_common::{
    PolicyAction,
    action::OnSyn,
    guard::Decision,
    policy::{Mark, Stat, Switch, mark, push},
};

use crate::{
    forget::forget,
    kern,
    layout::layout,
    policy::{
        count, guard, lookup,
        lookup::Found,
        marks, risk,
        syn::{self, Syn},
    },
};

/// Verdicts.
const PASS: i32 = 1;
const DENY: i32 = 0;

/// Entry.
#[cgroup_skb]
pub fn tfo_pol_egress(ctx: SkBuffContext) -> i32 {
    let Some(syn) = syn::find(&ctx).and_then(|syn| syn::of_socket(&ctx, syn)) else {
        return PASS;
    };
    let mut verdict = decide(&ctx, &syn);
    // Without it the verifier does not see the bounds: "At program exit the register R0 has unknown scalar
    // value should have been in [0, 3]".
    // SAFETY: changes this one register.
    unsafe { asm!("{0} &= 1", inout(reg) verdict) };
    verdict
}

#[inline(always)]
fn decide(ctx: &SkBuffContext, syn: &Syn) -> i32 {
    let has_data = syn.payload > 0;
    let has_option = !has_data && carries_option(ctx);
    let guards = count::switch(Switch::Guards) != 0;
    if !has_data && !has_option && !guards {
        return PASS;
    }
    let now = count::now();
    // From here on there is one way for every kind of SYN; the verifier would go each of them by itself.
    let has_data = forget(has_data.into(), now) != 0;
    let has_option = forget(has_option.into(), now) != 0;
    let guards = forget(guards.into(), now) != 0;
    let syn = &Syn {
        family: forget(syn.family.into(), now) as u8,
        ..*syn
    };
    let found = lookup::find(ctx, syn, has_data || has_option, guards, now);
    if found.action != 0 {
        return by_rule(ctx, &found, has_data, now);
    }
    if found.guard != 0 && !found.decided {
        return by_guard(ctx, syn, &found, has_data, has_option, now);
    }
    PASS
}

/// A rule applies.
#[inline(always)]
fn by_rule(ctx: &SkBuffContext, found: &Found, has_data: bool, now: u64) -> i32 {
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
            deny(ctx, found.rule, found.action, flags, now)
        }
    }
}

/// No rule applies, and a guard watches.
#[inline(always)]
fn by_guard(
    ctx: &SkBuffContext,
    syn: &Syn,
    found: &Found,
    has_data: bool,
    has_option: bool,
    now: u64,
) -> i32 {
    let key = guard::key(found.guard, syn);
    let (known, decision) = guard::decide(&key, has_data, has_option, now);
    if !has_data && !has_option && !known {
        // Plain, to a destination without a failure: nothing to compare with.
        return PASS;
    }
    let strip = matches!(decision, Decision::Strip);
    if has_data && (strip || matches!(decision, Decision::Deny)) {
        let action = if strip {
            PolicyAction::Strip
        } else {
            PolicyAction::NoData
        };
        let flags = if strip { mark::STRIP } else { 0 };
        let verdict = deny(ctx, 0, action as u8, flags, now);
        if verdict == DENY {
            guard::denied(&key);
            count::stat(Stat::GuardDenied);
        }
        if let Some(mark) = marks::of_packet(ctx.skb.skb) {
            mark.guard = found.guard;
            mark.seen = guard::seen(&key).bare;
        }
        return verdict;
    }
    let Some(mark) = marks::make_for_packet(ctx) else {
        return PASS;
    };
    mark.guard = found.guard;
    if mark.flags & mark::DENIED != 0 {
        // The bare SYN after a denied one.
        mark.flags |= if has_option { mark::OPTION } else { 0 };
        return PASS;
    }
    if mark.syn_ns == 0 {
        mark.syn_ns = now;
        let seen = guard::seen(&key);
        mark.seen = if has_data { seen.tfo } else { seen.bare };
        mark.flags |= if has_data {
            mark::DATA
        } else if has_option {
            mark::OPTION
        } else {
            0
        };
        if matches!(decision, Decision::Trial) {
            mark.flags |= mark::TRIAL;
            count::stat(Stat::GuardTrials);
        }
        if has_option && strip {
            mark.action = PolicyAction::Strip as u8;
            mark.flags |= mark::STRIP;
            guard::denied(&key);
            count::stat(Stat::GuardDenied);
        }
    }
    PASS
}

/// Denies a SYN with data, unless its socket would hang.
#[inline(always)]
fn deny(ctx: &SkBuffContext, rule: u32, action: u8, flags: u8, now: u64) -> i32 {
    let at_risk = risk::is_at_risk(socket(ctx));
    if at_risk && count::switch(Switch::Push) != push::WORKS {
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
        pad: 0,
        guard: 0,
        syn_ns: now,
        seen: 0,
        pad2: 0,
    };
    count::stat(Stat::Denied);
    if at_risk {
        count::stat(Stat::AtRisk);
    }
    DENY
}

/// The context as `kern` wants it: for a `cgroup_skb` program it is the `struct sk_buff` itself.
struct SkbContext<'a>(&'a SkBuffContext);

impl aya_ebpf::EbpfContext for SkbContext<'_> {
    #[inline(always)]
    fn as_ptr(&self) -> *mut core::ffi::c_void {
        self.0.skb.skb.cast()
    }
}

/// Whether this bare SYN carries the TFO option: it does when it is built for a TFO connect with a cookie or a
/// request for one. `tcp_connect` sets the length to -1 when the SYN is out, so retransmissions, which never
/// carry it, are told apart.
#[inline(always)]
fn carries_option(ctx: &SkBuffContext) -> bool {
    let request = kern::pointer(socket(ctx), layout!(tp_fastopen_req));
    request != 0 && kern::uint(request, layout!(req_cookie_len)) as u8 as i8 >= 0
}

/// Address of a packet's socket.
#[inline(always)]
fn socket(ctx: &SkBuffContext) -> u64 {
    kern::context_pointer(&SkbContext(ctx), layout!(skb_sk))
}
