//! Which rule and which guard a connection belongs to.
//!
//! 1. From the root of the hierarchy down to the socket's own cgroup, the last one with a matching prefix
//!    decides: that is the nearest. Walking down needs no parent pointers: `bpf_skb_ancestor_cgroup_id` answers
//!    0 below the socket's own level (`__bpf_sk_ancestor_cgroup_id`, net/core/filter.c).
//! 2. Within a cgroup the longest prefix decides (the trie's own rule); an expired one does not exist, so the
//!    next shorter one is asked for.
//! 3. Ports select nothing: a rule that decides and does not cover the port leaves the connection alone.

use core::mem::MaybeUninit;

use aya_ebpf::{
    btf_maps::lpm_trie::Key, helpers::generated::bpf_skb_ancestor_cgroup_id, programs::SkBuffContext,
};
use tfo_common::policy::{InForce, KEY_BITS, MAX_DEPTH, MAX_EXPIRED, Rule, RuleKey};

use crate::{
    forget::forget,
    policy::{
        count,
        maps::{TFO_POL_GUARDS, TFO_POL_RULES},
        syn::Syn,
    },
};

/// Look-ups at most.
const MAX_STEPS: u32 = MAX_DEPTH as u32 + MAX_EXPIRED;

/// What was found.
#[derive(Clone, Copy)]
pub struct Found {
    /// Id of the rule that applies; 0 for none.
    pub rule: u32,
    /// Its action.
    pub action: u8,
    /// Whether a rule decided, be it to leave the connection alone.
    pub decided: bool,
    /// cgroup of the nearest guard; 0 for none.
    pub guard: u64,
}

/// Looks through the cgroups of a packet's socket. `rules`, `guards`: what to look for.
///
/// First down the hierarchy, for the depth and the nearest guard, then up again to the first rule. Two loops with one
/// branch each cost the verifier a twentieth of one loop that keeps a rule, a guard and a verdict apart at every level,
/// and rules are looked up in fewer cgroups. Ports are compared after the loops, with the one rule that decides.
///
/// No deeper than user space says that there is any ([`InForce`]): most policies are for the whole host, or
/// for a service a level or two below the root.
#[inline(always)]
pub fn find(ctx: &SkBuffContext, syn: &Syn, rules: bool, guards: bool, now: u64) -> Found {
    let mut found = Found {
        rule: 0,
        action: 0,
        decided: false,
        // Else what is behind would be gone through once more for "none".
        guard: forget(0, now),
    };
    // Read here once more, and not handed over: numbers where the caller has switches cost the verifier 92,000 instructions.
    let guard_levels = if guards {
        levels(|force| force.guards, now)
    } else {
        0
    };
    let rule_levels = levels(|force| force.rules, now);
    let most = forget(
        if guard_levels > rule_levels {
            guard_levels
        } else {
            rule_levels
        },
        now,
    );
    let mut depth = 0;
    // Forgotten each time, or the verifier would learn from every round how many levels there are.
    while depth < MAX_DEPTH && (depth as u64) < forget(most, now) {
        // SAFETY: a valid context.
        let cgroup = unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, depth) };
        if cgroup == 0 {
            break;
        }
        if guards && TFO_POL_GUARDS.get_ptr(cgroup).is_some() {
            found.guard = cgroup;
        }
        depth += 1;
    }
    if !rules || rule_levels == 0 {
        return found;
    }
    let mut key = MaybeUninit::uninit();
    let key = fill(&mut key, syn);
    if let Some(rule) = nearest(ctx, key, forget(depth as u64, now), syn.family, now) {
        found.decided = true;
        if rule.covers(syn.port) {
            found.rule = rule.id;
            found.action = rule.action;
        }
    }
    found
}

/// In how many levels there is any of these.
#[inline(always)]
fn levels(of: fn(&InForce) -> u32, now: u64) -> u64 {
    forget(of(count::in_force()).into(), now)
}

/// The rule of the deepest of `levels` cgroups that has one.
///
/// One loop for cgroups and prefixes, of which each step looks up one: the next shorter prefix after an expired rule,
/// the cgroup above where there is none.
#[inline(always)]
fn nearest<'a>(
    ctx: &SkBuffContext,
    key: &mut Key<RuleKey>,
    levels: u64,
    family: u8,
    now: u64,
) -> Option<&'a Rule> {
    // 104 or 200, without a branch: 6 has a bit that 4 does not.
    let whole = KEY_BITS + 32 + (u32::from(family) >> 1 & 1) * 96;
    let mut level = levels;
    let mut shorter = 0;
    let mut step = 0;
    while step < MAX_STEPS {
        step += 1;
        if shorter == 0 {
            if level == 0 {
                return None;
            }
            level -= 1;
            // SAFETY: a valid context.
            let cgroup = unsafe { bpf_skb_ancestor_cgroup_id(ctx.skb.skb, level as i32) };
            key.data.cgroup = cgroup.to_be_bytes();
            key.prefix_len = whole;
        } else {
            key.prefix_len = KEY_BITS - 1 + shorter;
        }
        shorter = 0;
        if let Some(rule) = TFO_POL_RULES.get(&*key) {
            if !rule.is_expired(now) {
                return Some(rule);
            }
            shorter = u32::from(rule.bits);
        }
    }
    None
}

/// The key for a destination, of no cgroup yet.
///
/// Filled in place, and padding byte by byte: an array of zeros becomes a call of `memset`, and before Linux 6.2 a program with
/// any call between its own functions is verified without pruning ("BPF program is too large").
#[inline(always)]
fn fill<'a>(key: &'a mut MaybeUninit<Key<RuleKey>>, syn: &Syn) -> &'a mut Key<RuleKey> {
    let start = key.as_mut_ptr();
    // SAFETY: within the structure, which is packed, and of which every byte is written.
    unsafe {
        (&raw mut (*start).prefix_len).write_unaligned(0);
        let data = &raw mut (*start).data;
        (&raw mut (*data).cgroup).write([0; 8]);
        (&raw mut (*data).family).write(syn.family);
        (&raw mut (*data).addr).write(syn.addr());
        let pad: *mut u8 = (&raw mut (*data).pad).cast();
        let mut index = 0;
        while index < size_of_val(&(*data).pad) {
            pad.add(index).write_volatile(0);
            index += 1;
        }
        key.assume_init_mut()
    }
}
