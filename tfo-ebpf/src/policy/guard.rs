//! The guard's states: looked up before a SYN leaves, changed when its handshake has ended.
//!
//! Changes are made in place and without a lock: two CPUs that finish handshakes with one destination in the
//! same instant may lose one piece of evidence, and the state machine puts up with that.

use core::mem::{MaybeUninit, offset_of};

use aya_ebpf::bindings::BPF_NOEXIST;
use tfo_common::{
    guard::{Change, Decision, Ended, Evidence, GuardKey, GuardState, Seen, TRIAL_NS, later},
    policy::Stat,
};

use crate::{
    atomic,
    policy::{
        count,
        maps::{TFO_POL_GUARDS, TFO_POL_SEEN, TFO_POL_STATES, TFO_POL_TRIALS},
        syn::Syn,
    },
};

/// The destination of a SYN, for the guard of a cgroup.
///
/// Padding is written with its neighbours: an array of zeros becomes a call of `memset`, and before Linux 6.2 a
/// program with any call between its own functions is verified without pruning ("BPF program is too large").
#[inline(always)]
pub fn key(cgroup: u64, syn: &Syn) -> GuardKey {
    const { assert!(offset_of!(GuardKey, port) == 24 && offset_of!(GuardKey, family) == 26) };
    let mut key = MaybeUninit::<GuardKey>::uninit();
    let start = key.as_mut_ptr();
    // SAFETY: within the structure, of which every byte is written: `bpfel` is little-endian.
    unsafe {
        (&raw mut (*start).cgroup).write(cgroup);
        (&raw mut (*start).addr).write(syn.addr());
        let rest = u64::from(syn.port) | u64::from(syn.family) << 16;
        start.cast::<u64>().add(3).write_volatile(rest);
        key.assume_init()
    }
}

/// Whether the destination has a state, and what it says of this SYN. A trial that is due is claimed.
#[inline(always)]
pub fn decide(key: &GuardKey, has_data: bool, has_option: bool, now: u64) -> (bool, Decision) {
    let Some(state) = TFO_POL_STATES.get_ptr_mut(key) else {
        return (false, Decision::Pass);
    };
    // SAFETY: points into a preallocated map; see the module's note on races.
    let state = unsafe { &mut *state };
    let decision = state.decide(now);
    if !matches!(decision, Decision::Trial) {
        return (true, decision);
    }
    // At level no-data only a SYN with data shows anything; at level strip one with the option does too.
    let door = state.closed_door();
    let shows = has_data || has_option && matches!(door, Decision::Strip);
    if !shows || !claim_trial(key, now) {
        return (true, door);
    }
    state.begin_trial(now);
    (true, Decision::Trial)
}

/// Gets to be the trial: inserting succeeds on one CPU only. A claim that was never given back (the socket
/// vanished) is removed when its time is over, and the next SYN gets it.
#[inline(always)]
fn claim_trial(key: &GuardKey, now: u64) -> bool {
    let deadline = now + TRIAL_NS;
    if TFO_POL_TRIALS
        .insert(key, &deadline, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        return true;
    }
    if let Some(held) = TFO_POL_TRIALS.get_ptr(key) {
        // SAFETY: points into a preallocated map; one aligned load.
        if now >= unsafe { *held } {
            let _ = TFO_POL_TRIALS.remove(key);
        }
    }
    false
}

/// Counts a SYN denied.
#[inline(always)]
pub fn denied(key: &GuardKey) {
    if let Some(state) = TFO_POL_STATES.get_ptr_mut(key) {
        // SAFETY: points into a preallocated map; one atomic add.
        atomic::add(unsafe { &raw mut (*state).denied }, 1);
    }
}

/// Successes counted for a destination so far.
#[inline(always)]
pub fn seen(key: &GuardKey) -> Seen {
    match TFO_POL_SEEN.get_ptr(key) {
        // SAFETY: points into a preallocated map; two aligned loads.
        Some(seen) => unsafe { *seen },
        None => Seen { tfo: 0, bare: 0 },
    }
}

/// Counts a success.
#[inline(always)]
fn succeeded(key: &GuardKey, tfo: bool) {
    let mut seen = TFO_POL_SEEN.get_ptr_mut(key);
    if seen.is_none() {
        let _ = TFO_POL_SEEN.insert(key, &Seen { tfo: 0, bare: 0 }, u64::from(BPF_NOEXIST));
        seen = TFO_POL_SEEN.get_ptr_mut(key);
    }
    if let Some(seen) = seen {
        // SAFETY: points into a preallocated map; an atomic add.
        unsafe {
            atomic::add_one32(if tfo {
                &raw mut (*seen).tfo
            } else {
                &raw mut (*seen).bare
            })
        };
    }
}

/// Takes in how a handshake ended; `None` for a trial that ended without showing anything. `before`: successes
/// seen when its SYN left.
#[inline(always)]
pub fn take_in(key: &GuardKey, evidence: Option<Evidence>, trial: bool, before: u32, lost_us: u32, now: u64) {
    let Some(config) = TFO_POL_GUARDS.get_ptr(key.cgroup) else {
        return;
    };
    // SAFETY: points into a preallocated map; user space replaces entries, which are never written in place.
    let config = unsafe { &*config };
    match evidence {
        Some(Evidence::TfoOk) => succeeded(key, true),
        Some(Evidence::BareOk) => succeeded(key, false),
        _ => {}
    }
    let mut state = TFO_POL_STATES.get_ptr_mut(key);
    let failed = matches!(evidence, Some(Evidence::TfoFailed | Evidence::BareFailed));
    if state.is_none() && failed {
        let _ = TFO_POL_STATES.insert(key, &NEW, u64::from(BPF_NOEXIST));
        state = TFO_POL_STATES.get_ptr_mut(key);
    }
    let Some(state) = state else { return };
    // SAFETY: points into a preallocated map; see the module's note on races.
    let state = unsafe { &mut *state };
    count::stat(Stat::GuardEvidence);
    let change = match evidence {
        Some(evidence) => {
            let seen = seen(key);
            let after = if matches!(evidence, Evidence::TfoFailed) {
                seen.tfo
            } else {
                seen.bare
            };
            state.on_evidence(
                config,
                &Ended {
                    evidence,
                    trial,
                    later: later(before, after),
                    lost_us,
                },
                now,
            )
        }
        None => Change::None,
    };
    if trial {
        if matches!(change, Change::None) && evidence.is_none() {
            state.end_trial(config, now);
        }
        let _ = TFO_POL_TRIALS.remove(key);
    }
}

/// A new state; too long for the stack beside everything else, so it is copied from here.
static NEW: GuardState = GuardState::NEW;
