//! Enforcement, the part that touches the kernel: programs, pinned maps and links, cgroups, interfaces.
//!
//! Everything lies in one directory of a bpffs (0700, `/sys/fs/bpf/tfo-cli` unless told otherwise):
//! ```text
//! TFO_POL_*                    maps
//! link-sockops, link-egress    the two programs on the root of the cgroup2 hierarchy
//! prog-strip                   the classifier, to be attached to more interfaces later
//! tcx-*, clsact-*, every-*     where it is attached, and where it is to be (see `strip::pin`)
//! ```
//! `link-egress` is pinned last and removed first: the set is in force exactly while it exists. A set without it
//! was left by a command that was killed, and the next command removes it.

mod bpffs;
mod codec;
mod enforcement;
mod error;
mod guards;
mod peek;
mod pins;
mod programs;
mod rules;
mod scope;
mod store;
mod strip;

pub use self::{
    enforcement::Pinned,
    error::Error,
    peek::{guard_state, in_force, loaded},
    scope::Cgroups,
    store::Store,
    strip::followed,
};
