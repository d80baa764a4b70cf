//! Where flows are: an array, at a place that their socket's address leads to.

use core::{arch::asm, mem::offset_of};

use tfo_common::{Loss, Role, limits, slots};

use super::{Flow, number};
use crate::{
    atomic,
    observer::{
        account,
        maps::{TFO_CLAIMS, TFO_FLOWS},
    },
    ops::Ops,
};

/// A place for a flow: whole cache lines of an array that begins with a page, because user space may map it.
#[repr(C, align(64))]
pub struct Place {
    /// The claim of the flow that is here ([`Claim::latest`]); with all bits turned over that of the one that was here last. 0
    /// until the first one.
    owner: u64,
    /// Zero.
    pad: u64,
    /// The flow.
    pub(super) flow: Flow,
}

/// Who may have a place.
///
/// Who claims a place and who gives it back are mostly two CPUs: a client connects on one, and its answer comes in on another; a
/// child is made on its client's CPU, and answers on its server's. So they write different lines, and neither waits for what the
/// other has written: what only claims look at is here, and what belongs to a flow in its [`Place`]. With all of it in one line that
/// was a sixth of a Fast Open connection in turns, 0.21 us; in a line beside those of the flow, processors fetched it with them.
#[repr(C)]
pub struct Claim {
    /// The latest claim: the number of a socket ([`number`]) without its uppermost bits, in which no two differ, and below it how
    /// often sockets have claimed this place.
    latest: u64,
    /// Flows that belong to this place and are at another one.
    elsewhere: u32,
    /// Where there is no exchange, sockets that want this place: one has it, others have tried in the same instant and are about
    /// to leave.
    here: u32,
}

/// Bits of a claim that count claims. Who wants to take a place from its last owner has looked at the claim before: meanwhile so
/// many others would have had to come and go.
const CLAIMS_BITS: u32 = 16;

const _: () = {
    assert!(offset_of!(Place, flow) + offset_of!(Flow, end_ns) == 64);
    assert!(offset_of!(Place, flow) + offset_of!(Flow, remote) == 128);
    assert!(size_of::<Place>() == limits::FLOW_BYTES && size_of::<Claim>() == limits::CLAIM_BYTES);
};

impl Place {
    /// Whether the flow that is here is that of the socket with this number.
    #[inline(always)]
    fn has(&self, number: u64) -> bool {
        is_of(self.owner, number)
    }

    /// Takes it for a socket whose earlier connections have no flow any more, if it is free.
    #[inline(always)]
    fn claim(&mut self, claim: &mut Claim, number: u64) -> bool {
        let mine = number << CLAIMS_BITS;
        if !atomic::has_exchange() {
            let claimed = claim.add();
            if claimed {
                self.owner = mine;
            }
            return claimed;
        }
        let place = &raw mut claim.latest;
        // SAFETY: live map values. An owner that has given the place back says so with its claim: where another one has just
        // claimed it, and the place does not show that yet, it is not the latest.
        unsafe {
            let latest = place.read_volatile();
            if !is_of(latest, number) && latest != 0 && (&raw const self.owner).read_volatile() != !latest {
                return false;
            }
            let next = mine | (latest + 1) & ((1 << CLAIMS_BITS) - 1);
            if atomic::compare_exchange(place, latest, next) != latest {
                return false;
            }
            (&raw mut self.owner).write_volatile(next);
        }
        true
    }

    /// Gives it back, if it is this socket's: by a store, which waits for nothing. An addition waits until all of a record, in
    /// lines that its reader has had, is out of this CPU: a tenth of what a Fast Open connection took.
    #[inline(always)]
    fn free(&mut self, number: u64) -> bool {
        // SAFETY: a live map value. Looked at once, so that what is given back twice is given back. Volatile, and behind a barrier:
        // what was written to the flow comes before, for LLVM as for processors that keep stores in order.
        unsafe {
            let place = &raw mut self.owner;
            let owner = place.read_volatile();
            let is_its = is_of(owner, number);
            if is_its {
                asm!("", options(nostack));
                place.write_volatile(!owner);
            }
            is_its
        }
    }
}

/// Whether a claim is that of the socket with this number.
#[inline(always)]
fn is_of(claim: u64, number: u64) -> bool {
    claim >> CLAIMS_BITS == number << CLAIMS_BITS >> CLAIMS_BITS
}

