//! Enforcement side of tfo-cli: keeps SYN data, or the whole TFO option, from leaving where a rule or a guard
//! says so, without the application noticing.
//!
//! ```text
//! cgroup_skb/egress -> syn -> lookup (rules, guard) -> deny or pass, and a mark on the socket
//!                                                                      |
//! TCX egress ---------> strip: marked SYNs lose the TFO option <-------+
//! sock_ops -----------> established: the push that prevents a stall <--+
//!                       outcome of marked handshakes -> guard
//! ```
//!
//! Rules for every program: whatever cannot be decided passes; other programs on the same hook see the same
//! packets and verdicts as without us, except the SYNs we deny; everything kept on a socket goes with it.
#![cfg_attr(target_arch = "bpf", no_std, no_main)]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]
#![cfg_attr(
    target_arch = "bpf",
    expect(
        unsafe_code,
        reason = "BPF helpers and context accesses are unsafe; each use says why it is sound"
    )
)]

#[cfg(target_arch = "bpf")]
#[path = "../atomic.rs"]
mod atomic;
#[cfg(target_arch = "bpf")]
mod count;
#[cfg(target_arch = "bpf")]
mod egress;
#[cfg(target_arch = "bpf")]
#[path = "../global.rs"]
mod global;
#[cfg(target_arch = "bpf")]
mod guard;
#[cfg(target_arch = "bpf")]
#[path = "../kern.rs"]
#[expect(dead_code, reason = "the observer uses the rest of it")]
mod kern;
#[cfg(target_arch = "bpf")]
mod lookup;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod marks;
#[cfg(target_arch = "bpf")]
#[path = "../ops.rs"]
#[expect(dead_code, reason = "the observer uses the rest of it")]
mod ops;
#[cfg(target_arch = "bpf")]
mod options;
#[cfg(target_arch = "bpf")]
mod risk;
#[cfg(target_arch = "bpf")]
mod sock_ops;
#[cfg(target_arch = "bpf")]
mod strip;
#[cfg(target_arch = "bpf")]
mod syn;

/// Lets the kernel hand us GPL-only helpers (`bpf_probe_read_kernel`, `bpf_ktime_get_ns`).
#[cfg(target_arch = "bpf")]
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Nothing here panics; the verifier would reject the loop if it were reachable.
#[cfg(target_arch = "bpf")]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

/// On the host this is an empty program, so that `cargo check --workspace` works without the eBPF toolchain.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
