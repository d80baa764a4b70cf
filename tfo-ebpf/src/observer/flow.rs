//! State of one connection, of one SYN under way, and of a listener.
//!
//! A TFO connection has a place in an array, from its SYN to its first byte; `tcp_destroy_sock` frees what is left. Not
//! socket storage: creating one costs two accounted allocations and an RCU free, 0.6 us a socket and twice that with
//! the free; and not a preallocated hash, whose insertion, look-ups and removal took a third of all that a Fast Open
//! connection took, 0.5 us (measured with `cargo xtask bench` and `perf`). A plain connection has no place at all,
//! only a start slot.

use core::{arch::asm, mem::offset_of};

use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_jiffies64, bpf_ktime_get_ns},
};
use tfo_common::{Handshake, Loss, Role, classify, flags::Shed, limits, slots, time::UNSEEN_US};

use crate::{
    kern::Typed,
    observer::{
        account,
        hooks::flags,
        maps::{ANCHOR, TFO_FLOWS, TFO_LISTENERS, TFO_PRIMED, TFO_STARTS, config},
    },
    ops::{Address, Ops},
    storage,
};

/// Where a flow stands.
pub mod stage {
    /// Handshake under way.
    pub const HANDSHAKE: u8 = 0;
    /// Verdict reached, waiting for the first byte of the server's answer.
    pub const FIRST_BYTE: u8 = 1;
}

/// Bits of [`Flow::bits`].
pub mod bit {
    /// The application asked for TFO.
    pub const REQUESTED: u8 = 1;
    /// The two bits of what a policy saw in the SYN (`tfo_common::policy::mark::CARRIED`), one place further.
    pub const CARRIED: u8 = 4 | 8;
    /// A RST came.
    pub const RESET: u8 = 16;
    /// Server child created from the SYN.
    pub const FROM_SYN: u8 = 32;
    /// A record left: its first byte deserves one too.
    pub const EMITTED: u8 = 64;
    /// Who reads that record adds the handshake to the row of its destination, and its first byte.
    pub const BY_READER: u8 = 2;
    /// It is to be counted for its network namespace with the verdict.
    pub const TO_COUNT: u8 = 128;
}

/// One TFO connection (any connection with `trace --all`). In the order of need: what is written while its SYN is answered, and
/// read by the server's first byte, lies in the first cache line of its [`Place`], for these run on other CPUs in turns. Each
/// line that another CPU has written takes 50 ns, on a CPU that was idle 100.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Flow {
    /// First SYN built (client) or answered (server), `CLOCK_MONOTONIC` ns.
    pub start_ns: u64,
    /// What its record is called ([`slots::flow_id`]); known once that has left.
    pub id: u64,
    /// Time to first byte, us; [`UNSEEN_US`] until it is seen.
    pub ttfb_us: u32,
    /// Inode of the network namespace, where it is known already.
    pub netns: u32,
    /// Bytes the application offered with the connect; of a server's child what
    /// [`tfo_common::FlowEvent::offered`] says.
    pub offered: u32,
    /// Payload of the SYN a child was made from. No SYN has more than 16 bits can say: it is one IP packet.
    pub syn_len: u16,
    /// Host order.
    pub remote_port: u16,
    /// SYN-ACK retransmissions of a child created from the SYN. The kernel sends no more than 255 (`tcp_synack_retries`).
    pub synack_retrans: u8,
    /// One of [`stage`].
    pub stage: u8,
    /// Role code.
    pub role: u8,
    /// Bits of [`bit`].
    pub bits: u8,
    /// `TfoOption` code of the SYN a child was made from.
    pub option: u8,
    /// 34, 254 or 0.
    pub option_kind: u8,
    /// Callback flags we added and still have to take back.
    pub added: u8,
    /// Callbacks spent waiting for the first byte: a few dozen at most.
    pub waits: u8,
    /// Host order.
    pub local_port: u16,
    /// Zero.
    pub pad: [u8; 2],
    /// `Outcome` code, known with the facts. From here on a server's child has what an earlier flow has left, until its verdict
    /// falls.
    pub outcome: u8,
    /// `PolicyAction` code of the policy that had a hand in it, known from the verdict on.
    pub policy: u8,
    /// 1 where the first byte of the answer is still to come when the verdict falls.
    pub waits_on: u8,
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// When the verdict fell, `CLOCK_MONOTONIC` ns.
    pub end_ns: u64,
    /// First SYN to the end, us; [`UNSEEN_US`] where unknown.
    pub handshake_us: u32,
    /// The answered SYN to its answer, us; [`UNSEEN_US`] where unknown.
    pub rtt_us: u32,
    /// What happened, once the verdict is reached: [`crate::observer::finish`] reads it.
    pub facts: Handshake,
    /// Process id of the client.
    pub tgid: u32,
    /// cgroup v2 id, known from the verdict on.
    pub cgroup_id: u64,
    /// Zero.
    pub room: u64,
    /// Network order. Kept because a socket that failed to connect forgets its addresses before it goes.
    pub remote: Address,
    /// Network order.
    pub local: Address,
    /// Name of a client's process, in words like an address; of a server's whatever was there before.
    pub comm: Address,
    /// Latest SYN built (client).
    pub syn_ns: u64,
    /// Of a client under way the tick in which it began. From its verdict on, when the connection of the socket whose place this
    /// would be began, with Fast Open ([`slots::start_value`]): in a line that only the CPUs of clients write.
    pub born: u64,
}

