//! Where flows are: an array, at a place that their socket's address leads to.

use core::{arch::asm, mem::offset_of};

use tfo_common::{Loss, Role, limits, slots};

use super::{Flow, number};
use crate::{
    observer::{account, maps::TFO_FLOWS},
    ops::Ops,
};

/// A place for a flow: whole cache lines of an array that begins with a page, because user space may map it. Who wants it
/// lies beside what is looked at anyway: in an array of its own it was one more line that another CPU has written, and one more
/// page that is in no TLB.
#[repr(C, align(64))]
pub struct Place {
    /// Sockets that want this place: one has it, others have tried in the same instant and are about to leave.
    here: u32,
    /// Flows that belong to this place and are at another one.
    elsewhere: u32,
    /// Number of the socket whose flow it is; 0 while it is nobody's.
    owner: u64,
    /// The flow.
    pub(super) flow: Flow,
}

const _: () = {
    assert!(offset_of!(Place, flow) + offset_of!(Flow, end_ns) == 64);
    assert!(offset_of!(Place, flow) + offset_of!(Flow, remote) == 128);
    assert!(size_of::<Place>() == 192);
};

impl Place {
    /// Takes it for a socket, if it is free. Two that try at once see each other, for additions come one after another:
    /// then one of them has it, or none.
    #[inline(always)]
    fn claim(&mut self, number: u64) -> bool {
        let here = &raw mut self.here;
        // SAFETY: a live map value.
        if unsafe { here.read_volatile() } != 0 {
            return false;
        }
        account::add32(here, 1);
        // SAFETY: as above.
        if unsafe { here.read_volatile() } != 1 {
            account::add32(here, u32::MAX);
            return false;
        }
        self.owner = number;
        true
    }

    #[inline(always)]
    fn free(&mut self) {
        // SAFETY: a live map value. Before the claim ends: the next one writes its own.
        unsafe { (&raw mut self.owner).write_volatile(0) };
        account::add32(&raw mut self.here, u32::MAX);
    }
}

/// The place a socket's flow is at after so many steps.
#[inline(always)]
pub(super) fn place<'a>(number: u64, step: u32) -> Option<&'a mut Place> {
    // SAFETY: points into an array, which is never freed while programs run.
    TFO_FLOWS
        .get_ptr_mut(slots::flow_place(number, step))
        .map(|place| unsafe { &mut *place })
}

/// The number of a socket, and its first place.
#[inline(always)]
fn home<'a, S>(sk: *mut S) -> Option<(u64, &'a mut Place)> {
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    Some((number, place(number, 0)?))
}

/// One more. LLVM does not see what it becomes, and leaves the loop a loop: unrolled, those on the rare paths would be
/// half of the code.
#[inline(always)]
fn next(step: u32) -> u32 {
    let mut step = u64::from(step);
    // SAFETY: adds one to this register.
    unsafe { asm!("{0} += 1", inout(reg) step, options(pure, nomem, nostack)) };
    step as u32
}

/// The place of a socket's flow where it is not the first one.
#[inline(always)]
fn place_elsewhere<'a>(number: u64) -> Option<&'a mut Place> {
    let mut step = 1;
    while step <= limits::FLOW_STEPS {
        if let Some(place) = place(number, step)
            && place.owner == number
        {
            return Some(place);
        }
        step = next(step);
    }
    None
}

/// The flow of the socket of a callback.
#[inline(always)]
pub fn of_context<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    of(ops.sk())
}

/// The flow of the socket of a callback, if it is at the first place. Where it is not [`of_context`] may still find it.
#[inline(always)]
pub fn at_home<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    let (number, home) = home(ops.sk())?;
    (home.owner == number).then_some(&mut home.flow)
}

/// Whether the socket of a callback has no flow at another place than the first.
#[inline(always)]
pub fn is_surely_without(ops: &Ops) -> bool {
    home(ops.sk()).is_some_and(|(_, home)| home.elsewhere == 0)
}

/// The flow of a socket, if it has one.
///
/// It belongs to one connection, callbacks of a connection run under its socket's lock, and it is removed only by
/// this connection or when its socket is destroyed: nobody else changes it under our hands.
#[inline(always)]
pub fn of<'a, S>(sk: *mut S) -> Option<&'a mut Flow> {
    let (number, home) = home(sk)?;
    if home.owner == number {
        return Some(&mut home.flow);
    }
    if home.elsewhere == 0 {
        return None;
    }
    place_elsewhere(number).map(|place| &mut place.flow)
}

/// Begins the flow of the socket of a callback, in place of whatever its address had before. One that finds no place
/// is lost, and counted.
#[inline(always)]
pub fn begin<'a>(ops: &Ops, role: Role, start_ns: u64) -> Option<&'a mut Flow> {
    let Some(flow) = new(ops) else {
        account::lost(Loss::FlowTable);
        return None;
    };
    flow.reset(ops, start_ns, role);
    Some(flow)
}

/// The same where the socket's first place is free, as it is of nearly all; else nothing has happened, and [`begin`] looks
/// further: in a program of its own, for the search is as long as all the rest.
#[inline(always)]
pub fn begin_at_home<'a>(ops: &Ops, role: Role, start_ns: u64) -> Option<&'a mut Flow> {
    let flow = new_at_home(ops)?;
    flow.reset(ops, start_ns, role);
    Some(flow)
}

/// The first place of the socket of a callback, if nobody has it.
#[inline(always)]
fn new_at_home<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    let (number, home) = home(ops.sk())?;
    (home.elsewhere == 0 && home.claim(number)).then_some(&mut home.flow)
}

/// A place for the flow of the socket of a callback: the first one, if nobody has it; else the one it has already, or another.
#[inline(always)]
fn new<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    if let Some(flow) = new_at_home(ops) {
        return Some(flow);
    }
    let (number, home) = home(ops.sk())?;
    if let Some(flow) = of_context(ops) {
        return Some(flow);
    }
    let mut step = 1;
    while step <= limits::FLOW_STEPS {
        if let Some(other) = place(number, step)
            && other.claim(number)
        {
            account::add32(&raw mut home.elsewhere, 1);
            return Some(&mut other.flow);
        }
        step = next(step);
    }
    None
}

/// Removes the flow of the socket of a callback, which [`at_home`] has found.
#[inline(always)]
pub fn remove_at_home(ops: &Ops) {
    if let Some((_, home)) = home(ops.sk()) {
        home.free();
    }
}

/// Removes the flow of a socket, which has nothing more to tell.
#[inline(always)]
pub fn remove<S>(sk: *mut S) {
    let Some((number, home)) = home(sk) else {
        return;
    };
    if home.owner == number {
        return home.free();
    }
    if home.elsewhere == 0 {
        return;
    }
    if let Some(other) = place_elsewhere(number) {
        other.free();
        account::add32(&raw mut home.elsewhere, u32::MAX);
    }
}
