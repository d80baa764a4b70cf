//! Arrays at an address that is a constant in the code ([`tfo_common::direct`]).

use core::{arch::asm, marker::PhantomData};

use tfo_common::direct;

/// The array with this number among those of its object; of more than one entry if `T` is an array.
pub struct Direct<T, const NUMBER: u32>(PhantomData<T>);

// SAFETY: nothing but a number.
unsafe impl<T, const NUMBER: u32> Sync for Direct<T, NUMBER> {}

impl<T, const NUMBER: u32> Direct<T, NUMBER> {
    /// It.
    pub const fn new() -> Self {
        Self(PhantomData)
    }

    /// Where it begins. Other programs, other CPUs and user space read and write there.
    #[inline(always)]
    pub fn address(&self) -> *mut T {
        let address: *mut T;
        // SAFETY: loads a constant, which user space has put in the place of the placeholder.
        unsafe {
            asm!("{0} = {1} ll", out(reg) address, const direct::address(NUMBER),
                options(pure, nomem, nostack, preserves_flags));
        }
        address
    }
}

impl<V, const ENTRIES: usize, const NUMBER: u32> Direct<[V; ENTRIES], NUMBER> {
    /// Where an entry is. The index is cut to what there may be, which the verifier wants to see.
    #[inline(always)]
    pub fn at(&self, index: u32) -> *mut V {
        const { assert!(ENTRIES.is_power_of_two()) };
        // SAFETY: below the length.
        unsafe { self.address().cast::<V>().add(index as usize & (ENTRIES - 1)) }
    }

    /// Index of the last entry, where this kernel takes fewer than there may be.
    #[inline(always)]
    pub fn last(&self) -> u32 {
        let last: u64;
        // SAFETY: as above.
        unsafe {
            asm!("{0} = {1} ll", out(reg) last, const direct::last(NUMBER),
                options(pure, nomem, nostack, preserves_flags));
        }
        last as u32
    }
}
