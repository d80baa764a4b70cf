//! Arrays that programs reach by their address, without a look-up: a load of a constant, in the place of which user space puts the
//! array that it has made before (`BPF_PSEUDO_MAP_VALUE`, `check_ld_imm` in kernel/bpf/verifier.c). A look-up in an array is inlined
//! by the kernel (`array_map_gen_lookup`), but it stores the index, loads it again, compares, multiplies, and there may be nothing:
//! a dozen instructions, and as many bytes of machine code as a cache line has.
//!
//! The kernel knows the address of arrays of one entry only, so what is an array to programs is one value to the kernel.

use crate::constant;

/// The constants that stand for addresses in compiled programs begin with this (the upper half).
const PLACEHOLDER: u64 = 0x7f0_70f2;
/// `BPF_PSEUDO_MAP_VALUE`: the constant is the descriptor of an array, and where in its value.
const MAP_VALUE: u8 = 2;

/// An array.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Direct {
    /// Its name.
    pub name: &'static str,
    /// Length of each of its entries, bytes.
    pub entry: usize,
    /// How many there are, a power of two. Kernels before 6.0 take no value of more than 4 MB (`KMALLOC_MAX_SIZE`): then half as many.
    pub entries: u32,
    /// Whether user space maps it into memory (`BPF_F_MMAPABLE`): it then begins with a page of its own.
    pub is_mapped: bool,
}

impl Direct {
    /// One that user space does not map.
    pub const fn of(name: &'static str, entry: usize, entries: u32) -> Self {
        Self {
            name,
            entry,
            entries,
            is_mapped: false,
        }
    }

    /// The same, mapped.
    #[must_use]
    pub const fn mapped(self) -> Self {
        Self {
            is_mapped: true,
            ..self
        }
    }
}

/// What belongs in the place of placeholders.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Made {
    /// The array's descriptor.
    pub descriptor: i32,
    /// How many entries it has.
    pub entries: u32,
}

/// The constant that stands for the address of the array with this number among those of its object.
pub const fn address(number: u32) -> u64 {
    PLACEHOLDER << 32 | (number as u64) << 1
}

/// The constant that stands for the index of its last entry.
pub const fn last(number: u32) -> u64 {
    address(number) | 1
}

/// Puts what is known of the arrays that were made in the place of each placeholder in an object file, where there is one with its
/// number. Returns how many there were.
pub fn fill_in(object: &mut [u8], arrays: &[Made]) -> usize {
    constant::fill_each(object, |constant, load| {
        let array = arrays.get((constant as u32 >> 1) as usize);
        let Some(array) = array.filter(|_| constant >> 32 == PLACEHOLDER) else {
            return false;
        };
        if constant & 1 == 0 {
            constant::put(load, array.descriptor.cast_unsigned());
            load[1] |= MAP_VALUE << 4;
        } else {
            constant::put(load, array.entries - 1);
        }
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        constant::load,
        exchange,
        layout::{self, Part},
    };

    const ARRAYS: [Made; 2] = [
        Made {
            descriptor: 5,
            entries: 1,
        },
        Made {
            descriptor: 6,
            entries: 64,
        },
    ];

    #[test]
    fn addresses_and_lengths_are_filled_in_and_nothing_else() {
        let mut code = load(address(1));
        assert_eq!(fill_in(&mut code, &ARRAYS), 1);
        let mut want = load(6);
        want[1] = 0x21;
        assert_eq!(code, want);
        // It is an address now, whatever its descriptor.
        assert_eq!(fill_in(&mut code, &ARRAYS), 0);
        let mut code = load(last(1));
        assert_eq!((fill_in(&mut code, &ARRAYS), code), (1, load(63)));
        for other in [
            load(address(2)),
            load(7),
            load(exchange::PLACEHOLDER),
            load(layout::placeholder(0, Part::Byte)),
        ] {
            let mut code = other;
            assert_eq!((fill_in(&mut code, &ARRAYS), code), (0, other));
        }
        assert_eq!(fill_in(&mut [0x18; 15], &ARRAYS), 0);
    }
}
