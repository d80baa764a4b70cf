//! `iter/tcp`: sockets that exist already, in the network namespace of whoever reads the iterator.
//!
//! Three programs: list listeners, prime them (set the callback flag), release (take our flags back from
//! every socket). Setting flags from an iterator needs `TCP_BPF_SOCK_OPS_CB_FLAGS` in `bpf_setsockopt`
//! (6.12); where the helper or the option is missing, user space falls back to listing.

use core::ffi::c_void;

use aya_ebpf::{
    bindings::{
        BPF_SOCK_OPS_RETRANS_CB_FLAG as RETRANS, BPF_SOCK_OPS_RTO_CB_FLAG as RTO,
        BPF_SOCK_OPS_STATE_CB_FLAG as STATE, BPF_SOCK_OPS_WRITE_HDR_OPT_CB_FLAG as WRITE, seq_file, tcp_sock,
    },
    helpers::generated::{bpf_seq_write, bpf_setsockopt, bpf_skc_to_tcp_sock},
};
use tfo_common::listener::{ListenerRecord, Primed};

use super::flags;
use crate::{
    kern,
    layout::layout,
    observer::{flow, maps::config},
};

/// `SOL_TCP` and `TCP_BPF_SOCK_OPS_CB_FLAGS` (include/uapi/linux/bpf.h).
const SOL_TCP: i32 = 6;
const CB_FLAGS: i32 = 1008;
/// `TCP_LISTEN` (include/net/tcp_states.h) and `AF_INET6`.
const LISTEN: u64 = 10;
const AF_INET6: u64 = 10;

/// Context of an `iter/tcp` program (`struct bpf_iter__tcp`, net/ipv4/tcp_ipv4.c). The verifier checks each
/// access against the kernel's own type.
#[repr(C)]
pub struct IterTcp {
    meta: *const IterMeta,
    sk_common: *mut c_void,
    uid: u32,
}

/// `struct bpf_iter_meta` (include/linux/bpf.h).
#[repr(C)]
pub struct IterMeta {
    seq: *mut seq_file,
}

/// Lists listeners.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tfo_list(ctx: *mut IterTcp) -> i32 {
    for_listener(ctx, |_| Primed::No)
}

/// Sets the callback flag on listeners and lists them.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tfo_prime(ctx: *mut IterTcp) -> i32 {
    for_listener(ctx, |sk| {
        if !is_in_scope(sk as u64) {
            return Primed::No;
        }
        let flags = cb_flags(sk);
        if flags & WRITE != 0 {
            return Primed::Already;
        }
        if !set_cb_flags(sk, flags | WRITE) {
            return Primed::Refused;
        }
        if let Some(mark) = flow::mark(sk) {
            mark.added = WRITE;
        }
        Primed::Done
    })
}

/// Takes back the flags we added: from connections with a flow what the flow says, from listeners what
/// their mark says. While no foreign `sock_ops` program is loaded every flag is ours, also on sockets that
/// have neither: plain connections, those past their first byte, listeners primed by an instance that was
/// killed or that ended before us. Otherwise such flags stay: they may be the other's.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tfo_release(ctx: *mut IterTcp) -> i32 {
    let Some(sk) = full_socket(ctx) else { return 0 };
    let mut ours = 0;
    if let Some(flow) = flow::of(sk as u64) {
        ours = u32::from(flow.added);
        flow.added = 0;
    }
    if let Some(mark) = flow::mark_of(sk) {
        ours |= mark.added;
        mark.added = 0;
    }
    if flags::inherited_is_ours() {
        ours = WRITE | STATE | RTO | RETRANS;
    }
    let flags = cb_flags(sk);
    if flags & ours != 0 {
        set_cb_flags(sk, flags & !ours);
    }
    0
}

