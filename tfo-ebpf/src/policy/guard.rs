//! The guard's states: looked up before a SYN leaves, changed when its handshake has ended.
//!
//! A change is made to a copy, which then replaces the entry: an element of an LRU map may be given to another key while
//! somebody still writes to it. Two CPUs that finish handshakes with one destination in the same instant may lose one
//! piece of evidence, and the state machine puts up with that.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::bpf_probe_read_kernel,
};
use tfo_common::{
    guard::{Change, Decision, Ended, Evidence, GuardConfig, GuardKey, GuardState, TRIAL_NS, kind, later},
    policy::{MAX_DEPTH, Stat},
};

use crate::{
    atomic,
    forget::forget,
    kern,
    layout::layout,
    policy::{
        count,
        maps::{TFO_POL_GUARDS, TFO_POL_NETS, TFO_POL_STATES, TFO_POL_TRIALS},
        watch::{self, Places},
    },
};

/// Which of a socket's entries: bit 0 for those of everybody, bit 1 for those of the network.
pub const EVERYBODY: u32 = 1;
/// See [`EVERYBODY`].
pub const NETWORK: u32 = 2;
/// How many there are.
pub const ENTRIES: u32 = 4;

/// Whose evidence it is, and about what.
#[derive(Clone, Copy)]
pub struct Subject {
    /// cgroup id of the guard.
    pub guard: u64,
    /// cgroup id of the socket.
    pub own: u64,
    /// Network namespace.
    pub net: u64,
    /// Addresses in network order.
    pub local: [u32; 4],
    /// See `local`.
    pub remote: [u32; 4],
    /// Destination port, host order.
    pub port: u16,
    /// 4 or 6.
    pub family: u8,
}

impl Subject {
    /// The key of one of the four entries, written where it is.
    ///
    /// Padding is written with its neighbours: an array of zeros becomes a call of `memset`, and before Linux 6.2 a
    /// program with any call between its own functions is verified without pruning ("BPF program is too large").
    #[inline(always)]
    pub fn key<'a>(&self, place: &'a mut MaybeUninit<GuardKey>, entry: u32) -> &'a GuardKey {
        const {
            assert!(
                core::mem::offset_of!(GuardKey, addr) == 24 && core::mem::offset_of!(GuardKey, port) == 40
            )
        };
        let is_network = entry & NETWORK != 0;
        let start: *mut u64 = place.as_mut_ptr().cast();
        let addr = if is_network { self.local } else { self.remote };
        let (port, kind) = if is_network {
            (0, kind::NETWORK)
        } else {
            (self.port, kind::DESTINATION)
        };
        let rest = u64::from(port) | u64::from(self.family) << 16 | u64::from(kind) << 24;
        let own = if entry & EVERYBODY != 0 { 0 } else { self.own };
        // SAFETY: within the structure, which is six words long, each of which is written; `bpfel` is little-endian.
        unsafe {
            start.write_volatile(self.guard);
            start.add(1).write_volatile(own);
            start.add(2).write_volatile(self.net);
            start
                .add(3)
                .write_volatile(u64::from(addr[0]) | u64::from(addr[1]) << 32);
            start
                .add(4)
                .write_volatile(u64::from(addr[2]) | u64::from(addr[3]) << 32);
            start.add(5).write_volatile(rest);
            place.assume_init_ref()
        }
    }

    /// Where its numbers are.
    #[inline(always)]
    pub fn places(&self) -> Places {
        Places::of(self.local, self.remote, self.port)
    }
}

/// A number for the network namespace of a socket: its cookie, or its inode where it has none yet.
#[inline(always)]
pub fn net_of(sk: u64) -> u64 {
    let cookie = kern::uint(kern::net_of(sk), layout!(net_cookie));
    if cookie == 0 {
        kern::netns_inode(sk).into()
    } else {
        cookie
    }
}

/// What an entry says of a SYN that leaves now.
#[inline(always)]
pub fn decide(key: &GuardKey, now: u64) -> Decision {
    let Some(state) = TFO_POL_STATES.get_ptr(key) else {
        return Decision::Pass;
    };
    // SAFETY: points into a preallocated map; loads of integers.
    let state = unsafe { &*state };
    let decision = state.decide(now);
    if state.tag == key.tag() {
        decision
    } else {
        Decision::Pass
    }
}

/// What an entry does while no trial is due.
#[inline(always)]
pub fn closed_door(key: &GuardKey) -> Decision {
    match TFO_POL_STATES.get_ptr(key) {
        // SAFETY: as in `decide`.
        Some(state) => unsafe { (*state).closed_door() },
        None => Decision::Pass,
    }
}

