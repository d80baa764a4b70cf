//! Callback flags: shared with every other `sock_ops` program, so ours go in by OR and only ours come out.

use aya_ebpf::bindings::BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE;
use tfo_common::flags::{Control, Shed};

use crate::{
    observer::{flow::Flow, maps::TFO_CONTROL},
    ops::Ops,
};

/// Sets callback flags and remembers which of them were not set before.
#[inline(always)]
pub fn add(ops: &Ops, flow: &mut Flow, wanted: u32) {
    let before = ops.flags();
    flow.added |= (wanted & !before) as u8;
    if before & wanted != wanted {
        ops.set_flags(before | wanted);
    }
}

/// Takes back those of `done` that we added, and sets `next`.
#[inline(always)]
pub fn swap(ops: &Ops, flow: &mut Flow, done: u32, next: u32) {
    let before = ops.flags();
    let ours = u32::from(flow.added) & done;
    flow.added = (flow.added & !(ours as u8)) | (next & !before) as u8;
    let after = (before & !ours) | next;
    if after != before {
        ops.set_flags(after);
    }
}

/// Takes WRITE_HDR_OPT back from a connection that has no flow.
#[inline(always)]
pub fn drop_write(ops: &Ops) {
    let before = ops.flags();
    if before & WRITE != 0 {
        ops.set_flags(before & !WRITE);
    }
}

/// Whether the flag a child inherited from its listener is ours to take back: unless a `sock_ops` program
/// of somebody else is loaded, who may want it.
#[inline(always)]
pub fn inherited_is_ours() -> bool {
    control(Control::ForeignSockOps) == 0
}

/// Whether this is given up for now, to cost less.
#[inline(always)]
pub fn is_shed(what: Shed) -> bool {
    control(Control::Shed) >= what as u32
}

/// A switch.
#[inline(always)]
pub fn control(which: Control) -> u32 {
    // SAFETY: points into an array; one aligned load.
    unsafe { TFO_CONTROL.at(which as u32).read_volatile() }
}

/// Sets a switch of the kernel side, for good.
#[inline(always)]
pub fn raise(which: Control) {
    // SAFETY: points into an array; every writer writes 1.
    unsafe { TFO_CONTROL.at(which as u32).write_volatile(1) };
}
