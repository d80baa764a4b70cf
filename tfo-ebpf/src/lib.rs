//! Kernel side of tfo-cli. Two BPF objects are made of this library, one by each cargo feature:
//!
//! - `observer` (object `tfo-ebpf`): watches TCP handshakes, classifies, counts and reports them ([`observer`]);
//! - `policy` (object `tfo-policy`): keeps SYN data from leaving where a rule or a guard says so ([`policy`]).
//!
//! The modules beside them are for both: a `sock_ops` context ([`ops`]), reading kernel memory ([`kern`],
//! [`layout`]), arrays at known addresses ([`direct`]), counters that CPUs share ([`atomic`]), socket storage ([`storage`]) and the way from one program to another ([`tail`]).
//!
//! A feature each, because every `static` of a map would otherwise be in both objects, and loading one would create
//! the maps of the other. On the host the library is empty, so that `cargo check --workspace` needs no eBPF toolchain.
#![cfg(target_arch = "bpf")]
#![no_std]
#![feature(asm_experimental_arch)]
#![expect(
    unsafe_code,
    reason = "BPF helpers and context accesses are unsafe; each use says why it is sound"
)]

pub mod atomic;
pub mod direct;
pub mod forget;
pub mod kern;
pub mod layout;
#[cfg(feature = "observer")]
pub mod observer;
pub mod ops;
#[cfg(feature = "policy")]
pub mod policy;
pub mod storage;
pub mod tail;

/// Lets the kernel hand us GPL-only helpers (`bpf_probe_read_kernel`, `bpf_ktime_get_ns`).
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// Counters of blocks, for `cargo xtask profile`, which puts the instructions that count into the compiled programs
/// (xtask/src/bpf_object/count.rs) and knows it by this name and length.
#[cfg(feature = "counting")]
#[unsafe(link_section = ".data")]
#[unsafe(no_mangle)]
#[used]
static mut TFO_COUNTERS: [u64; 16_384] = [0; 16_384];

/// Nothing here panics; the verifier would reject the loop if it were reachable.
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
