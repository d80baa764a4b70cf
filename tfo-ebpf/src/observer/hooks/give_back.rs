//! What a copy that was killed has left on sockets, taken back by the policy that outlives it.
//!
//! A killed process takes no flags back, and while a policy is pinned each of them costs a call for every segment. So the
//! observer hands one of its programs to the policy, which goes on with it ([`tfo_common::policy::AFTER`]): the program keeps
//! the observer's maps, and in these it says which flags are the observer's. Its own marks, read by its own code: nothing
//! is shared but the place of a program.
//!
//! Whether the process lives the kernel tells: it empties [`TFO_PARTS`](crate::observer::maps::TFO_PARTS) with the last
//! descriptor of it (`bpf_fd_array_map_clear`, kernel/bpf/arraymap.c), whatever the process ended by.

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_RTO_CB_FLAG as RTO, BPF_SOCK_OPS_TCP_CONNECT_CB,
        BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE,
    },
    macros::sock_ops,
    programs::SockOpsContext,
};
use tfo_common::{maps::Part, slots};

use crate::{
    kern,
    layout::layout,
    observer::{flow, parts::jump},
    ops::Ops,
};

/// Entry of what a policy goes on with.
#[sock_ops]
pub fn tfo_give_back(ctx: SockOpsContext) -> u32 {
    let ops = Ops { ctx };
    jump::<{ Part::Alive as u32 }>(&ops);
    give_back(&ops);
    1
}

/// [`Part::Alive`].
#[sock_ops]
pub fn tfo_alive(_: SockOpsContext) -> u32 {
    1
}

/// Takes the flags back that a mark says are ours. A mark is used once: the socket may be gone next time, and another one at its
/// address.
#[inline(always)]
fn give_back(ops: &Ops) {
    // A request has no flags of its own.
    if ops.sk().is_null() {
        return;
    }
    let is_child = ops.op() == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB;
    let number = flow::number(ops.sk());
    // What slots say of a socket that begins was said of another one; of a flow its ports and addresses tell.
    let begins = is_child || ops.op() == BPF_SOCK_OPS_TCP_CONNECT_CB;
    let mut ours = 0;
    if used(flow::start_slot(number), number) && !begins {
        ours |= WRITE;
    }
    if used(flow::born_slot(number), number) && !begins {
        ours |= RTO;
    }
    if let Some(flow) = flow::of_context(ops) {
        if flow.is_of_connection(ops) {
            ours |= u32::from(flow.added);
        }
        flow::remove(ops.sk());
    }
    if is_child && inherits_ours(ops) {
        ours |= WRITE;
    }
    let flags = ops.flags();
    if flags & ours != 0 {
        ops.set_flags(flags & !ours);
    }
}

/// Whether a slot says that this socket has a flag of ours. It says so no more.
#[inline(always)]
pub fn used(slot: *mut u64, number: u64) -> bool {
    // SAFETY: points into an array; one aligned load, one aligned store.
    unsafe {
        let value = slot.read_volatile();
        if !slots::start_is_of(number, value) {
            return false;
        }
        slot.write_volatile(0);
        slots::start_added(value)
    }
}

/// Whether the flag of a child is the one that we gave its listener, and nobody else's as well: who is called for this
/// socket beside the policy may have wanted it.
#[inline(always)]
fn inherits_ours(ops: &Ops) -> bool {
    if ops.flags() & WRITE == 0 {
        return false;
    }
    let sk = kern::sock_of(&ops.ctx);
    flow::is_primed(kern::netns_inode(sk), ops.local_port()) && is_alone(sk)
}

/// Whether the policy's is the only `sock_ops` program that is called for a socket.
#[inline(always)]
fn is_alone(sk: u64) -> bool {
    let (programs, second) = (layout!(cgroup_sock_ops), layout!(second_program));
    if !second.is_present() {
        return false;
    }
    let programs = kern::pointer(kern::cgroup_of(sk), programs);
    programs != 0 && kern::pointer(programs, second) == 0
}
