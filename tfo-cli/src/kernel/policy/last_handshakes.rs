//! Handshakes that are to end before the programs go: sockets that would stall without the push, and such as have a callback
//! flag of ours, for which whatever else is attached would be called from then on.

use std::{
    os::fd::AsFd as _,
    thread,
    time::{Duration, Instant},
};

use aya::maps::{MapData, PerCpuArray};
use tfo_common::{
    guard::{WATCHES, Watch},
    policy::Stat,
};

use super::store::counted;
use crate::kernel::sys;

/// How long they are waited for.
const AT_MOST: Duration = Duration::from_secs(3);
/// Time between two looks.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until they have ended: soon, unless a peer does not answer.
pub fn wait(stats: &PerCpuArray<MapData, u64>, watches: Option<&MapData>) {
    let deadline = Instant::now() + AT_MOST;
    let is_pending = || {
        counted(stats, Stat::AtRisk) > counted(stats, Stat::AtRiskEnded)
            || counted(stats, Stat::Flagged) > counted(stats, Stat::Unflagged)
            || watches.is_some_and(have_flags)
    };
    while is_pending() && Instant::now() < deadline {
        thread::sleep(POLL_INTERVAL);
    }
}

/// Whether any handshake that guards watch has a callback flag of ours. Of what cannot be read none has, nor of what another
/// version has made, whose watches may be longer than the room for them.
fn have_flags(watches: &MapData) -> bool {
    let is_ours = |length: u32| length as usize == size_of::<Watch>();
    if !watches.info().is_ok_and(|info| is_ours(info.value_size())) {
        return false;
    }
    let mut any = false;
    let lengths = (size_of::<u32>(), size_of::<Watch>());
    let read = sys::each_entry(
        watches.fd().as_fd(),
        lengths,
        WATCHES as usize,
        &mut |_, watch| {
            // SAFETY: `Watch` is made of integers only.
            let watch = unsafe { sys::value::<Watch>(watch) };
            any |= watch.is_some_and(|watch| watch.sk != 0 && watch.added != 0);
        },
    );
    read.is_ok() && any
}
