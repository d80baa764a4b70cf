//! State of one connection, of one SYN under way, and of a listener.
//!
//! A TFO connection has an entry in a hash keyed by its socket's address, from its SYN to its first byte;
//! `tcp_destroy_sock` removes what is left. Not socket storage: creating one costs two accounted allocations
//! and an RCU free, 0.6 us a socket and twice that with the free (measured with `cargo xtask bench`), against 0.1 us
//! for a preallocated hash entry. A plain connection has no entry at all, only a start slot.

use core::arch::asm;

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_ktime_get_ns};
use tfo_common::{Handshake, Loss, Role, classify, flags::Shed, slots, time::UNSEEN_US};

use crate::{
    observer::{
        account,
        hooks::flags,
        maps::{TFO_FLOWS, TFO_LISTENERS, TFO_STARTS, ZERO_FLOW, config},
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
    /// The SYN a child was made from had been accepted before.
    pub const SEEN_BEFORE: u8 = 2;
    /// A RST came.
    pub const RESET: u8 = 16;
    /// Server child created from the SYN.
    pub const FROM_SYN: u8 = 32;
    /// A record left: its first byte deserves one too.
    pub const EMITTED: u8 = 64;
}

/// One TFO connection (any connection with `trace --all`). What every connection needs comes first.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Flow {
    /// First SYN built (client) or answered (server), `CLOCK_MONOTONIC` ns.
    pub start_ns: u64,
    /// Latest SYN built (client).
    pub syn_ns: u64,
    /// When the verdict fell, `CLOCK_MONOTONIC` ns.
    pub end_ns: u64,
    /// cgroup v2 id, known from the verdict on.
    pub cgroup_id: u64,
    /// Socket cookie.
    pub id: u64,
    /// Bytes the application offered with the connect.
    pub offered: u32,
    /// Process id of the client.
    pub tgid: u32,
    /// Time to first byte, us; [`UNSEEN_US`] until it is seen.
    pub ttfb_us: u32,
    /// First SYN to the end, us; [`UNSEEN_US`] where unknown.
    pub handshake_us: u32,
    /// The answered SYN to its answer, us; [`UNSEEN_US`] where unknown.
    pub rtt_us: u32,
    /// Inode of the network namespace, where it is known already.
    pub netns: u32,
    /// What happened, once the verdict is reached: [`crate::observer::finish`] reads it.
    pub facts: Handshake,
    /// SYN-ACK retransmissions of a child created from the SYN.
    pub synack_retrans: u16,
    /// Callbacks spent waiting for the first byte.
    pub waits: u16,
    /// `Outcome` code, known with the facts.
    pub outcome: u8,
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
    /// `PolicyAction` code of the policy that had a hand in it, known from the verdict on.
    pub policy: u8,
    /// 1 where the first byte of the answer is still to come when the verdict falls.
    pub waits_on: u8,
    /// 4 or 6: the family on the wire.
    pub family: u8,
    /// Zero.
    pub pad: [u8; 2],
    /// Host order.
    pub local_port: u16,
    /// Host order.
    pub remote_port: u16,
    /// Payload of the SYN a child was made from.
    pub syn_len: u32,
    /// Network order. Kept because a socket that failed to connect forgets its addresses before it goes.
    pub remote: Address,
    /// Network order.
    pub local: Address,
    /// Name of the client's process, in words like an address.
    pub comm: Address,
}

