//! What rides in a SYN that leaves: looked at in the packet, and only a bit of the socket's mark remembers it. The bytes
//! never leave the kernel.

use core::mem::MaybeUninit;

use aya_ebpf::{helpers::generated::bpf_skb_load_bytes, programs::SkBuffContext};
use tfo_common::carried::{Carried, Head};

use crate::{
    forget::forget,
    policy::{marks, syn::Syn},
};

/// Whether a SYN carries data that may not be sent twice: the bit of a mark that says so ([`tfo_common::policy::mark`]), else 0.
///
/// Fewer bytes than a [`Head`] has are not looked at: no request that ends is that short. Nor is anything where nobody wants to
/// know ([`InForce::observed`](tfo_common::policy::InForce::observed)).
#[inline(always)]
pub fn look(ctx: &SkBuffContext, syn: &Syn, observed: u32, noise: u64) -> u64 {
    // Copies, or the verifier would remember which of the two it was.
    if forget(observed.into(), noise) == 0 || (forget(syn.payload.into(), noise) as u32) < Head::LEN as u32 {
        return 0;
    }
    let mut words = MaybeUninit::<[u64; 2]>::uninit();
    // SAFETY: a valid context and a buffer of the length we say, which the helper fills: with zeros if it fails.
    let words = unsafe {
        bpf_skb_load_bytes(
            ctx.skb.skb.cast(),
            syn.payload_at,
            words.as_mut_ptr().cast(),
            Head::LEN as u32,
        );
        words.assume_init()
    };
    let bit = Carried::of_head(Head::of_words(words), syn.payload).mark();
    bit.into()
}

/// Takes note of it. Of other data nothing is kept, and no mark is made for it.
#[inline(always)]
pub fn note(ctx: &SkBuffContext, bit: u64) {
    // A socket that connects again begins with a mark that says nothing (`sock_ops`).
    if let Some(mark) = marks::make_for_packet(ctx) {
        mark.flags |= bit as u8;
    }
}
