//! Blocks of records, read where the kernel side has written them ([`tfo_common::records`]).

use std::{io, ptr, sync::atomic::Ordering};

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
const _: () = assert!(align_of::<FlowEvent>() == align_of::<u64>());

/// The blocks of all CPUs.
#[derive(Debug)]
pub struct Blocks {
    map: Mapped,
    progress: Vec<Progress>,
}

/// How far one of them has been read.
#[derive(Clone, Copy, Debug, Default)]
struct Progress {
    /// How many records had been written at the latest [`Blocks::look`].
    written: u64,
    /// How many were taken out.
    read: u64,
    /// How many there were at the latest [`Blocks::taken`].
    before: u64,
}

impl Blocks {
    /// Maps them into memory.
    pub fn map(map: MapData) -> io::Result<Self> {
        let count = map.info().map_err(io::Error::other)?.max_entries() as usize;
        Ok(Self {
            map: Mapped::new(map, count * size_of::<Block>())?,
            progress: vec![Progress::default(); count],
        })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.progress.len()
    }

    /// Looks how many records have been written. Not before each of them: the line that says so ([`records::Head`]) is written with
    /// every record of another CPU.
    pub fn look(&mut self) {
        for (block, progress) in self.progress.iter_mut().enumerate() {
            if let Some(written) = self.map.word(block * WORDS + offset::WRITTEN / 8) {
                // Before the records are read: those were written before.
                progress.written = written.load(Ordering::Acquire);
            }
        }
    }

    /// Takes the next record out of a block: copies it to where it is to be. Returns whether one was there at the latest look.
    pub fn take(&mut self, block: usize, to: &mut FlowEvent) -> bool {
        let from = self.next(block).and_then(|at| self.map.words(at, RECORD / 8));
        let Some(from) = from else { return false };
        // SAFETY: as many bytes with the same alignment, and `FlowEvent` is made of integers only.
        let to = unsafe { &mut *ptr::from_mut(to).cast::<[u64; RECORD / 8]>() };
        for (to, from) in to.iter_mut().zip(from) {
            *to = from.load(Ordering::Relaxed);
        }
        self.progress[block].read += 1;
        true
    }

    /// Lets the kernel side write over what was taken out.
    pub fn give_back(&self) {
        for (block, progress) in self.progress.iter().enumerate() {
            if let Some(read) = self.map.word(block * WORDS + offset::READ / 8)
                && read.load(Ordering::Relaxed) != progress.read
            {
                // Behind what was read.
                read.store(progress.read, Ordering::Release);
            }
        }
    }

    /// The word that the next record of a block begins with.
    fn next(&self, block: usize) -> Option<usize> {
        let Progress { written, read, .. } = *self.progress.get(block)?;
        (read != written).then(|| block * WORDS + (offset::RECORDS + records::place(read) * RECORD) / 8)
    }

    /// How many records were taken since this was asked last, out of the block that had most.
    pub fn taken(&mut self) -> u64 {
        let taken = self.progress.iter_mut().map(|progress| {
            let taken = progress.read - progress.before;
            progress.before = progress.read;
            taken
        });
        taken.max().unwrap_or(0)
    }

    /// Handshakes that have their records in blocks.
    pub fn total(&self, role: Role, outcome: Outcome) -> u64 {
        let at = offset::TOTALS / 8 + total_index(role, outcome) as usize;
        let totals = (0..self.count()).filter_map(|block| self.map.word(block * WORDS + at));
        totals.map(|total| total.load(Ordering::Relaxed)).sum()
    }
}

/// The other side, as the kernel's is, for tests.
#[cfg(test)]
impl Blocks {
    /// Some with nothing in them.
    pub fn anonymous(count: usize) -> Self {
        Self {
            map: Mapped::anonymous(count * size_of::<Block>()).expect("memory"),
            progress: vec![Progress::default(); count],
        }
    }

    /// How many records the kernel side knows to be taken out.
    pub fn given_back(&self, block: usize) -> u64 {
        let read = self.map.word(block * WORDS + offset::READ / 8).expect("mapped");
        read.load(Ordering::Relaxed)
    }

    /// Writes the record with this number: it, then the number.
    pub fn put(&self, block: usize, number: u64, record: &FlowEvent) {
        let word = |at: usize| self.map.word(block * WORDS + at / 8).expect("mapped");
        // SAFETY: as many bytes, and `FlowEvent` is made of integers only.
        let words = unsafe { std::mem::transmute::<FlowEvent, [u64; RECORD / 8]>(*record) };
        for (index, value) in words.into_iter().enumerate() {
            let at = offset::RECORDS + records::place(number) * RECORD + index * 8;
            word(at).store(value, Ordering::Relaxed);
        }
        word(offset::WRITTEN).store(number + 1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::limits;

    use super::*;

    #[test]
    fn each_record_comes_once_and_makes_room() {
        let mut blocks = Blocks::anonymous(2);
        let mut record = FlowEvent::default();
        blocks.look();
        assert!((0..3).all(|block| !blocks.take(block, &mut record)));
        let room = u64::from(limits::BLOCK_RECORDS);
        for number in 0..3 * room {
            let written = FlowEvent {
                kind: 1,
                end_ns: number + 8,
                comm: u128::from(number).to_ne_bytes(),
                ..FlowEvent::default()
            };
            blocks.put(1, number, &written);
            assert!(!blocks.take(1, &mut record), "nobody has looked");
            blocks.look();
            assert!(blocks.take(1, &mut record));
            assert_eq!(record, written);
            assert!(!blocks.take(1, &mut record) && !blocks.take(0, &mut record));
            assert_eq!(blocks.given_back(1), number, "not given back");
            blocks.give_back();
            assert_eq!(blocks.given_back(1), number + 1);
        }
        assert_eq!((blocks.taken(), blocks.taken()), (3 * room, 0));
    }

    #[test]
    fn totals_of_all_blocks_add_up() {
        let blocks = Blocks::anonymous(2);
        let index = total_index(Role::Server, Outcome::Accepted) as usize;
        for block in 0..2 {
            let word = blocks.map.word(block * WORDS + offset::TOTALS / 8 + index);
            word.expect("mapped").store(20 + block as u64, Ordering::Relaxed);
        }
        assert_eq!(blocks.total(Role::Server, Outcome::Accepted), 41);
        assert_eq!(blocks.total(Role::Client, Outcome::Accepted), 0);
    }
}
