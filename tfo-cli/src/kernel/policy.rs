//! Enforcement in the kernel: programs, pinned maps and links, cgroups and interfaces.
//!
//! Everything is pinned in one directory of a bpffs (0700, `/sys/fs/bpf/tfo-cli` unless told otherwise):
//! ```text
//! TFO_POL_*                    maps
//! link-sockops, link-egress    the two programs on the root of the cgroup2 hierarchy
//! prog-strip                   the classifier, for interfaces that come up later
//! tcx-*, clsact-*, every-*     the interfaces that it is attached to or meant for (see `strip::pin`)
//! ```
//! An observer has a place in one of the maps (`after`), and says in another that it is there (`onlooker`).
//!
//! `link-egress` is pinned last and removed first: the policy is in force exactly while that pin exists. Pins without it
//! were left by a command that was killed, and the next command removes them. One thing stays outside and afterwards: the
//! number of the last rule (`numbers`).

mod after;
mod bpffs;
mod codec;
mod enforcement;
mod error;
mod forced;
mod guards;
mod last_handshakes;
mod levels;
mod numbers;
mod onlooker;
mod peek;
mod pins;
mod programs;
mod rules;
mod scope;
mod store;
mod strip;

pub use self::{
    after::GiveBack,
    enforcement::Pinned,
    error::Error,
    onlooker::Onlooker,
    peek::{guard_state, in_force, loaded},
    scope::Cgroups,
    store::Store,
    strip::followed,
};
