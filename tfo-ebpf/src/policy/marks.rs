//! The mark on a socket: made by the egress program, used by the others.

use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_sk_fullsock, programs::SkBuffContext};
use tfo_common::policy::{MARK_VERSION, Mark};

use super::{count, maps::TFO_POL_MARKS};
use crate::{kern::Typed, layout::layout, storage};

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
    let sk = socket_of(skb);
    of(sk, Typed::tcp_sock(sk)?, were_made())
}

/// The mark of a packet's socket, made if there is none.
#[inline(always)]
pub fn make_for_packet<'a>(ctx: &SkBuffContext) -> Option<&'a mut Mark> {
    make(socket_of(ctx.skb.skb))
}

/// The mark of a socket. As long as none was made for any socket ([`were_made`]) there is nothing to look at, and nothing at all is
/// stored on most of them, which a plain load shows; `bpf_sk_storage_get` looks for it in memory of its own.
#[inline(always)]
pub fn of<'a>(sk: *mut bpf_sock, tcp: Typed, were_made: bool) -> Option<&'a mut Mark> {
    if !were_made {
        return None;
    }
    if layout!(sk_storage).is_present() && tcp.uint(layout!(sk_storage)) == 0 {
        return None;
    }
    storage::get(&TFO_POL_MARKS, sk)
}

/// Whether a mark was ever made for a socket.
#[inline(always)]
pub fn were_made() -> bool {
    count::learned().marked != 0
}

/// The mark of a socket, made if there is none.
#[inline(always)]
pub fn make<'a>(sk: *mut bpf_sock) -> Option<&'a mut Mark> {
    // Before it is made: who has the same socket's lock next has to find it.
    let known = count::learned();
    if known.marked == 0 {
        known.marked = 1;
    }
    let mark = storage::get_or_create(&TFO_POL_MARKS, sk)?;
    mark.version = MARK_VERSION;
    Some(mark)
}