impl Flow {
    /// A flow that begins: what an earlier one at its place has left in the first line goes.
    #[inline(always)]
    fn reset(&mut self, ops: &Ops, start_ns: u64, role: Role) {
        self.start_ns = start_ns;
        self.ttfb_us = UNSEEN_US;
        // Now: a socket that ends forgets its own (`__inet_put_port`).
        self.local_port = ops.local_port();
        self.remote_port = ops.remote_port();
        // Word by word: a row of zeros becomes a call of `memset`, which stores one byte at a time.
        // SAFETY: fields of this flow, as the assertions below say.
        unsafe {
            // With `offered`.
            (&raw mut self.netns).cast::<u64>().write_volatile(0);
            (&raw mut self.syn_len).write_volatile(0);
            // From `synack_retrans` to `waits`.
            let codes = u64::from(role as u8) << 16 | u64::from(stage::HANDSHAKE) << 8;
            (&raw mut self.synack_retrans).cast::<u64>().write_volatile(codes);
        }
    }

    /// Fills in the addresses of the socket of a callback, and what else is in lines that a server's child does without until
    /// its verdict.
    #[inline(always)]
    pub fn locate(&mut self, ops: &Ops) {
        let family = ops.family();
        self.locate_at(family, ops.local(family), ops.remote(family));
    }

    /// The same for a socket that the verifier knows.
    #[inline(always)]
    pub fn locate_by(&mut self, tcp: Typed) {
        let (family, local, remote) = account::addresses(tcp);
        self.locate_at(family, local, remote);
    }

    #[inline(always)]
    fn locate_at(&mut self, family: u8, local: Address, remote: Address) {
        self.family = family;
        self.local = local;
        self.remote = remote;
        self.policy = 0;
        self.tgid = 0;
        self.syn_ns = self.start_ns;
    }

    /// Whether it is of the connection of this callback, and not of an earlier one of a socket at the same address.
    #[inline(always)]
    pub fn is_of_connection(&self, ops: &Ops) -> bool {
        // Of a child without a verdict no more is known.
        let is_child = self.has(bit::FROM_SYN) && self.stage == stage::HANDSHAKE;
        self.remote_port == ops.remote_port()
            && (is_child
                || self.local_port == ops.local_port() && self.remote.words == ops.remote(self.family).words)
    }

    /// Writes down a verdict for [`crate::observer::finish`], which is another program.
    #[inline(always)]
    pub fn conclude(&mut self, facts: Handshake, times: &Times, waits: bool) {
        self.outcome = classify(&facts) as u8;
        self.facts = facts;
        self.end_ns = times.now;
        self.handshake_us = times.handshake_us;
        self.rtt_us = times.rtt_us;
        self.waits_on = u8::from(waits);
    }

    /// Whether this bit of [`bit`] is set.
    #[inline(always)]
    pub fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }
}

const _: () = assert!(size_of::<Address>() == limits::COMM_LEN);
const _: () = {
    const CODES: usize = offset_of!(Flow, synack_retrans);
    const NETNS: usize = offset_of!(Flow, netns);
    assert!(CODES % 8 == 0 && offset_of!(Flow, waits) == CODES + 7);
    assert!(offset_of!(Flow, stage) == CODES + 1 && offset_of!(Flow, role) == CODES + 2);
    assert!(NETNS % 4 == 0 && offset_of!(Flow, offered) == NETNS + 4);
    assert!(offset_of!(Place, flow) + offset_of!(Flow, end_ns) == 64);
    assert!(offset_of!(Place, flow) + offset_of!(Flow, remote) == 128);
    assert!(size_of::<Place>() == 192);
};