impl Flow {
    /// Nothing known.
    pub const ZERO: Self = Self {
        start_ns: 0,
        syn_ns: 0,
        end_ns: 0,
        cgroup_id: 0,
        id: 0,
        offered: 0,
        tgid: 0,
        ttfb_us: UNSEEN_US,
        handshake_us: UNSEEN_US,
        rtt_us: UNSEEN_US,
        netns: 0,
        facts: Handshake::plain(Role::Client),
        synack_retrans: 0,
        waits: 0,
        outcome: 0,
        stage: stage::HANDSHAKE,
        role: 0,
        bits: 0,
        option: 0,
        option_kind: 0,
        added: 0,
        policy: 0,
        waits_on: 0,
        family: 0,
        pad: [0; 2],
        local_port: 0,
        remote_port: 0,
        syn_len: 0,
        remote: Address { words: [0; 4] },
        local: Address { words: [0; 4] },
        comm: Address { words: [0; 4] },
    };

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

const _: () = assert!(size_of::<Address>() == tfo_common::limits::COMM_LEN);

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

/// The flow of the socket of a callback, without reading its address from memory first.
#[inline(always)]
pub fn of_context<'a>(ops: &Ops) -> Option<&'a mut Flow> {
    // The verifier lets a pointer serve as a key, but not be calculated with.
    of(ops.sk() as u64)
}

/// The flow of a socket, if it has one.
///
/// The entry belongs to one connection, callbacks of a connection run under its socket's lock, and it is
/// removed only by this connection or when its socket is destroyed: nobody else changes it under our hands.
#[inline(always)]
pub fn of<'a>(sk: u64) -> Option<&'a mut Flow> {
    // SAFETY: points into a preallocated map; see above.
    TFO_FLOWS.get_ptr_mut(sk).map(|flow| unsafe { &mut *flow })
}

/// Begins the flow of the socket of a callback, in place of whatever its address had before. One that finds no place
/// is lost, and counted.
#[inline(always)]
pub fn begin<'a>(ops: &Ops, role: Role, start_ns: u64) -> Option<&'a mut Flow> {
    if TFO_FLOWS.insert(ops.sk() as u64, &ZERO_FLOW, 0).is_err() {
        account::lost(Loss::FlowTable);
        return None;
    }
    let flow = of_context(ops)?;
    flow.start_ns = start_ns;
    flow.syn_ns = start_ns;
    flow.role = role as u8;
    flow.id = ops.cookie();
    let family = ops.family();
    flow.family = family;
    flow.remote = ops.remote(family);
    flow.local = ops.local(family);
    flow.remote_port = ops.remote_port();
    flow.local_port = ops.local_port();
    Some(flow)
}

/// The same flow, whose fields are read from memory again. Without it LLVM makes a copy of what follows for each value
/// that was just written, and the verifier goes through every copy (`tfo_destroy`: 112,402 instructions on 6.1).
#[inline(always)]
pub fn reread(flow: &mut Flow) -> &mut Flow {
    let mut place = core::ptr::from_mut(flow);
    // SAFETY: does nothing with the pointer but hide it from LLVM, which must take memory for changed.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) place);
        &mut *place
    }
}

/// Removes a flow that has nothing more to tell, by the address of its socket.
#[inline(always)]
pub fn remove(sk: impl Into<SocketKey>) {
    let _ = TFO_FLOWS.remove(sk.into().0);
}

/// The address of a socket as a key.
pub struct SocketKey(u64);

impl From<u64> for SocketKey {
    #[inline(always)]
    fn from(address: u64) -> Self {
        Self(address)
    }
}

impl From<*mut bpf_sock> for SocketKey {
    #[inline(always)]
    fn from(sk: *mut bpf_sock) -> Self {
        Self(sk as u64)
    }
}

/// A number that stands for a socket among these programs: its address, less that of a constant of ours. The
/// verifier does not let a pointer be calculated with, but the difference of two is a number to it.
#[inline(always)]
pub fn number(sk: *mut bpf_sock) -> u64 {
    let number: u64;
    // SAFETY: one subtraction.
    unsafe {
        asm!("{0} -= {1}", inout(reg) sk => number, in(reg) &raw const ZERO_FLOW,
            options(pure, nomem, nostack));
    }
    number
}

/// Whether this plain connection is one of those whose time to first byte is taken; none is where that is shed. Chance is in the clock's low
/// digits: a socket's address would be that of the one before, a counter would keep step with the traffic.
#[inline(always)]
pub fn is_sampled(now: u64) -> bool {
    let chance = now.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (chance * u64::from(config!(ttfb_sample))) >> 32 == 0 && !flags::is_shed(Shed::FirstBytes)
}

/// The start slot of a plain connection, by the number of its socket.
#[inline(always)]
pub fn start_slot(number: u64) -> Option<*mut u64> {
    TFO_STARTS.get_ptr_mut(slots::start_slot(number))
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
