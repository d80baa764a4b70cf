//! Reading kernel memory at positions resolved from BTF: by a helper from any address ([`read`]), or by a plain load
//! where the verifier knows what a pointer points to ([`Typed`]).
//!
//! An address here is a plain number: `bpf_probe_read_kernel` accepts any, faults safely and zeroes the
//! destination when it cannot read (include/linux/uaccess.h, `copy_from_kernel_nofault`). So zero stands for
//! "absent", "unreadable" and NULL alike; where a real zero must be told apart, callers ask the layout.
//! Not `Option`: LLVM leaves the payload of `None` undefined and selects on it, and the verifier answers
//! "R1 !read_ok".

use core::{arch::asm, ffi::c_void, mem::MaybeUninit};

use aya_ebpf::{
    EbpfContext,
    helpers::generated::{bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_skc_to_tcp_sock},
};

use crate::layout::{Position, layout};

/// Reads `T` at an address; all zero where that fails.
#[inline(always)]
pub fn read<T: Copy>(address: u64) -> T {
    // Not zeroed before: the helper does that where it cannot read.
    let mut value = MaybeUninit::<T>::uninit();
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
pub fn pointer(base: u64, at: Position) -> u64 {
    if at.is_present() && base != 0 {
        read::<u64>(base + at.byte)
    } else {
        0
    }
}

/// Reads an unsigned member or bit-field of up to 64 bits.
#[inline(always)]
pub fn uint(base: u64, at: Position) -> u64 {
    if !at.is_present() || base == 0 {
        return 0;
    }
    let address = base + at.byte;
    if is(at.width, 32) {
        u64::from(read::<u32>(address))
    } else if is(at.width, 64) {
        read::<u64>(address)
    } else if is(at.width, 16) {
        u64::from(read::<u16>(address))
    } else if is(at.width, 8) && is(at.bit, 0) {
        u64::from(read::<u8>(address))
    } else {
        u64::from(read::<u8>(address)) >> (at.bit & 7) & ((1 << (at.width & 7)) - 1)
    }
}

/// Whether a part of a position is this. The verifier knows that part, and removes what is ruled out; LLVM is not to see that
/// the same number is compared several times, for it would make one jump of them, by sixteen instructions of arithmetic that
/// the verifier leaves in.
#[inline(always)]
fn is(part: u64, wanted: u64) -> bool {
    let mut part = part;
    // SAFETY: changes nothing.
    unsafe { asm!("{0} = {0}", inout(reg) part, options(nomem, nostack)) };
    part == wanted
}

/// A pointer to a kernel structure the verifier knows from BTF (`PTR_TO_BTF_ID`). Members are loaded without a helper:
/// a load that faults, NULL included, gives 0 (`BPF_PROBE_MEM`). A tenth of the price of [`read`].
#[derive(Clone, Copy)]
pub struct Typed(*const c_void);

macro_rules! loads {
    ($($name:ident $load:literal;)+) => { $(
        /// The offset is added in assembly: the verifier takes a constant one, LLVM would fold it into other sums.
        #[inline(always)]
        fn $name(self, offset: u64) -> u64 {
            let value: u64;
            // SAFETY: a load from a kernel structure, checked by the verifier against its type.
            unsafe {
                asm!(
                    "{pointer} += {offset}",
                    $load,
                    pointer = inout(reg) self.0 => _,
                    offset = in(reg) offset,
                    value = lateout(reg) value,
                    options(readonly, nostack),
                );
            }
            value
        }
    )+ };
}

impl Typed {
    loads! {
        load64 "{value} = *(u64 *)({pointer} + 0)";
        load32 "{value} = *(u32 *)({pointer} + 0)";
        load16 "{value} = *(u16 *)({pointer} + 0)";
        load8 "{value} = *(u8 *)({pointer} + 0)";
    }

    /// The TCP socket behind a pointer to a socket the verifier knows; `None` for anything else, NULL included.
    #[inline(always)]
    pub fn tcp_sock<T>(socket: *mut T) -> Option<Self> {
        if socket.is_null() {
            return None;
        }
        // SAFETY: a socket, as the verifier checks.
        let tcp = unsafe { bpf_skc_to_tcp_sock(socket.cast()) };
        if tcp.is_null() {
            None
        } else {
            Some(Self(tcp.cast()))
        }
    }

    /// `struct sock *` as a tracepoint passes it, for members of that structure alone.
    #[inline(always)]
    pub fn sock<T>(argument: *mut T) -> Self {
        Self(argument.cast())
    }

    /// The task that runs, or is interrupted. To be called only where [`tfo_common::flags::Config::typed_task`] says so.
    #[inline(always)]
    pub fn current_task() -> Self {
        // SAFETY: no arguments.
        Self(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// When the kernel last looked at the clock for this socket (`tcp_mstamp_refresh`), `CLOCK_MONOTONIC` ns: as a packet
    /// comes in, and as one goes out. 0 where this kernel does not say.
    #[inline(always)]
    pub fn clock(self) -> u64 {
        self.uint(layout!(tp_clock_cache))
    }

    /// As a plain number. The verifier goes on taking it for the pointer it is.
    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }

    /// The address as a number to the verifier as well, which does not let a pointer be calculated with: it forgets what it
    /// was when its sign is changed (`check_alu_op`, kernel/bpf/verifier.c).
    #[inline(always)]
    pub fn number(self) -> u64 {
        let number: u64;
        // SAFETY: changes one register, twice.
        unsafe {
            asm!("{0} = -{0}", "{0} = -{0}", inout(reg) self.0 => number, options(pure, nomem, nostack));
        }
        number
    }

    /// An unsigned member or bit-field of up to 64 bits; 0 where this kernel has none.
    #[inline(always)]
    pub fn uint(self, at: Position) -> u64 {
        if !at.is_present() {
            return 0;
        }
        if is(at.width, 32) {
            self.load32(at.byte)
        } else if is(at.width, 64) {
            self.load64(at.byte)
        } else if is(at.width, 16) {
            self.load16(at.byte)
        } else if is(at.width, 8) && is(at.bit, 0) {
            self.load8(at.byte)
        } else {
            self.load8(at.byte) >> (at.bit & 7) & ((1 << (at.width & 7)) - 1)
        }
    }

    /// Whether a bit-field is anything but zero, in a fifth of the instructions that its number takes.
    #[inline(always)]
    pub fn has(self, at: Position) -> bool {
        at.is_present() && self.load8(at.byte) & at.mask != 0
    }

    /// Whether either of two bit-fields is: most lie in the same byte.
    #[inline(always)]
    pub fn has_either(self, one: Position, other: Position) -> bool {
        if one.is_present() && is(one.byte, other.byte) {
            self.load8(one.byte) & (one.mask | other.mask) != 0
        } else {
            self.has(one) || self.has(other)
        }
    }

    /// Eight bytes of a longer member, from this one on. To be called only where [`Position::is_present`].
    #[inline(always)]
    pub fn word64(self, at: Position, from: u64) -> u64 {
        self.load64(at.byte + from)
    }

    /// What a pointer member points to. To be called only where [`Position::is_present`].
    #[inline(always)]
    pub fn follow(self, at: Position) -> Self {
        Self(self.load64(at.byte) as *const c_void)
    }

    /// cgroup v2 id of a socket; 0 where unknown.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        let (cgroup, node, id) = (layout!(sk_cgroup), layout!(cgroup_kn), layout!(kn_id));
        if !cgroup.is_present() || !node.is_present() || !id.is_present() {
            return 0;
        }
        if cgroup.bit != 0 {
            return cgroup_id(self.address());
        }
        self.follow(cgroup).follow(node).uint(id)
    }

    /// Network namespace of a socket. To be called only where its layout is known ([`netns_is_known`]).
    #[inline(always)]
    pub fn net(self) -> Self {
        self.follow(layout!(skc_net))
    }
}

/// Whether namespaces of sockets, and their inodes, can be found.
#[inline(always)]
pub fn netns_is_known() -> bool {
    layout!(skc_net).is_present() && layout!(net_inum).is_present()
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
pub fn context_pointer(ctx: &impl EbpfContext, at: Position) -> u64 {
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
    let cgroup = cgroup_of(sk);
    if cgroup == 0 {
        return 0;
    }
    uint(pointer(cgroup, layout!(cgroup_kn)), layout!(kn_id))
}

/// `struct cgroup *` of a full socket; 0 where unknown.
///
/// Before 5.15 the pointer is a number with two marks in its low bits, and no pointer at all while they are set:
/// net_cls or net_prio is in use (`sock_cgroup_ptr`, include/linux/cgroup.h).
#[inline(always)]
pub fn cgroup_of(sk: u64) -> u64 {
    let mut at = layout!(sk_cgroup);
    at.bit = 0;
    let cgroup = pointer(sk, at);
    if cgroup & 3 != 0 { 0 } else { cgroup }
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
