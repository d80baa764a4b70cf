//! Handshakes that are to end before the programs go: sockets that would stall without the push, and such as have a callback
//! flag of ours, for which whatever else is attached would be called from then on.

use std::{
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, PerCpuArray};
use tfo_common::{
    guard::{BIRTHS, Birth, WATCHES, Watch},
    policy::{self, Stat},
};

use super::store::counted;
use crate::kernel::sys;

/// How long they are waited for.
const AT_MOST: Duration = Duration::from_secs(3);
/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until they have ended: soon, unless a peer does not answer. `open` opens a map of the policy, if it can.
pub fn wait(stats: &PerCpuArray<MapData, u64>, open: impl Fn(&str) -> Option<MapData>) {
    let deadline = Instant::now() + AT_MOST;
    let (watches, births) = (open(policy::WATCHES), open(policy::BIRTHS));
    let is_pending = || {
        counted(stats, Stat::AtRisk) > counted(stats, Stat::AtRiskEnded)
            || counted(stats, Stat::Flagged) > counted(stats, Stat::Unflagged)
            || any(watches.as_ref(), WATCHES, |watch: Watch| {
                watch.sk != 0 && watch.added != 0
            })
            || any(births.as_ref(), BIRTHS, Birth::asked)
    };
    while is_pending() && Instant::now() < deadline {
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether any value of an array is such a one: a handshake that guards wait for and that has a callback flag of ours. Of what cannot
/// be read none is, nor of what another version has made, whose values may be longer than the room for them.
fn any<T: Copy>(map: Option<&MapData>, entries: u32, is_one: impl Fn(T) -> bool) -> bool {
    let is_ours = |length: u32| length as usize == size_of::<T>();
    let Some(map) = map.filter(|map| map.info().is_ok_and(|info| is_ours(info.value_size()))) else {
        return false;
    };
    let mut any = false;
    let lengths = (size_of::<u32>(), size_of::<T>());
    let read = sys::each_entry(map.fd().as_fd(), lengths, entries as usize, &mut |_, value| {
        // SAFETY: of `wait`'s types, which are made of integers only.
        let value = unsafe { sys::value::<T>(value) };
        any |= value.is_some_and(&is_one);
    });
    read.is_ok() && any
}
