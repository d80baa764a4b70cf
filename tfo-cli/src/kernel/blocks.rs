//! Blocks of records, read where the kernel side has written them ([`tfo_common::records`]).

use std::{io, sync::atomic::Ordering};

use aya::maps::MapData;
use tfo_common::{
    FlowEvent, Outcome, Role,
    counters::total_index,
    records::{self, Block, offset},
};

use super::mapped::Mapped;

/// Bytes of a record.
const RECORD: usize = size_of::<FlowEvent>();
/// Words of 64 bits in a block.
const WORDS: usize = size_of::<Block>() / 8;

const _: () = assert!(RECORD.is_multiple_of(8) && offset::RECORDS.is_multiple_of(8));

/// The blocks of all CPUs.
#[derive(Debug)]
pub struct Blocks {
    map: Mapped,
    /// How many records were taken out of each.
    read: Vec<u64>,
    /// The same as of the latest [`Blocks::taken`].
    before: Vec<u64>,
}

impl Blocks {
    /// Maps them into memory.
    pub fn map(map: MapData) -> io::Result<Self> {
        let count = map.info().map_err(io::Error::other)?.max_entries() as usize;
        Ok(Self {
            map: Mapped::new(map, count * size_of::<Block>())?,
            read: vec![0; count],
            before: vec![0; count],
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.read.len()
    }

    /// Takes the next record out of a block, if one is there.
    pub fn next(&mut self, block: usize) -> Option<FlowEvent> {
        let read = self.read.get_mut(block)?;
        let word = |at: usize| self.map.word(block * WORDS + at / 8);
        // Before its record is read: that was written before.
        if word(offset::WRITTEN)?.load(Ordering::Acquire) == *read {
            return None;
        }
        let mut words = [0; RECORD / 8];
        let begin = offset::RECORDS + records::place(*read) * RECORD;
        for (index, copied) in words.iter_mut().enumerate() {
            *copied = word(begin + index * 8)?.load(Ordering::Relaxed);
        }
        *read += 1;
        // Behind them: from here on the kernel side may write over it.
        word(offset::READ)?.store(*read, Ordering::Release);
        // SAFETY: as many bytes, and `FlowEvent` is made of integers only.
        Some(unsafe { std::mem::transmute::<[u64; RECORD / 8], FlowEvent>(words) })
    }

    /// How many records were taken since this was asked last, out of the block that had most.
    pub fn taken(&mut self) -> u64 {
        let pairs = self.read.iter().zip(&self.before);
        let most = pairs.map(|(read, before)| read - before).max();
        self.before.clone_from(&self.read);
        most.unwrap_or(0)
    }

    /// Handshakes that have their records in blocks.
    pub fn total(&self, role: Role, outcome: Outcome) -> u64 {
        let at = offset::TOTALS / 8 + total_index(role, outcome) as usize;
        let totals = (0..self.count()).filter_map(|block| self.map.word(block * WORDS + at));
        totals.map(|total| total.load(Ordering::Relaxed)).sum()
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::limits;

    use super::*;

    fn blocks(count: usize) -> Blocks {
        Blocks {
            map: Mapped::anonymous(count * size_of::<Block>()).expect("memory"),
            read: vec![0; count],
            before: vec![0; count],
        }
    }

    /// What the kernel side does: a record, then the number.
    fn write(blocks: &Blocks, block: usize, number: u64, value: u64) {
        let word = |at: usize| blocks.map.word(block * WORDS + at / 8).expect("mapped");
        let begin = offset::RECORDS + records::place(number) * RECORD;
        word(begin).store(value, Ordering::Relaxed);
        word(begin + RECORD - 8).store(!value, Ordering::Relaxed);
        word(offset::WRITTEN).store(number + 1, Ordering::Release);
    }

    #[test]
    fn each_record_comes_once_and_makes_room() {
        let mut blocks = blocks(2);
        assert_eq!(
            (blocks.next(0), blocks.next(1), blocks.next(2)),
            (None, None, None)
        );
        let room = u64::from(limits::BLOCK_RECORDS);
        for number in 0..3 * room {
            write(&blocks, 1, number, number + 7);
            let record = blocks.next(1).expect("a record");
            let [first, .., last] = [(number + 7).to_ne_bytes(), (!(number + 7)).to_ne_bytes()];
            assert_eq!([record.kind, record.role, record.outcome], first[..3]);
            assert_eq!(record.comm[8..], last);
            assert_eq!((blocks.next(1), blocks.next(0)), (None, None));
            let read = blocks.map.word(WORDS + offset::READ / 8).expect("mapped");
            assert_eq!(read.load(Ordering::Relaxed), number + 1);
        }
        assert_eq!((blocks.taken(), blocks.taken()), (3 * room, 0));
    }

    #[test]
    fn totals_of_all_blocks_add_up() {
        let blocks = blocks(2);
        let index = total_index(Role::Server, Outcome::Accepted) as usize;
        for block in 0..2 {
            let word = blocks.map.word(block * WORDS + offset::TOTALS / 8 + index);
            word.expect("mapped").store(20 + block as u64, Ordering::Relaxed);
        }
        assert_eq!(blocks.total(Role::Server, Outcome::Accepted), 41);
        assert_eq!(blocks.total(Role::Client, Outcome::Accepted), 0);
    }
}