impl Claim {
    /// Claims on kernels without an exchange. Two that try at once see each other, for additions come one after another: then
    /// one of them has the place, or none.
    #[inline(always)]
    fn add(&mut self) -> bool {
        let here = &raw mut self.here;
        // SAFETY: a live map value.
        unsafe {
            if here.read_volatile() != 0 {
                return false;
            }
            account::add32(here, 1);
            let is_alone = here.read_volatile() == 1;
            if !is_alone {
                account::add32(here, u32::MAX);
            }
            is_alone
        }
    }
}

/// A place, and where it is.
pub(super) struct Found<'a> {
    index: u32,
    pub(super) place: &'a mut Place,
}

impl<'a> Found<'a> {
    /// The place a socket's flow is at after so many steps.
    #[inline(always)]
    pub(super) fn after(number: u64, step: u32) -> Self {
        let index = slots::flow_place(number, step) & TFO_FLOWS.last();
        // SAFETY: points into an array, which is never freed while programs run.
        let place = unsafe { &mut *TFO_FLOWS.at(index) };
        Self { index, place }
    }

    /// Who may have it.
    #[inline(always)]
    fn claim_of(&self) -> &'a mut Claim {
        // SAFETY: as above.
        unsafe { &mut *TFO_CLAIMS.at(self.index) }
    }

    /// Takes it for a socket whose earlier connections have no flow any more, if it is free.
    #[inline(always)]
    fn claim(&mut self, number: u64) -> bool {
        self.place.claim(self.claim_of(), number)
    }

    /// Gives it back, if it is this socket's.
    #[inline(always)]
    fn free(&mut self, number: u64) -> bool {
        let is_its = self.place.free(number);
        if is_its && !atomic::has_exchange() {
            // Before the claim ends: the next one writes its own.
            account::add32(&raw mut self.claim_of().here, u32::MAX);
        }
        is_its
    }

    /// Flows that belong here and are at another place.
    #[inline(always)]
    fn elsewhere(&self) -> u32 {
        self.claim_of().elsewhere
    }

    /// Counts those.
    #[inline(always)]
    fn add_elsewhere(&self, by: u32) {
        account::add32(&raw mut self.claim_of().elsewhere, by);
    }

    #[inline(always)]
    fn flow(self) -> &'a mut Flow {
        &mut self.place.flow
    }
}

/// The number of a socket, and its first place.
#[inline(always)]
fn home<'a, S>(sk: *mut S) -> Option<(u64, Found<'a>)> {
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    Some((number, Found::after(number, 0)))
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
fn place_elsewhere<'a>(number: u64) -> Option<Found<'a>> {
    let mut step = 1;
    while step <= limits::FLOW_STEPS {
        let found = Found::after(number, step);
        if found.place.has(number) {
            return Some(found);
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
    home.place.has(number).then_some(home.flow())
}

/// Whether the socket of a callback has no flow at another place than the first.
#[inline(always)]
pub fn is_surely_without(ops: &Ops) -> bool {
    home(ops.sk()).is_some_and(|(_, home)| home.elsewhere() == 0)
}

/// The flow of a socket, if it has one.
///
/// It belongs to one connection, callbacks of a connection run under its socket's lock, and it is removed only by
/// this connection or when its socket is destroyed: nobody else changes it under our hands.
#[inline(always)]
pub fn of<'a, S>(sk: *mut S) -> Option<&'a mut Flow> {
    let (number, home) = home(sk)?;
    if home.place.has(number) {
        return Some(home.flow());
    }
    if home.elsewhere() == 0 {
        return None;
    }
    place_elsewhere(number).map(Found::flow)
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

/// The first place of the socket of a callback, if nobody has it; where there is an exchange also if an earlier connection of this
/// socket's address has it.
#[inline(always)]
fn new_at_home<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    let (number, mut home) = home(ops.sk())?;
    (home.elsewhere() == 0 && home.claim(number)).then_some(home.flow())
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
        let mut other = Found::after(number, step);
        if other.claim(number) {
            home.add_elsewhere(1);
            return Some(other.flow());
        }
        step = next(step);
    }
    None
}

/// Removes the flow of the socket of a callback, which [`at_home`] has found.
#[inline(always)]
pub fn remove_at_home(ops: &Ops) {
    if let Some((number, mut home)) = home(ops.sk()) {
        home.free(number);
    }
}

/// Removes the flow of a socket, which has nothing more to tell.
#[inline(always)]
pub fn remove<S>(sk: *mut S) {
    let Some((number, mut home)) = home(sk) else {
        return;
    };
    if home.free(number) || home.elsewhere() == 0 {
        return;
    }
    if let Some(mut other) = place_elsewhere(number)
        && other.free(number)
    {
        home.add_elsewhere(u32::MAX);
    }
}
