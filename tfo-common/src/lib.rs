//! The contract between the kernel side (`tfo-ebpf`) and user space (`tfo-cli`), and the one classifier
//! both use.
//!
//! Everything here is plain data with a fixed layout: no `std`, no dependency, no pointer, no `bool` or
//! enum in a shared structure (codes are integers, padding is explicit, sizes are asserted). Byte order is
//! the host's unless a field says otherwise; addresses are always in network order.
#![no_std]
#![expect(
    clippy::cast_possible_truncation,
    reason = "`TryFrom` is not const and costs a branch the verifier has to follow; every cast is of a constant or \
              bounded on the line before"
)]

mod codes;

pub mod action;
pub mod carried;
pub mod classify;
pub mod constant;
pub mod counters;
pub mod dest;
pub mod direct;
pub mod event;
pub mod exchange;
pub mod flags;
pub mod guard;
pub mod layout;
pub mod limits;
pub mod listener;
pub mod maps;
pub mod outcome;
pub mod policy;
pub mod records;
pub mod request;
pub mod slots;
pub mod time;

pub use action::PolicyAction;
pub use carried::Carried;
pub use classify::{End, Handshake, TfoOption, classify};
pub use counters::{CrossCheck, Loss};
pub use dest::{DestCounts, DestKey, DestStats};
pub use event::{EventKind, FirstByteEvent, FlowEvent};
pub use outcome::{Outcome, Role, SynData};
