//! Everything that touches the kernel: BPF programs and maps, BTF, cgroupfs, /proc, network namespaces.
//!
//! The only module that knows aya, and the only one with `unsafe`. Other modules see it through
//! [`crate::model::feed::Source`].
#![expect(
    unsafe_code,
    reason = "system calls and map values; each use says why it is sound"
)]

pub mod btf;
pub mod cgroup;
mod cost;
mod counters;
mod error;
mod first_bytes;
mod foreign;
mod host;
mod iterate;
mod layout;
mod log;
mod maps;
pub mod netns;
mod object;
pub mod procfs;
mod programs;
mod rights;
mod ring;
mod session;
mod sys;

pub use error::Error;
pub use session::Session;
