//! Everything that touches the kernel: BPF programs and maps, BTF, cgroupfs, /proc, network namespaces.
//!
//! The only module that knows aya, and the only one with `unsafe`. Other modules see it through
//! [`crate::model::source::Source`].
#![expect(
    unsafe_code,
    reason = "system calls and map values; each use says why it is sound"
)]

mod blocks;
pub mod btf;
pub mod cgroup;
mod cgroup_names;
pub mod command_cgroup;
mod cost;
mod counted;
mod counters;
mod deferred;
mod direct;
pub mod doctor;
mod duplicates;
mod error;
mod first_bytes;
mod foreign;
mod host;
mod iterate;
mod keeper;
pub mod keys;
mod layout;
pub mod link_events;
pub mod listeners;
pub mod listening_socket;
mod log;
mod mapped;
mod maps;
mod neighbours;
mod netlink;
pub mod netns;
mod object;
mod optional;
pub mod places;
pub mod policy;
pub mod procfs;
mod programs;
mod records;
pub mod rights;
mod session;
pub mod spawn;
mod sys;
mod tc;
pub mod tcp_metrics;
pub mod verify_cost;

use std::io;

use crate::fingerprint::Salt;
pub use error::Error;
pub use programs::degradations;
pub use session::Session;
pub use sys::trim_memory;
pub use tc::survive as survive_netlink;

use crate::policy::Now;

/// Now, on the clock of BPF programs (`CLOCK_MONOTONIC`) and on the wall.
pub fn now() -> Now {
    let monotonic_ns = sys::monotonic_ns();
    let wall_ns = sys::wall_offset_ns().saturating_add_unsigned(monotonic_ns);
    Now {
        monotonic_ns,
        wall_ns: u64::try_from(wall_ns).unwrap_or(0),
    }
}

/// What fingerprints of cookies and keys are salted with until the next boot.
pub fn boot_salt() -> Result<Salt, Error> {
    const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
    let fail = |source| Error::Io {
        operation: "read",
        object: BOOT_ID.into(),
        source,
    };
    let text = std::fs::read_to_string(BOOT_ID).map_err(fail)?;
    Salt::of_boot(&text).ok_or_else(|| fail(io::Error::other("not a UUID")))
}