/// Runs `act` on a listening socket and writes its record for user space to read.
#[inline(always)]
fn for_listener(ctx: *mut IterTcp, act: impl FnOnce(*mut tcp_sock) -> Primed) -> i32 {
    let Some(sk) = full_socket(ctx) else { return 0 };
    if state(sk) != LISTEN {
        return 0;
    }
    let primed = act(sk);
    // SAFETY: the kernel passes a valid context.
    let uid = unsafe { (*ctx).uid };
    let record = describe(sk as u64, uid, primed);
    // SAFETY: `seq` belongs to this iteration; the record is initialised, padding included.
    unsafe {
        bpf_seq_write(
            (*(*ctx).meta).seq,
            (&raw const record).cast(),
            size_of::<ListenerRecord>() as u32,
        );
    }
    0
}

/// Whether a full socket belongs to the cgroup observed (`cgroup_is_descendant`); true where that cannot be
/// told.
#[inline(always)]
fn is_in_scope(sk: u64) -> bool {
    let scope = config!(scope_id);
    let level = config!(scope_level);
    let ancestors = layout!(cgroup_ancestors);
    if scope == 0 || !ancestors.is_present() {
        return true;
    }
    let cgroup = kern::pointer(sk, layout!(sk_cgroup));
    if kern::uint(cgroup, layout!(cgroup_level)) < u64::from(level) {
        return false;
    }
    let ancestor = kern::read::<u64>(cgroup + u64::from(ancestors.byte) + u64::from(level) * 8);
    kern::uint(kern::pointer(ancestor, layout!(cgroup_kn)), layout!(kn_id)) == scope
}

/// The socket at hand as a full TCP socket; `None` for requests and TIME-WAIT.
#[inline(always)]
fn full_socket(ctx: *mut IterTcp) -> Option<*mut tcp_sock> {
    // SAFETY: the kernel passes a valid context; `sk_common` is NULL after the last socket.
    unsafe {
        let common = (*ctx).sk_common;
        if common.is_null() {
            return None;
        }
        let sk = bpf_skc_to_tcp_sock(common);
        if sk.is_null() { None } else { Some(sk) }
    }
}

#[inline(always)]
fn state(sk: *mut tcp_sock) -> u64 {
    kern::uint(sk as u64, layout!(skc_state))
}

#[inline(always)]
fn cb_flags(sk: *mut tcp_sock) -> u32 {
    kern::uint(sk as u64, layout!(tp_cb_flags)) as u32
}

#[inline(always)]
fn set_cb_flags(sk: *mut tcp_sock, flags: u32) -> bool {
    let mut value = flags;
    // SAFETY: `sk` is the iterator's locked socket; the option value is 4 bytes on our stack.
    unsafe { bpf_setsockopt(sk.cast(), SOL_TCP, CB_FLAGS, (&raw mut value).cast(), 4) == 0 }
}

/// The record of a listening socket at this address.
#[inline(always)]
fn describe(sk: u64, uid: u32, primed: Primed) -> ListenerRecord {
    let uint = |at| kern::uint(sk, at) as u32;
    let mut record = ListenerRecord {
        cgroup_id: kern::cgroup_id(sk),
        local: [0; 16],
        netns: kern::netns_inode(sk),
        tfo_qlen: uint(layout!(tfo_qlen)),
        tfo_max_qlen: uint(layout!(tfo_max_qlen)),
        backlog: uint(layout!(sk_ack_backlog)),
        max_backlog: uint(layout!(sk_max_ack_backlog)),
        uid,
        local_port: uint(layout!(skc_num)) as u16,
        family: 4,
        primed: primed as u8,
        pad: 0,
    };
    if u64::from(uint(layout!(skc_family))) == AF_INET6 {
        record.family = 6;
        let at = layout!(skc_v6_rcv_saddr);
        if at.is_present() {
            record.local = kern::read(sk + u64::from(at.byte));
        }
    } else {
        let address = uint(layout!(skc_rcv_saddr)).to_ne_bytes();
        record.local[0] = address[0];
        record.local[1] = address[1];
        record.local[2] = address[2];
        record.local[3] = address[3];
    }
    record
}
