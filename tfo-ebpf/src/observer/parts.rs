//! From one of the observer's `sock_ops` programs to another.

use crate::{observer::maps::TFO_PARTS, ops::Ops, tail};

/// Goes on in this part, and does not come back. It only comes back where user space, in the course of its death,
/// has lost the array of programs: then nobody is left to tell.
#[inline(always)]
pub fn jump<const PART: u32>(ops: &Ops) {
    tail::call::<PART, _>(ops, &TFO_PARTS);
}