/// Gets to be the trial: inserting succeeds on one CPU only. A claim that was never given back (the socket
/// vanished) is removed when its time is over, and the next SYN gets it.
#[inline(always)]
pub fn claim_trial(key: &GuardKey, now: u64) -> bool {
    let deadline = now + TRIAL_NS;
    if TFO_POL_TRIALS
        .insert(key, &deadline, u64::from(BPF_NOEXIST))
        .is_ok()
    {
        let mut place = MaybeUninit::uninit();
        if let Some(state) = copy(key, false, &mut place) {
            state.begin_trial(now);
            put_back(key, state);
        }
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

/// Copies the state of an entry, or a new one where `make` says so. `None`: there is none, or no longer.
#[inline(always)]
fn copy<'a>(
    key: &GuardKey,
    make: bool,
    place: &'a mut MaybeUninit<GuardState>,
) -> Option<&'a mut GuardState> {
    let tag = key.tag();
    let known = TFO_POL_STATES.get_ptr(key);
    let to = place.as_mut_ptr();
    // SAFETY: as many bytes as both have. A helper copies: sixteen words in registers would have the verifier follow
    // each of them.
    unsafe {
        let copied = known.is_some_and(|from| {
            bpf_probe_read_kernel(to.cast(), size_of::<GuardState>() as u32, from.cast()) == 0
        });
        // What was given to another key while it was copied is none of ours.
        if !copied || (*to).tag != tag {
            if !make {
                return None;
            }
            count::stat(Stat::StatesMade);
            bpf_probe_read_kernel(to.cast(), size_of::<GuardState>() as u32, (&raw const NEW).cast());
            (*to).tag = tag;
        }
        Some(place.assume_init_mut())
    }
}

/// Puts a copy in the place of the entry.
#[inline(always)]
fn put_back(key: &GuardKey, state: &GuardState) {
    let _ = TFO_POL_STATES.insert(key, state, u64::from(BPF_ANY));
}

/// How a handshake ended.
pub struct End {
    /// What it showed.
    pub evidence: Option<Evidence>,
    /// Whether it was the trial of the entry.
    pub is_trial: bool,
    /// Successes seen when its SYN left: of SYNs with data, and of bare ones.
    pub before: [u32; 2],
    /// Whether some of its kind have overtaken it, and it is not known how many (`watch::OVERTAKEN`).
    pub is_overtaken: bool,
    /// What a failure cost, us.
    pub lost_us: u32,
    /// Address of the socket.
    pub sk: u64,
}

/// Takes an end in, for one of the four entries. Those of everybody change only by their trials, and by witnesses: when
/// the one before, which is the socket's cgroup's own, has opened (`had_opened`). Whether this one has.
#[inline(always)]
pub fn take_in(subject: &Subject, entry: u32, end: &End, had_opened: bool, now: u64) -> bool {
    let Some(config) = TFO_POL_GUARDS.get_ptr(subject.guard) else {
        return false;
    };
    // SAFETY: points into a preallocated map; user space replaces entries, which are never written in place.
    let config = unsafe { &*config };
    let role = role(end, entry, had_opened);
    if matches!(role, Role::None) {
        return false;
    }
    if entry == 0 {
        count::stat(Stat::GuardEvidence);
    }
    let mut place = MaybeUninit::uninit();
    let key = subject.key(&mut place, entry);
    let makes = matches!(role, Role::Failed | Role::Witness);
    let mut place = MaybeUninit::uninit();
    let mut has_opened = false;
    if let Some(state) = copy(key, makes, &mut place) {
        let change = apply(config, state, role, subject, end, entry, now);
        has_opened = matches!(change, Change::Opened | Change::Relapsed);
        put_back(key, state);
    }
    if makes {
        remember(subject, entry, end.sk);
    }
    if end.is_trial {
        let _ = TFO_POL_TRIALS.remove(key);
    }
    has_opened
}

/// What an end is for an entry.
#[derive(Clone, Copy)]
enum Role {
    /// Nothing.
    None,
    /// A trial that showed nothing.
    Void,
    /// Evidence that makes no entry.
    Passed,
    /// A failure, which does.
    Failed,
    /// It has opened for a cgroup.
    Witness,
}

