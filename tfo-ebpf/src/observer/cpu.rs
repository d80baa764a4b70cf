//! Which CPU a program runs on.

use aya_ebpf::helpers::generated::bpf_get_smp_processor_id;

/// Number of this CPU.
#[inline(always)]
pub fn number() -> u32 {
    // SAFETY: no arguments.
    unsafe { bpf_get_smp_processor_id() }
}
