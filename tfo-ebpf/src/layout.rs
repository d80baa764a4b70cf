//! Where the members of kernel structures lie on this kernel.
//!
//! A position is a constant in the code, written there by user space before the kernel sees the program
//! ([`tfo_common::layout::placeholder`]). Not a global: reading one takes an address of eight bytes and a load each
//! time, and the cache line it lies in, though the verifier knows the value.

use core::arch::asm;

use tfo_common::layout::{FieldLoc, Part, placeholder};

/// A [`FieldLoc`] in whole registers: one made of narrower members costs two shifts for each of them, every time.
#[derive(Clone, Copy)]
pub struct Position {
    /// As [`FieldLoc::byte`].
    pub byte: u64,
    /// As [`FieldLoc::bit`].
    pub bit: u64,
    /// As [`FieldLoc::width`].
    pub width: u64,
    /// As [`FieldLoc::mask`].
    pub mask: u64,
}

impl Position {
    /// As [`FieldLoc::is_present`].
    #[inline(always)]
    pub const fn is_present(self) -> bool {
        self.byte != FieldLoc::ABSENT as u64
    }
}

/// Position of a kernel member: `layout!(sk_err)`.
macro_rules! layout {
    ($field:ident) => {{
        const FIELD: u64 = (core::mem::offset_of!(tfo_common::layout::Layout, $field)
            / size_of::<tfo_common::layout::FieldLoc>()) as u64;
        $crate::layout::position::<FIELD>()
    }};
}

/// Position of the member with this number in `tfo_common::layout::Layout`.
#[inline(always)]
pub fn position<const FIELD: u64>() -> Position {
    macro_rules! part {
        ($part:expr) => {{
            let value: u64;
            // SAFETY: loads a constant, which user space has put in the place of the placeholder.
            unsafe {
                asm!("{0} = {1} ll", out(reg) value, const placeholder(FIELD, $part),
                    options(pure, nomem, nostack, preserves_flags));
            }
            value
        }};
    }
    Position {
        byte: part!(Part::Byte),
        bit: part!(Part::Bit),
        width: part!(Part::Width),
        mask: part!(Part::Mask),
    }
}

pub(crate) use layout;