/// Times of one handshake, us; [`UNSEEN_US`] where unknown.
pub struct Times {
    /// When the verdict fell, `CLOCK_MONOTONIC` ns.
    pub now: u64,
    /// First SYN to the end.
    pub handshake_us: u32,
    /// The answered SYN to its answer.
    pub rtt_us: u32,
}

/// Callback flags we added to a listener.
#[repr(C)]
pub struct ListenerFlags {
    /// The bits.
    pub added: u32,
}

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
    flow: Flow,
}

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
fn place<'a>(number: u64, step: u32) -> Option<&'a mut Place> {
    // SAFETY: points into an array, which is never freed while programs run.
    TFO_FLOWS
        .get_ptr_mut(slots::flow_place(number, step))
        .map(|place| unsafe { &mut *place })
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
    let sk = ops.sk();
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    let home = place(number, 0)?;
    (home.owner == number).then_some(&mut home.flow)
}

/// Whether the socket of a callback has no flow at another place than the first.
#[inline(always)]
pub fn is_surely_without(ops: &Ops) -> bool {
    let sk = ops.sk();
    !sk.is_null() && place(number(sk), 0).is_some_and(|home| home.elsewhere == 0)
}

/// Whether the first byte of the connection of a callback is awaited without a flow. Who begins a flow without a flag that
/// tells ends what was awaited for an earlier connection of a socket at the same address ([`forget_start`]).
#[inline(always)]
pub fn is_awaited_plain(ops: &Ops) -> bool {
    let sk = ops.sk();
    if sk.is_null() {
        return false;
    }
    let number = number(sk);
    // SAFETY: points into an array; one aligned load.
    start_slot(number).is_some_and(|slot| slots::start_is_of(number, unsafe { slot.read_volatile() }))
}

/// The flow of a socket, if it has one.
///
/// It belongs to one connection, callbacks of a connection run under its socket's lock, and it is removed only by
/// this connection or when its socket is destroyed: nobody else changes it under our hands.
#[inline(always)]
pub fn of<'a, S>(sk: *mut S) -> Option<&'a mut Flow> {
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    let home = place(number, 0)?;
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
    let sk = ops.sk();
    if sk.is_null() {
        return None;
    }
    let number = number(sk);
    let home = place(number, 0)?;
    (home.elsewhere == 0 && home.claim(number)).then_some(&mut home.flow)
}

/// A place for the flow of the socket of a callback: the first one, if nobody has it; else the one it has already, or another.
#[inline(always)]
fn new<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    let sk = ops.sk();
    if sk.is_null() {
        return None;
    }
    if let Some(flow) = new_at_home(ops) {
        return Some(flow);
    }
    let number = number(sk);
    let home = place(number, 0)?;
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

/// The same flow, whose fields are read from memory again. Without it LLVM makes a copy of what follows for each value
/// that was just written, and the verifier goes through every copy (`tfo_destroy`: 112,402 instructions on 6.1).
#[inline(always)]
pub fn reread(flow: &mut Flow) -> &mut Flow {
    let mut place = core::ptr::from_mut(flow);
    // SAFETY: does nothing with the pointer but hide it from LLVM, which must take memory for changed.
    unsafe {
        asm!("{0} = {0}", inout(reg) place);
        &mut *place
    }
}

/// Removes the flow of the socket of a callback, which [`at_home`] has found.
#[inline(always)]
pub fn remove_at_home(ops: &Ops) {
    let sk = ops.sk();
    if sk.is_null() {
        return;
    }
    if let Some(home) = place(number(sk), 0) {
        home.free();
    }
}

/// Removes the flow of a socket, which has nothing more to tell.
#[inline(always)]
pub fn remove<S>(sk: *mut S) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    let Some(home) = place(number, 0) else {
        return;
    };
    if home.owner == number {
        return home.free();
    }
    if home.elsewhere == 0 {
        return;
    }
    let mut step = 1;
    while step <= limits::FLOW_STEPS {
        if let Some(other) = place(number, step)
            && other.owner == number
        {
            other.free();
            return account::add32(&raw mut home.elsewhere, u32::MAX);
        }
        step = next(step);
    }
}

/// A number that stands for a socket among these programs: its address, less that of a constant of ours. The
/// verifier does not let a pointer be calculated with, but the difference of two is a number to it.
#[inline(always)]
pub fn number<S>(sk: *mut S) -> u64 {
    let number: u64;
    // SAFETY: one subtraction.
    unsafe {
        asm!("{0} -= {1}", inout(reg) sk => number, in(reg) &raw const ANCHOR,
            options(pure, nomem, nostack));
    }
    number
}

