//! What is kept of handshakes and destinations nothing is wrong with: two arrays, in which places are calculated. A few
//! nanoseconds each, where an entry of a hash map costs ten times as much and socket storage a hundred.

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tfo_common::{
    guard::{self, Birth, Slot, TRIAL_NS, Watch, is_after, slot_hash, slot_of, watch as bits},
    policy::{InForce, Learned, Stat},
};

use crate::{
    atomic,
    policy::{
        count,
        maps::{TFO_POL_BIRTHS, TFO_POL_SLOTS, TFO_POL_WATCHES},
    },
};

/// The handshake of a socket, if it is watched.
#[inline(always)]
pub fn of<'a>(sk: u64) -> Option<&'a mut Watch> {
    let watch = at(sk)?;
    (watch.sk == sk && sk != 0).then_some(watch)
}

/// Begins to watch a socket, unless the place is another one's. What it says stays until the handshake has ended, so a
/// place is another one's for no longer than a handshake can take.
#[inline(always)]
pub fn begin<'a>(sk: u64) -> Option<&'a mut Watch> {
    let watch = at(sk)?;
    let now = ticks();
    if sk == 0 || watch.sk != 0 && watch.sk != sk && u64::from(us_since(watch.born, now)) < TRIAL_NS / 1_000 {
        return None;
    }
    // In words, and volatile: LLVM makes one call of `memset` of it, which takes longer than all of this.
    // SAFETY: within the value; `own` and what else is not written here is, before it is read. `lost_us` lies behind `born`.
    unsafe {
        (&raw mut watch.guard).write_volatile(0);
        (&raw mut watch.born).cast::<u64>().write_volatile(now.into());
        (&raw mut watch.flags).cast::<u64>().write_volatile(Watch::BEGIN);
        (&raw mut watch.sk).write_volatile(sk);
    }
    Some(watch)
}

/// The kernel's ticks: a load, where a look at the clock is a call.
#[inline(always)]
fn ticks() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() as u32 }
}

/// Time from one tick to another, us, an hour at most.
#[inline(always)]
fn us_since(then: u32, now: u32) -> u32 {
    const HOUR_US: u64 = 3_600_000_000;
    let us = u64::from(now.wrapping_sub(then)) * u64::from(count::in_force().tick_us);
    if us < HOUR_US { us as u32 } else { HOUR_US as u32 }
}

/// How long ago a handshake began, us, to a tick.
#[inline(always)]
pub fn age_us(watch: &Watch) -> u32 {
    us_since(watch.born, ticks())
}

/// Notes when a handshake begins, and nothing else. Only where nothing ever failed ([`is_quiet`]): all that is to be known of it the
/// socket says when it has ended.
///
/// Whatever was there gives way. Of whom that was it is not known any more that it is waited for, and its callback flag stays.
#[inline(always)]
pub fn note_birth(sk: u64, asked: bool) {
    let Some(place) = TFO_POL_BIRTHS.get_ptr_mut(guard::birth_of(sk)) else {
        return;
    };
    // SAFETY: points into an array that is never freed while programs run; an aligned load and a store.
    let before = unsafe {
        let before = place.read_volatile();
        place.write_volatile(Birth::new(sk, ticks(), asked));
        before
    };
    if before.is_some() && !before.is_of(sk) {
        count::stat(Stat::Unwatched);
    }
}

/// Takes out what was noted of a socket. No `Option`, of which LLVM keeps the value of `None` in a register that it has not written
/// ("R9 !read_ok").
#[inline(always)]
pub fn take_birth(sk: u64) -> Birth {
    let Some(place) = TFO_POL_BIRTHS.get_ptr_mut(guard::birth_of(sk)) else {
        return Birth::NONE;
    };
    // SAFETY: as above; an aligned load and a store.
    unsafe {
        let birth = place.read_volatile();
        if !birth.is_of(sk) {
            return Birth::NONE;
        }
        place.write_volatile(Birth::NONE);
        birth
    }
}

/// Has one watched from its end on that began when nothing had failed: there is something to judge now. `flags` are those of its SYN.
#[inline(always)]
pub fn begin_late<'a>(sk: u64, birth: Birth, places: Places, flags: u8) -> Option<&'a mut Watch> {
    let watch = begin(sk)?;
    let (tfo, bare, _) = numbers(places.destination);
    watch.born = birth.born();
    watch.destination = places.destination;
    watch.network = places.network;
    watch.seen = [tfo, bare];
    watch.flags = flags | bits::EARLY;
    if let Some(slot) = slot(places.destination)
        && slot.tag == tag(places.destination)
    {
        let last = if flags & bits::DATA != 0 {
            slot.tfo_at
        } else {
            slot.bare_at
        };
        if is_after(last, birth.born()) {
            watch.flags |= bits::OVERTAKEN;
        }
    }
    Some(watch)
}

#[inline(always)]
fn at<'a>(sk: u64) -> Option<&'a mut Watch> {
    // SAFETY: points into an array that is never freed while programs run. Programs of one connection run under its
    // socket's lock; two sockets at one place see by its address whose it is.
    TFO_POL_WATCHES
        .get_ptr_mut(guard::watch_of(sk))
        .and_then(|watch| unsafe { watch.as_mut() })
}

