//! `iter/tcp`: sockets that exist already, in the network namespace of whoever reads the iterator.
//!
//! Three programs: list listeners and connects that wait for their first write, prime listeners (set the callback flag), release (take our flags back from
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
use tfo_common::{
    flags::Control,
    listener::{Arrival, DeferredRecord, Listed, ListenerRecord, Primed, UNKNOWN},
};

use super::{flags, give_back};
use crate::{
    kern::{self, Typed},
    layout::{Position, layout},
    observer::{account, flow, listener, maps::config},
};

/// `SOL_TCP` and `TCP_BPF_SOCK_OPS_CB_FLAGS` (include/uapi/linux/bpf.h).
const SOL_TCP: i32 = 6;
const CB_FLAGS: i32 = 1008;
/// `TCP_SYN_SENT`, `TCP_LISTEN` (include/net/tcp_states.h) and `AF_INET6`.
const SYN_SENT: u64 = 2;
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

/// Lists listeners, and connects that wait for their first write.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tfo_list(ctx: *mut IterTcp) -> i32 {
    let Some(sk) = full_socket(ctx) else { return 0 };
    match state(sk) {
        LISTEN if is_in_scope(sk as u64) => tell_listener(ctx, sk, Primed::No),
        SYN_SENT if kern::uint(sk as u64, layout!(inet_defer_connect)) != 0 && is_in_scope(sk as u64) => {
            write(ctx, &deferred(sk as u64));
        }
        _ => {}
    }
    0
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
        if let Some(mark) = listener::mark(sk) {
            mark.added = WRITE;
        }
        flow::set_primed(
            kern::netns_inode(sk as u64),
            kern::uint(sk as u64, layout!(skc_num)) as u16,
        );
        Primed::Done
    })
}

/// Takes back the flags we added: from connections with a flow what the flow says, from others with Fast Open the timer's
/// where its slot says so, from listeners what their mark says. While no foreign `sock_ops` program is loaded every flag is ours, also on sockets that
/// have neither: plain connections, those past their first byte, listeners primed by an instance that was
/// killed or that ended before us. Otherwise such flags stay: they may be the other's.
#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/tcp")]
pub extern "C" fn tfo_release(ctx: *mut IterTcp) -> i32 {
    let Some(sk) = full_socket(ctx) else { return 0 };
    let mut ours = 0;
    if let Some(flow) = flow::of(sk) {
        ours = u32::from(flow.added);
        flow.added = 0;
    }
    if let Some(mark) = listener::mark_of(sk) {
        ours |= mark.added;
        mark.added = 0;
    }
    // What was said of another socket at this address was said of one with Fast Open, and is said anew of the next.
    let number = flow::number(sk);
    if has_fast_open(sk as u64) && give_back::used(flow::born_slot(number), number) {
        ours |= RTO;
    }
    if flags::inherited_is_ours() {
        ours = WRITE | STATE | RTO | RETRANS;
    }
    let flags = cb_flags(sk);
    if flags & ours != 0 && !set_cb_flags(sk, flags & !ours) {
        flags::raise(Control::ReleaseRefused);
    }
    0
}

/// Whether a connection used Fast Open, at either end.
#[inline(always)]
fn has_fast_open(sk: u64) -> bool {
    (kern::uint(sk, layout!(tp_syn_fastopen)) | kern::uint(sk, layout!(tp_syn_data_acked))) != 0
}

/// Runs `act` on a listening socket and writes its record for user space to read.
#[inline(always)]
fn for_listener(ctx: *mut IterTcp, act: impl FnOnce(*mut tcp_sock) -> Primed) -> i32 {
    let Some(sk) = full_socket(ctx) else { return 0 };
    if state(sk) == LISTEN {
        tell_listener(ctx, sk, act(sk));
    }
    0
}

#[inline(always)]
fn tell_listener(ctx: *mut IterTcp, sk: *mut tcp_sock, primed: Primed) {
    // SAFETY: the kernel passes a valid context.
    let uid = unsafe { (*ctx).uid };
    let mut record = describe(sk as u64, uid, primed);
    record.arrivals = account::arrivals(Typed::sock(sk).number());
    write(ctx, &record);
}

/// Writes a record. Where it does not fit, the kernel makes room and comes again.
#[inline(always)]
fn write<T>(ctx: *mut IterTcp, record: &T) {
    // SAFETY: `seq` belongs to this iteration; the record is initialised, padding included.
    unsafe {
        bpf_seq_write(
            (*(*ctx).meta).seq,
            core::ptr::from_ref(record).cast_mut().cast(),
            size_of::<T>() as u32,
        );
    }
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
    let ancestor = kern::read::<u64>(cgroup + ancestors.byte + u64::from(level) * 8);
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
    let (sysctl, net) = (layout!(net_tcp_fastopen), kern::net_of(sk));
    let is_v6 = kern::uint(sk, layout!(skc_family)) == AF_INET6;
    ListenerRecord {
        kind: Listed::Listener as u8,
        family: if is_v6 { 6 } else { 4 },
        primed: primed as u8,
        mptcp: uint(layout!(tp_is_mptcp)) as u8 & 1,
        netns: kern::netns_inode(sk),
        cgroup_id: kern::cgroup_id(sk),
        local: address(sk, is_v6, layout!(skc_rcv_saddr), layout!(skc_v6_rcv_saddr)),
        tfo_qlen: uint(layout!(tfo_qlen)),
        tfo_max_qlen: uint(layout!(tfo_max_qlen)),
        backlog: uint(layout!(sk_ack_backlog)),
        max_backlog: uint(layout!(sk_max_ack_backlog)),
        uid,
        tcp_fastopen: if sysctl.is_present() && net != 0 {
            kern::uint(net, sysctl) as u32
        } else {
            UNKNOWN
        },
        local_port: uint(layout!(skc_num)) as u16,
        pad: [0; 3],
        inode: inode(sk),
        arrivals: [0; Arrival::COUNT],
    }
}

/// The record of a connect that waits for its first write.
#[inline(always)]
fn deferred(sk: u64) -> DeferredRecord {
    // An IPv6 socket with an IPv4-mapped destination has the IPv4 address as well (`tcp_v6_connect`).
    let v4 = kern::uint(sk, layout!(skc_daddr));
    let is_v6 = kern::uint(sk, layout!(skc_family)) == AF_INET6 && v4 == 0;
    DeferredRecord {
        kind: Listed::Deferred as u8,
        family: if is_v6 { 6 } else { 4 },
        port: u16::from_be(kern::uint(sk, layout!(skc_dport)) as u16),
        netns: kern::netns_inode(sk),
        cgroup_id: kern::cgroup_id(sk),
        remote: address(sk, is_v6, layout!(skc_daddr), layout!(skc_v6_daddr)),
        inode: inode(sk),
    }
}

/// Inode number of what the application holds of a socket.
#[inline(always)]
fn inode(sk: u64) -> u64 {
    kern::uint(kern::pointer(sk, layout!(sk_socket)), layout!(socket_inode))
}

/// An address of a socket, network order; IPv4 in the first four bytes.
#[inline(always)]
fn address(sk: u64, is_v6: bool, v4: Position, v6: Position) -> [u8; 16] {
    let mut address = [0; 16];
    if is_v6 {
        if v6.is_present() {
            address = kern::read(sk + v6.byte);
        }
    } else {
        let bytes = (kern::uint(sk, v4) as u32).to_ne_bytes();
        address[0] = bytes[0];
        address[1] = bytes[1];
        address[2] = bytes[2];
        address[3] = bytes[3];
    }
    address
}
