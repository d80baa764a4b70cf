//! The mark on a socket: made by the egress program, used by the others.

use aya_ebpf::{
    bindings::{BPF_SK_STORAGE_GET_F_CREATE, bpf_sock},
    helpers::generated::{bpf_sk_fullsock, bpf_sk_storage_get},
    programs::SkBuffContext,
};
use tfo_common::policy::Mark;

use crate::maps::TFO_POL_MARKS;

/// The socket of a packet, if it is a full one.
#[inline(always)]
pub fn socket_of(skb: *mut aya_ebpf::bindings::__sk_buff) -> *mut bpf_sock {
    // SAFETY: a valid context; the verifier knows `sk` as a socket or NULL, and `bpf_sk_fullsock` answers NULL
    // for request and time-wait sockets.
    unsafe {
        let sk = (*skb).__bindgen_anon_2.sk;
        if sk.is_null() {
            return core::ptr::null_mut();
        }
        bpf_sk_fullsock(sk)
    }
}

/// The mark of a packet's socket.
#[inline(always)]
pub fn of_packet<'a>(skb: *mut aya_ebpf::bindings::__sk_buff) -> Option<&'a mut Mark> {
    of(socket_of(skb))
}

/// The mark of a packet's socket, made if there is none.
#[inline(always)]
pub fn make_for_packet<'a>(ctx: &SkBuffContext) -> Option<&'a mut Mark> {
    make(socket_of(ctx.skb.skb))
}

/// The mark of a socket.
#[inline(always)]
pub fn of<'a>(sk: *mut bpf_sock) -> Option<&'a mut Mark> {
    storage(sk, 0)
}

/// The mark of a socket, made if there is none.
#[inline(always)]
pub fn make<'a>(sk: *mut bpf_sock) -> Option<&'a mut Mark> {
    storage(sk, u64::from(BPF_SK_STORAGE_GET_F_CREATE))
}

#[inline(always)]
fn storage<'a>(sk: *mut bpf_sock, flags: u64) -> Option<&'a mut Mark> {
    if sk.is_null() {
        return None;
    }
    let map = (&raw const TFO_POL_MARKS).cast_mut().cast();
    // SAFETY: a socket storage map of this object whose value is `Mark`; `sk` was checked; a NULL initial value
    // means zero. The result is NULL or points to a value that lives as long as the socket, which the kernel
    // holds during the call; programs of one connection run under its lock.
    unsafe {
        bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags)
            .cast::<Mark>()
            .as_mut()
    }
}