/// Where a destination's and its network's numbers are kept.
#[derive(Clone, Copy)]
pub struct Places {
    /// The destination's hash.
    pub destination: u64,
    /// The network's hash.
    pub network: u64,
}

impl Places {
    /// Of addresses and a port, as four words in network order.
    #[inline(always)]
    pub fn of(local: [u32; 4], remote: [u32; 4], port: u16) -> Self {
        Self {
            destination: slot_hash(local, remote, port),
            network: slot_hash(local, [0; 4], 0),
        }
    }

    /// As they were noted when the SYN left.
    #[inline(always)]
    pub const fn noted(watch: &Watch) -> Self {
        Self {
            destination: watch.destination,
            network: watch.network,
        }
    }

    /// Whether a state may exist for either of them. Who has to work out the places for it asks [`is_any_troubled`] before.
    #[inline(always)]
    pub fn are_troubled(self) -> bool {
        if !is_any_troubled() {
            return false;
        }
        let troubled = |hash| slot(hash).map_or(0, |slot| slot.troubled);
        troubled(self.destination) | troubled(self.network) != 0
    }
}

/// The numbers at the place of a hash, whosever they are.
#[inline(always)]
pub fn slot<'a>(hash: u64) -> Option<&'a mut Slot> {
    // SAFETY: points into an array that is never freed while programs run; counters are added to atomically, the rest
    // is hints.
    TFO_POL_SLOTS
        .get_ptr_mut(slot_of(hash))
        .and_then(|slot| unsafe { slot.as_mut() })
}

/// The numbers of a hash; zeros where the place is another one's.
#[inline(always)]
pub fn numbers(hash: u64) -> (u32, u32, u32) {
    match slot(hash) {
        Some(slot) if slot.tag == tag(hash) => (slot.tfo, slot.bare, slot.rtt_us),
        _ => (0, 0, 0),
    }
}

/// Whether a success was counted for this hash in this tick.
#[inline(always)]
pub fn has_succeeded(hash: u64, tfo: bool) -> bool {
    let Some(slot) = slot(hash) else { return true };
    let last = if tfo { slot.tfo_at } else { slot.bare_at };
    slot.tag == tag(hash) && last == ticks()
}

/// Counts a success.
#[inline(always)]
pub fn succeeded(hash: u64, tfo: bool, rtt_us: u32) {
    let Some(slot) = slot(hash) else { return };
    if slot.tag != tag(hash) {
        slot.tag = tag(hash);
        slot.tfo = 0;
        slot.bare = 0;
        slot.tfo_at = 0;
        slot.bare_at = 0;
    }
    slot.rtt_us = rtt_us;
    let at = if tfo { &mut slot.tfo_at } else { &mut slot.bare_at };
    let now = ticks();
    if *at != now {
        *at = now;
    }
    atomic::add_one32(if tfo {
        &raw mut slot.tfo
    } else {
        &raw mut slot.bare
    });
}

/// Counts a success of a network, if that says anything ([`Slot::counts`]): all of a host's connections meet at this place, and
/// a line that two CPUs write to takes as long as everything else that is done for a connection here.
#[inline(always)]
pub fn network_succeeded(hash: u64) {
    let Some(slot) = slot(hash) else { return };
    if slot.tag == tag(hash) && !slot.counts() {
        return;
    }
    // Before it is counted: who reads the number on another CPU says so after that.
    slot.read = 0;
    succeeded(hash, true, 0);
}

/// The successes of a network, for one of its states: the next one is counted again.
#[inline(always)]
pub fn read_network(hash: u64) -> u32 {
    let successes = numbers(hash).0;
    if let Some(slot) = slot(hash) {
        slot.read = 1;
    }
    successes
}

/// Whether there ever was a state of anything. On most hosts nothing has failed since the policy was made, and then a guard
/// has nothing to do for a plain connection.
#[inline(always)]
pub fn is_any_troubled() -> bool {
    count::learned().troubled != 0
}

/// Not 0 where a rule or a state may apply to a SYN.
#[inline(always)]
pub fn unrest(force: &InForce, known: &Learned) -> u64 {
    (force.rules | force.told_at_once | known.troubled).into()
}

/// Whether neither a rule nor a state may apply to any SYN. A guard then need not know of one before its handshake has ended, on
/// kernels where it can be found out then whose it was ([`guard_of`](super::guard::guard_of); from 6.1 on).
#[inline(always)]
pub fn is_quiet(force: &InForce, known: &Learned) -> bool {
    unrest(force, known) == 0
}

/// Says that there is a state to be looked up from now on.
#[inline(always)]
pub fn set_troubled(hash: u64) {
    let known = count::learned();
    if known.troubled == 0 {
        known.troubled = 1;
    }
    if let Some(slot) = slot(hash) {
        slot.troubled = 1;
    }
}

#[inline(always)]
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}