/// Whether this plain connection is one of those whose time to first byte is taken; none is where that is shed.
#[inline(always)]
pub fn is_sampled(now: u64) -> bool {
    by_chance(now, config!(ttfb_sample).into()) && !flags::is_shed(Shed::FirstBytes)
}

/// Once in so many times, of 32 bits. Chance is in the clock's low digits: a socket's address would be that of the one
/// before, a counter would keep step with the traffic.
#[inline(always)]
pub fn by_chance(now: u64, one_in: u64) -> bool {
    let chance = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (chance * one_in) >> 32 == 0
}

/// The start slot of a plain connection, by the number of its socket.
#[inline(always)]
pub fn start_slot(number: u64) -> Option<*mut u64> {
    TFO_STARTS.get_ptr_mut(slots::start_slot(number))
}

/// Remembers in which tick a plain client sent its SYN. To look at the clock takes longer than everything else that is
/// done there, and a SYN that need not be sent again is timed by the kernel.
#[inline(always)]
pub fn set_connecting(sk: *mut bpf_sock) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    if let Some(slot) = start_slot(number) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = slots::connecting_value(number, jiffies()) };
    }
}

/// The kernel's ticks.
#[inline(always)]
pub fn jiffies() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_jiffies64() }
}

/// Remembers when a plain connection began. `added`: its callback flag is ours to take back.
#[inline(always)]
pub fn set_start(sk: *mut bpf_sock, ns: u64, role: Role, added: bool) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    if let Some(slot) = start_slot(number) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = slots::start_value(number, ns, matches!(role, Role::Server), added) };
    }
}

/// Forgets that the first byte of an earlier connection of this socket, or of one at its address, was awaited without a flow.
#[inline(always)]
pub fn forget_start(sk: *mut bpf_sock) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    if let Some(slot) = start_slot(number) {
        // SAFETY: points into an array; one aligned load, one aligned store.
        unsafe {
            if slots::start_is_of(number, slot.read_volatile()) {
                slot.write_volatile(0);
            }
        }
    }
}

/// Remembers when a connection with Fast Open began, for its end. `added`: the callback flag for its timer is ours to take
/// back, as long as it lives.
#[inline(always)]
pub fn set_born(sk: *mut bpf_sock, ns: u64, added: bool) {
    if sk.is_null() {
        return;
    }
    let number = number(sk);
    if let Some(slot) = born_slot(number) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = slots::start_value(number, ns, false, added) };
    }
}

/// The slot in which that is remembered, by the number of its socket.
#[inline(always)]
pub fn born_slot(number: u64) -> Option<*mut u64> {
    place(number, 0).map(|home| &raw mut home.flow.born)
}

/// Remembers that listeners at a port have a callback flag of ours, which those that connect to them inherit.
#[inline(always)]
pub fn set_primed(netns: u32, port: u16) {
    let value = slots::primed_value(netns, port);
    if let Some(slot) = TFO_PRIMED.get_ptr_mut(slots::primed_slot(value)) {
        // SAFETY: points into an array; one aligned store.
        unsafe { *slot = value };
    }
}

/// Whether it is remembered.
#[inline(always)]
pub fn is_primed(netns: u32, port: u16) -> bool {
    let value = slots::primed_value(netns, port);
    TFO_PRIMED
        .get(slots::primed_slot(value))
        .is_some_and(|slot| *slot == value)
}

/// How long the connection of a socket has lived, us; `None` where another one took its slot, or nobody saw it begin.
#[inline(always)]
pub fn age_us<S>(sk: *mut S, now: u64) -> Option<u64> {
    let number = number(sk);
    let slot = born_slot(number)?;
    // SAFETY: points into an array; one aligned load.
    let value = unsafe { slot.read_volatile() };
    slots::start_is_of(number, value).then(|| slots::age_us(value, now))
}

/// `CLOCK_MONOTONIC`, ns.
#[inline(always)]
pub fn now() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_ktime_get_ns() }
}

/// The mark of a listener, if we set flags on it.
#[inline(always)]
pub fn mark_of<'a, S>(sk: *mut S) -> Option<&'a mut ListenerFlags> {
    storage::get(&TFO_LISTENERS, sk)
}

/// The mark of a listener, made if there is none.
#[inline(always)]
pub fn mark<'a, S>(sk: *mut S) -> Option<&'a mut ListenerFlags> {
    storage::get_or_create(&TFO_LISTENERS, sk)
}
