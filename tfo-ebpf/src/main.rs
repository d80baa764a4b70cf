//! Kernel side of tfo-cli: watches TCP handshakes, classifies them with `tfo-common`, counts them and emits
//! one record per flow in which TCP Fast Open had a part.
//!
//! ```text
//! sock_ops ------> hooks::client   SYN built, SYN-ACK, failure, first byte
//!          \-----> hooks::server   listen(), SYN answered, child created, first byte
//! tp_btf --------> hooks::trace    RST received, SYN-ACK retransmitted, socket destroyed
//! iter/tcp ------> hooks::listeners  callback flags on sockets that existed before us
//!                       |
//!                  flow (socket storage) -> finish -> totals, destination table, ring
//! ```
//!
//! Rules for every hook: return 1, never write `reply`, OR callback flags in and take only our own out
//! (other programs share them), never loop over packets, count whatever could not be kept.
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
mod account;
#[cfg(target_arch = "bpf")]
mod atomic;
#[cfg(target_arch = "bpf")]
mod finish;
#[cfg(target_arch = "bpf")]
mod flow;
#[cfg(target_arch = "bpf")]
mod global;
#[cfg(target_arch = "bpf")]
mod hooks;
#[cfg(target_arch = "bpf")]
mod kern;
#[cfg(target_arch = "bpf")]
mod maps;
#[cfg(target_arch = "bpf")]
mod mark;
#[cfg(target_arch = "bpf")]
mod ops;

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

/// On the host this crate is an empty program, so that `cargo check --workspace` works without the eBPF
/// toolchain.
#[cfg(not(target_arch = "bpf"))]
fn main() {}
