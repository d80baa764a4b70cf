//! Blocks of records in memory that the kernel side and user space share: the way nearly all records go.
//!
//! A block belongs to a CPU (on hosts with more CPUs than [`RECORD_BLOCKS`], to several). Who writes takes the block by an
//! exchange of [`Head::busy`], and lets it go by a store. Nobody waits: a program that finds the block taken, for it has
//! interrupted the one that has it, or finds it full, puts its record into a ring of the kernel instead. It costs one
//! locked instruction where the kernel's ring takes two, and as many calls.
//!
//! The order of stores is what makes it right: a record is whole before [`Head::written`] says that it is there, and
//! [`Head::busy`] is given back last. x86 keeps stores in order; other processors do not, and use the rings alone. So do kernels
//! before 5.12, whose verifier does not know the exchange.

use core::mem::offset_of;

use crate::{
    counters::TOTALS,
    event::FlowEvent,
    limits::{BLOCK_RECORDS, RECORD_BLOCKS},
};

/// Something that has its cache lines for itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Line<T>(pub T);

/// A block: an entry of [`crate::maps::RECORDS`].
#[repr(C)]
pub struct Block {
    /// What its writers go by, in a line that user space does not write.
    pub head: Line<Head>,
    /// Handshakes whose records were written here, by [`crate::counters::total_index`]. Exact without a locked addition, for
    /// only who has the block counts.
    pub totals: Line<[u64; TOTALS as usize]>,
    /// How many records user space has taken out; written by it alone.
    pub read: Line<u64>,
    /// The records: that with number `n` is at `n` modulo their number.
    pub records: [FlowEvent; BLOCK_RECORDS as usize],
}

/// See [`Block::head`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Head {
    /// 1 while a program has the block.
    pub busy: u64,
    /// How many records were written here since the programs were loaded.
    pub written: u64,
    /// How many may be written before [`Block::read`] is to be looked at again.
    pub room_until: u64,
}

/// Where in a block its parts begin, bytes.
pub mod offset {
    use super::{Block, Head, Line, offset_of};

    /// [`Head::written`].
    pub const WRITTEN: usize = offset_of!(Block, head) + offset_of!(Head, written);
    /// [`Block::totals`].
    pub const TOTALS: usize = offset_of!(Block, totals);
    /// [`Block::read`].
    pub const READ: usize = offset_of!(Block, read);
    /// [`Block::records`].
    pub const RECORDS: usize = offset_of!(Block, records);

    const _: () = assert!(offset_of!(Line<Head>, 0) == 0);
}

/// The block of a CPU.
#[inline(always)]
pub const fn block_of(cpu: u32) -> u32 {
    cpu & (RECORD_BLOCKS - 1)
}

/// Blocks that a host with so many possible CPUs needs.
pub const fn blocks(cpus: u32) -> u32 {
    if cpus < RECORD_BLOCKS { cpus } else { RECORD_BLOCKS }
}

/// The place of the record with this number.
#[inline(always)]
pub const fn place(number: u64) -> usize {
    (number & (BLOCK_RECORDS as u64 - 1)) as usize
}

const _: () = assert!(BLOCK_RECORDS.is_power_of_two() && RECORD_BLOCKS.is_power_of_two());
const _: () = assert!(size_of::<Block>().is_multiple_of(64) && offset::RECORDS.is_multiple_of(64));

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_has_a_block() {
        for cpus in [1, 2, 3, 6, 8, 9, 64, 512] {
            assert!((0..cpus).all(|cpu| block_of(cpu) < blocks(cpus)), "{cpus} CPUs");
        }
        assert_eq!((blocks(2), blocks(64)), (2, RECORD_BLOCKS));
    }

    #[test]
    fn writers_and_the_reader_have_lines_of_their_own() {
        let lines = [offset::WRITTEN, offset::TOTALS, offset::READ, offset::RECORDS].map(|at| at / 64);
        assert!(lines.windows(2).all(|pair| pair[0] < pair[1]), "{lines:?}");
    }
}
