//! The end of a handshake: count it, and have it told. The only place that does either.

use aya_ebpf::bindings::{
    BPF_SOCK_OPS_RETRANS_CB_FLAG as RETRANS, BPF_SOCK_OPS_RTO_CB_FLAG as RTO,
    BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
};
use tfo_common::{
    DestCounts, Handshake, Outcome, Role,
    counters::Stat,
    flags::{Control, Shed},
    maps::Part,
    slots,
    time::{UNSEEN_US, bucket},
};

use crate::{
    kern::Typed,
    observer::{
        account,
        flow::{self, Flow, Times, bit, stage},
        hooks::flags,
        maps::{TFO_FIRST_BYTES, config},
        parts::jump,
        record,
    },
    ops::Ops,
};

/// Counts a finished handshake without a flow: nobody asked for TFO.
#[inline(always)]
pub fn finish_plain(ops: &Ops, cgroup_id: u64, facts: &Handshake, times: &Times) {
    if flags::is_shed(Shed::Plain) {
        return account::stat(Stat::Shed);
    }
    let outcome = Outcome::Plain;
    let key = account::dest_key(ops, facts.role, cgroup_id);
    if let Some(row) = account::dest_row(&key) {
        add_to_row(row, outcome, facts, times, 0, 0);
    }
    // Last: an addition waits until everything before it is done, and lets nothing behind it begin.
    account::total(facts.role, outcome);
}

/// Counts a finished handshake and emits its record: a program of its own, which finds in the flow what
/// [`Flow::conclude`] left there. Not handed over in a scratch map: these programs can be interrupted on their CPU
/// by others of their kind, but the flow belongs to the connection.
///
/// By a block of records, and only where its reader counts: else the ring does ([`finish_by_ring`]).
#[inline(always)]
pub fn finish(ops: &Ops) {
    let Some(flow) = flow::of_context(ops) else { return };
    if !tell_in_block(|| ops.tcp(), flow) {
        return jump::<{ Part::FinishByRing as u32 }>(ops);
    }
    settle(ops, flow);
}

/// The same by a ring.
#[inline(always)]
pub fn finish_by_ring(ops: &Ops) {
    let Some(flow) = flow::of_context(ops) else { return };
    if tell(|| ops.tcp(), flow) {
        jump::<{ Part::Count as u32 }>(ops);
    }
    settle(ops, flow);
}

/// The same for a handshake that no reader counts, once its record has left or been lost: [`Part::Count`].
#[inline(always)]
pub fn finish_counting(ops: &Ops) {
    let Some(flow) = flow::of_context(ops) else { return };
    count(flow);
    settle(ops, flow);
}

/// What remains of the flow when the verdict is told.
#[inline(always)]
fn settle(ops: &Ops, flow: &mut Flow) {
    let timer_is_ours = u32::from(flow.added) & RTO != 0;
    if flow.has(bit::REQUESTED) && (flow.role == Role::Client as u8 || timer_is_ours) {
        flow::set_born(ops.sk(), flow.start_ns, timer_is_ours);
    }
    if flow.waits_on != 0 && flow.ttfb_us == UNSEEN_US && !flags::is_shed(Shed::FirstBytes) {
        // The headers built from here on tell when the first byte comes (`first_byte`).
        flags::swap(ops, flow, STATE | RETRANS, WRITE);
    } else {
        flags::swap(ops, flow, STATE | RETRANS | WRITE, 0);
        flow::remove(ops.sk());
    }
}

/// Counts the handshake of a flow and emits its record, where nobody can jump on.
#[inline(always)]
pub fn tell_and_count(tcp: Typed, flow: &mut Flow) {
    if tell(|| Some(tcp), flow) {
        count(flow);
    }
}

/// Adds the handshake of a flow to the totals and writes its record into the block of this CPU. Returns whether it did: not
/// where the block is taken or full, nor where more is to be counted than a record's reader is left with.
#[inline(always)]
fn tell_in_block(tcp: impl FnOnce() -> Option<Typed>, flow: &mut Flow) -> bool {
    let Some(outcome) = Outcome::from_code(flow.outcome) else {
        return false;
    };
    if !has_record(outcome) || flags::control(Control::ReaderCounts) == 0 {
        return false;
    }
    describe(tcp, flow);
    let Some(block) = record::take() else { return false };
    let facts = flow.facts;
    block.put(flow, &facts, outcome);
    true
}

/// Adds the handshake of a flow to the totals and emits its record. Returns whether it is still to be counted otherwise: what a
/// reader can tell of a record is left to it. Rows and namespaces are hash tables, a third of what a Fast Open
/// connection took where their lines are in no cache.
#[inline(always)]
fn tell(tcp: impl FnOnce() -> Option<Typed>, flow: &mut Flow) -> bool {
    // Bounded here, because it becomes an index. Classified before, where the role is a constant: here the verifier
    // would go through the rest once for every way through the classifier.
    let Some(outcome) = Outcome::from_code(flow.outcome) else {
        return false;
    };
    let facts = flow.facts;
    describe(tcp, flow);
    if has_record(outcome) {
        let reader_counts = flags::control(Control::ReaderCounts) != 0;
        record::put_into_ring(flow, &facts, outcome, reader_counts);
    }
    // Last, for an addition waits for all stores before it.
    account::total(facts.role, outcome);
    !flow.has(bit::BY_READER)
}

