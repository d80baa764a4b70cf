//! From one `sock_ops` program to another: tail calls.
//!
//! The index is part of each jump. With a constant one, and a map that is known, the x86 compiler writes a direct
//! jump (`bpf_tail_call_direct_fixup`, arch/x86/net/bpf_jit_comp.c); left to LLVM, jumps that differ only in their
//! index become one with a computed index, hence an indirect branch with its mitigations.

use core::arch::asm;

use aya_ebpf::EbpfContext as _;

use crate::{observer::maps::TFO_PARTS, ops::Ops};

/// Goes on in this part, and does not come back. It only comes back where user space, in the course of its death,
/// has lost the array of programs: then nobody is left to tell.
#[inline(always)]
pub fn jump<const PART: u32>(ops: &Ops) {
    // SAFETY: `bpf_tail_call` (helper 12) with our own context, a program array and an index below its size. What
    // the stack holds is dropped with it: nothing here needs more.
    unsafe {
        asm!(
            "r3 = {part}",
            "call 12",
            part = const PART,
            inlateout("r1") ops.ctx.as_ptr() => _,
            inlateout("r2") &raw const TFO_PARTS => _,
            out("r0") _, out("r3") _, out("r4") _, out("r5") _,
        );
    }
}