#[inline(always)]
fn role(end: &End, entry: u32, had_opened: bool) -> Role {
    let is_trial = end.is_trial;
    if entry & EVERYBODY != 0 && !is_trial {
        return if had_opened { Role::Witness } else { Role::None };
    }
    let Some(evidence) = end.evidence else {
        return if is_trial { Role::Void } else { Role::None };
    };
    // What a destination that is down shows as well says nothing about a network, but as its trial.
    let is_about_networks = match evidence {
        Evidence::TfoOk | Evidence::TfoFailed => true,
        Evidence::TfoDead => is_trial,
        _ => false,
    };
    if entry & NETWORK != 0 && !is_about_networks {
        // The trial was of the network, but the SYN left without data.
        return if is_trial { Role::Void } else { Role::None };
    }
    match evidence {
        Evidence::TfoFailed | Evidence::TfoDead | Evidence::BareFailed => Role::Failed,
        _ => Role::Passed,
    }
}

#[inline(always)]
fn apply(
    config: &GuardConfig,
    state: &mut GuardState,
    role: Role,
    subject: &Subject,
    end: &End,
    entry: u32,
    now: u64,
) -> Change {
    let evidence = match (role, end.evidence) {
        (Role::Witness, _) => return state.on_witness(config, subject.own, owner_of(end.sk), now),
        (Role::None, _) => return Change::None,
        (Role::Void, _) | (_, None) => {
            state.end_trial(config, now);
            return Change::None;
        }
        (_, Some(evidence)) => evidence,
    };
    let places = subject.places();
    if entry & NETWORK != 0 {
        let ended = Ended {
            evidence,
            trial: end.is_trial,
            later: 0,
            lost_us: end.lost_us,
        };
        let successes = watch::read_network(places.network);
        let [a, b, c, d] = subject.remote;
        let failed = matches!(role, Role::Failed);
        return state.on_network(config, failed, &ended, a ^ b ^ c ^ d, successes, now);
    }
    let (tfo, bare, _) = watch::numbers(places.destination);
    let [tfo_before, bare_before] = end.before;
    let later = match evidence {
        // As many as it takes: it may be one loss among many successes.
        _ if end.is_overtaken => u32::MAX,
        Evidence::TfoOk | Evidence::TfoFailed | Evidence::TfoDead => later(tfo_before, tfo),
        _ => later(bare_before, bare),
    };
    let ended = Ended {
        evidence,
        trial: end.is_trial,
        later,
        lost_us: end.lost_us,
    };
    state.on_evidence(config, &ended, now)
}

/// Has the states looked up from now on, and the namespace known to who looks.
#[inline(always)]
fn remember(subject: &Subject, entry: u32, sk: u64) {
    let places = subject.places();
    watch::set_troubled(if entry & NETWORK != 0 {
        places.network
    } else {
        places.destination
    });
    let _ = TFO_POL_NETS.insert(subject.net, kern::netns_inode(sk), u64::from(BPF_ANY));
}

/// The nearest guard of a socket, and the socket's own cgroup: no guard, 0, where none guards it. As
/// [`find`](super::lookup::find) finds them while the SYN leaves; to be called only where [`watch::is_quiet`] may have been true.
#[inline(always)]
pub fn guard_of(sk: u64) -> (u64, u64) {
    let cgroup = kern::cgroup_of(sk);
    if cgroup == 0 || !layout!(cgroup_ancestors).is_present() {
        return (0, 0);
    }
    let deepest = kern::uint(cgroup, layout!(cgroup_level));
    let levels = count::in_force().guards.into();
    // Not known to be none: what is behind would be gone through once more for each level that may have one.
    let mut guard = forget(0, sk);
    let mut depth = 0;
    while depth < MAX_DEPTH as u64 && depth < forget(levels, sk) && depth <= forget(deepest, sk) {
        let ancestor = kern::read(cgroup + layout!(cgroup_ancestors).byte + 8 * depth);
        let id = directory_of(ancestor);
        if TFO_POL_GUARDS.get_ptr(id).is_some() {
            guard = id;
        }
        depth += 1;
    }
    (guard, directory_of(cgroup))
}

/// cgroup id of a `struct cgroup *`.
#[inline(always)]
fn directory_of(cgroup: u64) -> u64 {
    kern::uint(kern::pointer(cgroup, layout!(cgroup_kn)), layout!(kn_id))
}

/// Who owns the cgroup of a socket: who may write to its directory, or, where that is root, whose socket it is.
#[inline(always)]
fn owner_of(sk: u64) -> u32 {
    let cgroup = kern::pointer(sk, layout!(sk_cgroup));
    let attributes = kern::pointer(kern::pointer(cgroup, layout!(cgroup_kn)), layout!(kn_iattr));
    let owner = kern::uint(attributes, layout!(iattr_uid)) as u32;
    if owner == 0 {
        kern::uint(sk, layout!(sk_uid)) as u32
    } else {
        owner
    }
}

/// A new state; too long for the stack beside everything else, so it is copied from here.
static NEW: GuardState = GuardState::NEW;