/// Whether handshakes that end so have records.
#[inline(always)]
fn has_record(outcome: Outcome) -> bool {
    !outcome.is_plain() || config!(emit_plain) == 1
}

/// Fills in what a record needs beyond the verdict, unless the program that has reached it did so already ([`Flow::describe`]).
#[inline(always)]
fn describe(tcp: impl FnOnce() -> Option<Typed>, flow: &mut Flow) {
    flow.stage = stage::FIRST_BYTE;
    if (flow.cgroup_id == 0 || flow.netns == 0)
        && let Some(tcp) = tcp()
    {
        flow.describe(tcp);
    }
}

/// Adds the handshake of a flow to its destination and namespace.
#[inline(always)]
fn count(flow: &Flow) {
    let Some(outcome) = Outcome::from_code(flow.outcome) else {
        return;
    };
    let facts = flow.facts;
    if flow.has(bit::TO_COUNT) {
        account::accepted(flow.netns, facts.role);
    }
    if let Some(row) = account::dest_row(&account::dest_of(flow)) {
        let times = Times {
            now: flow.end_ns,
            handshake_us: flow.handshake_us,
            rtt_us: flow.rtt_us,
        };
        add_to_row(
            row,
            outcome,
            &facts,
            &times,
            flow.saved_us(outcome),
            flow.lost_us(outcome),
        );
        if flow.ttfb_us != UNSEEN_US {
            add_first_byte(row, flow.has(bit::REQUESTED), flow.ttfb_us);
        }
    }
}

/// Adds one handshake to its destination.
#[inline(always)]
fn add_to_row(
    row: *mut DestCounts,
    outcome: Outcome,
    facts: &Handshake,
    times: &Times,
    saved_us: u32,
    lost_us: u32,
) {
    let Some(code) = account::below(outcome as usize, Outcome::COUNT) else {
        return;
    };
    // SAFETY: `row` points to a map value; every index is bounded by `below` or by `bucket`.
    unsafe {
        (*row).last_ns = times.now;
        if saved_us > 0 {
            account::add(&raw mut (*row).saved_us, u64::from(saved_us));
        } else if times.rtt_us != UNSEEN_US {
            account::add(&raw mut (*row).other_rtts_us, u64::from(times.rtt_us));
        } else {
            account::add(&raw mut (*row).without_rtt, 1);
        }
        if !outcome.is_plain() || times.handshake_us == UNSEEN_US {
            account::add(&raw mut (*row).outcomes[code], 1);
        }
        if outcome.is_plain() {
            if facts.syn_retrans > 0 {
                account::add(&raw mut (*row).plain_retrans, 1);
            }
            if times.handshake_us != UNSEEN_US {
                account::add_one32(&raw mut (*row).handshake_plain[bucket(times.handshake_us)]);
            }
            return;
        }
        if times.handshake_us != UNSEEN_US {
            account::add_one32(&raw mut (*row).handshake_tfo[bucket(times.handshake_us)]);
        }
        if facts.syn_data_len > 0 {
            account::add(&raw mut (*row).syn_bytes_acked, u64::from(facts.syn_data_acked));
            let refused = facts.syn_data_len.wrapping_sub(facts.syn_data_acked);
            if refused != 0 {
                account::add(&raw mut (*row).syn_bytes_refused, u64::from(refused));
            }
        }
        if lost_us > 0 {
            account::add(&raw mut (*row).lost_us, u64::from(lost_us));
        }
        if facts.cookie_received {
            account::add(&raw mut (*row).cookies, 1);
        }
    }
}

/// The first payload byte of the server's answer, in [`Flow::ttfb_us`]: for the destination's distribution, unless that is left
/// to the reader of the record, and for that.
#[inline(always)]
pub fn first_byte(flow: &Flow) {
    if !flow.has(bit::BY_READER)
        && let Some(row) = account::dest_row(&account::dest_of(flow))
    {
        add_first_byte(row, flow.has(bit::REQUESTED), flow.ttfb_us);
    }
    if flow.has(bit::EMITTED) {
        tell_first_byte(flow);
    }
}

/// The same of a flow whose record has left, for its reader.
#[inline(always)]
pub fn tell_first_byte(flow: &Flow) {
    let slot = TFO_FIRST_BYTES.at(slots::first_byte_slot(flow.id));
    // SAFETY: points into an array; one aligned store.
    unsafe { *slot = slots::first_byte_value(flow.id, flow.ttfb_us) };
}

/// Adds the time to first byte of a plain connection to its destination's distribution.
#[inline(always)]
pub fn count_plain_first_byte(ops: &Ops, role: Role, ttfb_us: u32) {
    let cgroup_id = match ops.tcp() {
        Some(tcp) => tcp.cgroup_id(),
        None => 0,
    };
    if let Some(row) = account::dest_row(&account::dest_key(ops, role, cgroup_id)) {
        add_first_byte(row, false, ttfb_us);
        account::stat(Stat::PlainFirstBytes);
    }
}

#[inline(always)]
fn add_first_byte(row: *mut DestCounts, tfo: bool, ttfb_us: u32) {
    let slot = bucket(ttfb_us);
    // SAFETY: `row` points to a map value and `bucket` is below BUCKETS.
    unsafe {
        if tfo {
            account::add_one32(&raw mut (*row).ttfb_tfo[slot]);
        } else {
            account::add_one32(&raw mut (*row).ttfb_plain[slot]);
        }
    }
}
