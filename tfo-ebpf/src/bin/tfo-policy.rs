//! The object with the enforcement programs: all of it is [`tfo_ebpf::policy`]. On the host an empty program.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]

#[cfg(target_arch = "bpf")]
use tfo_ebpf as _;

#[cfg(not(target_arch = "bpf"))]
fn main() {}
