//! From one `sock_ops` program to another: tail calls; used by both objects.
//!
//! The index is part of each call. With a constant one, and a map that is known, the x86 compiler writes a direct jump
//! (`bpf_tail_call_direct_fixup`, arch/x86/net/bpf_jit_comp.c); left to LLVM, calls that differ only in their index become one
//! with a computed index, hence an indirect branch with its mitigations. Where nothing is at the index the direct jump is no
//! instruction at all.

use core::arch::asm;

use aya_ebpf::{EbpfContext as _, btf_maps::ProgramArray};

use crate::ops::Ops;

/// Goes on in the program at this index, and does not come back. It only comes back where nothing is there.
#[inline(always)]
pub fn call<const INDEX: u32, const LENGTH: usize>(ops: &Ops, programs: &'static ProgramArray<LENGTH>) {
    // SAFETY: `bpf_tail_call` (helper 12) with our own context, a program array and an index below its size. What the stack
    // holds is dropped with it: nothing here needs more.
    unsafe {
        asm!(
            "r3 = {index}",
            "call 12",
            index = const INDEX,
            inlateout("r1") ops.ctx.as_ptr() => _,
            inlateout("r2") core::ptr::from_ref(programs) => _,
            out("r0") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}
