//! The record of a verdict: what is in it, and the two ways it goes, by a block of memory that the reader shares
//! ([`tfo_common::records`]) or by a ring of the kernel.

use core::arch::asm;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_query,
};
use tfo_common::{
    EventKind, FlowEvent, Handshake, Loss, Outcome, Role, carried,
    classify::End,
    counters::{Stat, TOTALS, total_index},
    event::event_flags,
    limits, records, slots,
};

use crate::{
    atomic,
    observer::{
        account, clock, cpu,
        flow::{self, Flow, bit},
        maps::{Ring, TFO_EVENTS, TFO_EVENTS_ODD, TFO_RECORDS, config},
    },
    ops::Address,
};

/// A block that this program has, until [`Taken::put`].
pub struct Taken {
    block: *mut records::Block,
    number: u64,
    index: u32,
}

/// Takes the block of this CPU, where nobody has it and it has room.
#[inline(always)]
pub fn take() -> Option<Taken> {
    let index = records::block_of(cpu::number());
    let block = TFO_RECORDS.get_ptr_mut(index)?;
    // SAFETY: a live map value; what is written belongs to who has the block. `read` is written by user space: one aligned load.
    unsafe {
        let head = &raw mut (*block).head.0;
        if atomic::exchange(&raw mut (*head).busy, 1) != 0 {
            return None;
        }
        let number = (*head).written;
        if number >= (*head).room_until {
            let room_until = (&raw const (*block).read.0).read_volatile() + u64::from(limits::BLOCK_RECORDS);
            (*head).room_until = room_until;
            if number >= room_until {
                (&raw mut (*head).busy).write_volatile(0);
                return None;
            }
        }
        Some(Taken { block, number, index })
    }
}

impl Taken {
    /// Writes the flow's record, which says that its reader counts the handshake, adds that to the totals, lets the reader have it,
    /// and others the block. What must not come before anything else is a volatile store behind a barrier: LLVM leaves it
    /// there, and x86 keeps stores in order.
    #[inline(always)]
    pub fn put(self, flow: &mut Flow, facts: &Handshake, outcome: Outcome) {
        flow.bits |= bit::EMITTED | bit::BY_READER;
        let place = records::place(self.number);
        flow.id = slots::flow_id(flow.start_ns, self.index, place);
        // SAFETY: a live map value, which this program has; the places are below the lengths.
        unsafe {
            write(&raw mut (*self.block).records[place], flow, facts, outcome);
            let index = total_index(facts.role, outcome) as usize;
            if let Some(index) = account::below(index, TOTALS as usize) {
                (*self.block).totals.0[index] += 1;
            }
            let head = &raw mut (*self.block).head.0;
            asm!("", options(nostack));
            (&raw mut (*head).written).write_volatile(self.number + 1);
            (&raw mut (*head).busy).write_volatile(0);
        }
    }
}

/// Writes the flow's record into the ring of this CPU: that of even or of odd ones, so that CPUs do not wait for each other's cache
/// lines. Lock, position and the end of the last record were six of those for a connection with both ends here.
#[inline(always)]
pub fn put_into_ring(flow: &mut Flow, facts: &Handshake, outcome: Outcome, reader_counts: bool) {
    let is_odd = cpu::number() & 1 != 0;
    let ring = if is_odd { &TFO_EVENTS_ODD } else { &TFO_EVENTS };
    let Some(mut entry) = ring.reserve(0) else {
        account::lost(Loss::RingFull);
        return;
    };
    let record = entry.as_mut_ptr();
    flow.bits |= bit::EMITTED;
    if reader_counts {
        flow.bits |= bit::BY_READER;
    }
    flow.id = slots::flow_id_in_ring(flow.start_ns, flow::number(record), is_odd);
    write(record, flow, facts, outcome);
    entry.submit(wakeup(ring, flow.end_ns));
}

/// Writes a record, and counts it where the totals do not say how many there are.
#[inline(always)]
fn write(record: *mut FlowEvent, flow: &Flow, facts: &Handshake, outcome: Outcome) {
    let mut flags = 0;
    if flow.has(bit::BY_READER) {
        flags |= event_flags::TO_ADD;
        if flow.has(bit::TO_COUNT) {
            flags |= event_flags::TO_COUNT;
        }
    }
    if facts.requested {
        flags |= event_flags::REQUESTED;
    }
    if facts.cookie_received {
        flags |= event_flags::COOKIE_RECEIVED;
    }
    match facts.end {
        End::Established => {}
        End::Reset => flags |= event_flags::RESET | event_flags::NOT_ESTABLISHED,
        End::Failed => flags |= event_flags::NOT_ESTABLISHED,
    }
    // A policy saw the data leave; what dropped it behind the policy shows on the socket.
    if facts.syn_data_len > 0 {
        flags |= carried::flag_of_mark((flow.bits & bit::CARRIED) >> 1);
    }
    // Field by field: a whole `FlowEvent` would be built on the 512-byte stack first.
    // SAFETY: `record` is the caller's alone; every field is written, and there is no padding.
    unsafe {
        (*record).kind = EventKind::Flow as u8;
        (*record).role = flow.role;
        (*record).outcome = outcome as u8;
        (*record).family = flow.family;
        (*record).option = facts.option as u8;
        (*record).option_kind = flow.option_kind;
        (*record).flags = flags;
        (*record).policy = flow.policy;
        (*record).id = flow.id;
        (*record).start_ns = flow.start_ns;
        (*record).end_ns = flow.end_ns;
        (*record).cgroup_id = flow.cgroup_id;
        flow.local.write_to(&raw mut (*record).local);
        flow.remote.write_to(&raw mut (*record).remote);
        (*record).local_port = flow.local_port;
        (*record).remote_port = flow.remote_port;
        (*record).netns = flow.netns;
        (*record).tgid = flow.tgid;
        (*record).syn_data_len = facts.syn_data_len;
        (*record).syn_data_acked = facts.syn_data_acked;
        (*record).syn_retrans = facts.syn_retrans;
        (*record).handshake_us = flow.handshake_us;
        (*record).rtt_us = flow.rtt_us;
        (*record).ttfb_us = flow.ttfb_us;
        (*record).saved_us = flow.saved_us(outcome);
        (*record).lost_us = flow.lost_us(outcome);
        (*record).offered = flow.offered;
        if flow.role == Role::Client as u8 {
            flow.comm.write_to(&raw mut (*record).comm);
        } else {
            // A server's flow has what an earlier one has left there.
            Address::ZERO.write_to(&raw mut (*record).comm);
        }
    }
    if config!(emit_plain) == 1 {
        account::stat(Stat::Events);
    }
}

/// One record in so many, by chance, has a look at how full the ring is. A look reads both of its positions, which the
/// reader's CPU is writing; a counter would be one more addition, which waits until the record is out of this CPU.
const LOOK_EVERY: u64 = 64;

/// Ring flags: the reader polls by timer and is woken only when the ring fills up.
#[inline(always)]
fn wakeup(ring: &Ring, now: u64) -> u64 {
    if !clock::by_chance(now, LOOK_EVERY) {
        return u64::from(BPF_RB_NO_WAKEUP);
    }
    // SAFETY: a ring buffer of this object.
    let fill = unsafe {
        bpf_ringbuf_query(
            core::ptr::from_ref(ring).cast_mut().cast(),
            u64::from(BPF_RB_AVAIL_DATA),
        )
    };
    if fill >= u64::from(config!(wake_bytes)) {
        u64::from(BPF_RB_FORCE_WAKEUP)
    } else {
        u64::from(BPF_RB_NO_WAKEUP)
    }
}
