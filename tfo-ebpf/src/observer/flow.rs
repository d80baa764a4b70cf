//! State of one connection or of one SYN under way.
//!
//! A TFO connection has a place in an array, from its SYN to its first byte; `tcp_destroy_sock` frees what is left. Not
//! socket storage: creating one costs two accounted allocations and an RCU free, 0.6 us a socket and twice that with
//! the free; and not a preallocated hash, whose insertion, look-ups and removal took a third of all that a Fast Open
//! connection took, 0.5 us (measured with `cargo xtask bench` and `perf`). A plain connection has no place at all,
//! only a start slot.

mod place;
mod slot;

use core::{arch::asm, mem::offset_of};

pub use place::{
    Claim, Place, at_home, begin, begin_at_home, is_surely_without, of, of_context, remove, remove_at_home,
};
pub use slot::{
    age_ns, born_slot, forget_start, is_awaited_plain, is_of_this_epoch, is_primed, set_born, set_connecting,
    set_primed, set_start, start_of, start_slot,
};
use tfo_common::{
    Handshake, Outcome, Role, classify, limits,
    time::{UNSEEN_US, us_between},
};

use crate::{
    kern::Typed,
    observer::{account, maps::ANCHOR, netns},
    ops::{Address, Ops},
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
    /// cgroup v2 id: 0 from [`Flow::locate`], which comes before every verdict, until [`Flow::describe`].
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
        self.cgroup_id = 0;
        self.syn_ns = self.start_ns;
    }

    /// Fills in where the socket belongs.
    #[inline(always)]
    pub fn describe(&mut self, tcp: Typed) {
        self.cgroup_id = tcp.cgroup_id();
        if self.netns == 0 {
            self.netns = netns::inode_of(tcp);
        }
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

    /// The round trip that was saved, us. Without data in the SYN nothing arrived earlier, accepted or not.
    #[inline(always)]
    pub fn saved_us(&self, outcome: Outcome) -> u32 {
        if outcome.saves_round_trip() && self.facts.syn_data_len > 0 && self.rtt_us != UNSEEN_US {
            self.rtt_us
        } else {
            0
        }
    }

    /// The time that a SYN which was sent again has cost, us.
    #[inline(always)]
    pub fn lost_us(&self, outcome: Outcome) -> u32 {
        if outcome.loses_timeout() {
            us_between(self.start_ns, self.syn_ns)
        } else {
            0
        }
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
