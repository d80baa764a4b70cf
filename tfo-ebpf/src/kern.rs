//! Reading kernel memory at positions resolved from BTF.
//!
//! An address here is a plain number: `bpf_probe_read_kernel` accepts any, faults safely and answers an
//! error for a bad one. A member that is absent or unreadable reads as `None`.

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext, helpers::generated::bpf_probe_read_kernel};
use tfo_common::layout::FieldLoc;

use crate::maps::global;

/// Reads `T` at an address.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the destination is `size_of::<T>()` writable bytes on our stack; the source may be anything.
    let error = unsafe {
        bpf_probe_read_kernel(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _)
    };
    // SAFETY: on success every byte was written, and every `T` used here is valid for any bit pattern.
    if error == 0 { Some(unsafe { value.assume_init() }) } else { None }
}

/// Reads the pointer member at `at` of the structure at `base`; NULL is `None`.
#[inline(always)]
pub fn pointer(base: u64, at: FieldLoc) -> Option<u64> {
    if !at.is_present() {
        return None;
    }
    match read::<u64>(base + u64::from(at.byte)) {
        Some(0) | None => None,
        pointer => pointer,
    }
}

/// Reads an unsigned member or bit-field of up to 64 bits.
#[inline(always)]
pub fn uint(base: u64, at: FieldLoc) -> Option<u64> {
    if !at.is_present() {
        return None;
    }
    let address = base + u64::from(at.byte);
    match at.width {
        64 => read::<u64>(address),
        32 => read::<u32>(address).map(u64::from),
        16 => read::<u16>(address).map(u64::from),
        8 if at.bit == 0 => read::<u8>(address).map(u64::from),
        width => read::<u8>(address).map(|byte| u64::from(byte >> (at.bit & 7) & ((1 << (width & 7)) - 1))),
    }
}

/// The `struct sock` (or `request_sock`) behind a `sock_ops` context.
///
/// The context pointer is a `struct bpf_sock_ops_kern *`; its `sk` is read from memory because the
/// context's own `sk` is NULL for request sockets, and pointer arithmetic on it is refused ("R1 pointer
/// arithmetic on sock_or_null prohibited").
#[inline(always)]
pub fn sock_of(ctx: &impl EbpfContext) -> Option<u64> {
    context_pointer(ctx, global!(TFO_LAYOUT, kern_sk))
}

/// A pointer member of `struct bpf_sock_ops_kern`.
#[inline(always)]
pub fn context_pointer(ctx: &impl EbpfContext, at: FieldLoc) -> Option<u64> {
    if !at.is_present() {
        return None;
    }
    let mut value = 0u64;
    // SAFETY: writes 8 bytes to our stack. The source is the context pointer plus a load-time constant.
    let error = unsafe {
        bpf_probe_read_kernel(
            (&raw mut value).cast(),
            8,
            ctx.as_ptr().cast::<u8>().add(at.byte as usize).cast(),
        )
    };
    if error == 0 && value != 0 { Some(value) } else { None }
}

/// cgroup v2 id of a full socket (`sk->sk_cgrp_data.cgroup->kn->id`); 0 where unknown.
#[inline(always)]
pub fn cgroup_id(sk: u64) -> u64 {
    let Some(cgroup) = pointer(sk, global!(TFO_LAYOUT, sk_cgroup)) else { return 0 };
    let Some(kn) = pointer(cgroup, global!(TFO_LAYOUT, cgroup_kn)) else { return 0 };
    uint(kn, global!(TFO_LAYOUT, kn_id)).unwrap_or(0)
}

/// Network namespace (`struct net *`) of any socket.
#[inline(always)]
pub fn net_of(sk: u64) -> Option<u64> {
    pointer(sk, global!(TFO_LAYOUT, skc_net))
}

/// Inode of a socket's network namespace; 0 where unknown.
#[inline(always)]
pub fn netns_inode(sk: u64) -> u32 {
    net_of(sk).and_then(|net| uint(net, global!(TFO_LAYOUT, net_inum))).unwrap_or(0) as u32
}
