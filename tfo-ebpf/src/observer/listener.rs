//! What we remember of a listener: the callback flags that are ours to take back.

use crate::{observer::maps::TFO_LISTENERS, storage};

/// Callback flags we added to a listener.
#[repr(C)]
pub struct ListenerFlags {
    /// The bits.
    pub added: u32,
}

/// The mark of a listener, if we set flags on it.
#[inline(always)]
pub fn mark_of<'a, S>(sk: *mut S) -> Option<&'a mut ListenerFlags> {
    storage::get(&TFO_LISTENERS, sk)
}

/// The mark of a listener, made if there is none.
#[inline(always)]
pub fn mark<'a, S>(sk: *mut S) -> Option<&'a mut ListenerFlags> {
    storage::get_or_create(&TFO_LISTENERS, sk)
}
