//! Reading kernel memory at positions resolved from BTF.
//!
//! An address here is a plain number: `bpf_probe_read_kernel` accepts any, faults safely and zeroes the
//! destination when it cannot read (include/linux/uaccess.h, `copy_from_kernel_nofault`). So zero stands for
//! "absent", "unreadable" and NULL alike; where a real zero must be told apart, callers ask the layout.
//! Not `Option`: LLVM leaves the payload of `None` undefined and selects on it, and the verifier answers
//! "R1 !read_ok".

use core::mem::MaybeUninit;

use aya_ebpf::{EbpfContext, helpers::generated::bpf_probe_read_kernel};
use tfo_common::layout::FieldLoc;

use crate::layout::layout;

/// Reads `T` at an address; all zero where that fails.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the destination is `size_of::<T>()` writable bytes on our stack; the source may be anything.
    // Every `T` used here is valid for any bit pattern.
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            address as *const _,
        );
        value.assume_init()
    }
}

/// Reads the pointer member at `at` of the structure at `base`.
#[inline(always)]
pub fn pointer(base: u64, at: FieldLoc) -> u64 {
    if at.is_present() && base != 0 {
        read::<u64>(base + u64::from(at.byte))
    } else {
        0
    }
}

/// Reads an unsigned member or bit-field of up to 64 bits.
#[inline(always)]
pub fn uint(base: u64, at: FieldLoc) -> u64 {
    if !at.is_present() || base == 0 {
        return 0;
    }
    let address = base + u64::from(at.byte);
    match at.width {
        64 => read::<u64>(address),
        32 => u64::from(read::<u32>(address)),
        16 => u64::from(read::<u16>(address)),
        8 if at.bit == 0 => u64::from(read::<u8>(address)),
        width => u64::from(read::<u8>(address) >> (at.bit & 7) & ((1 << (width & 7)) - 1)),
    }
}

/// The `struct sock` (or `request_sock`) behind a `sock_ops` context.
///
/// The context pointer is a `struct bpf_sock_ops_kern *`; its `sk` is read from memory because the
/// context's own `sk` is NULL for request sockets, and pointer arithmetic on it is refused ("R1 pointer
/// arithmetic on sock_or_null prohibited").
#[inline(always)]
pub fn sock_of(ctx: &impl EbpfContext) -> u64 {
    context_pointer(ctx, layout!(kern_sk))
}

/// A pointer member of `struct bpf_sock_ops_kern`.
#[inline(always)]
pub fn context_pointer(ctx: &impl EbpfContext, at: FieldLoc) -> u64 {
    let mut value = 0u64;
    if at.is_present() {
        // SAFETY: writes 8 bytes to our stack. The source is the context pointer plus a load-time constant.
        unsafe {
            bpf_probe_read_kernel(
                (&raw mut value).cast(),
                8,
                ctx.as_ptr().cast::<u8>().add(at.byte as usize).cast(),
            );
        }
    }
    value
}

/// cgroup v2 id of a full socket (`sk->sk_cgrp_data.cgroup->kn->id`); 0 where unknown.
#[inline(always)]
pub fn cgroup_id(sk: u64) -> u64 {
    let cgroup = pointer(sk, layout!(sk_cgroup));
    uint(pointer(cgroup, layout!(cgroup_kn)), layout!(kn_id))
}

/// Network namespace (`struct net *`) of any socket.
#[inline(always)]
pub fn net_of(sk: u64) -> u64 {
    pointer(sk, layout!(skc_net))
}

/// Inode of a socket's network namespace; 0 where unknown.
#[inline(always)]
pub fn netns_inode(sk: u64) -> u32 {
    uint(net_of(sk), layout!(net_inum)) as u32
}
