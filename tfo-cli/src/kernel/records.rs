//! Records, in the order of their times, and from bytes.

use std::{
    io,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tfo_common::{EventKind, FlowEvent, Outcome, Role, TfoOption, limits};

use super::{blocks::Blocks, duplicates::Duplicates, sys};

/// What was written as a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A finished handshake.
    Flow(FlowEvent),
    /// Bytes that are no record of this version.
    Unknown,
}

/// Everything that records come by: the two rings, then the blocks. Each of them has its records in the order in which they were
/// written.
pub struct Records {
    rings: [RingBuf<MapData>; 2],
    blocks: Blocks,
    /// What was taken out of each and is not handed over yet.
    held: Vec<Option<Item>>,
    waited: Instant,
    duplicates: Duplicates,
}

impl Records {
    /// Of the rings of CPUs with even and with odd numbers, and of the blocks.
    pub fn new(even: RingBuf<MapData>, odd: RingBuf<MapData>, blocks: Blocks) -> Self {
        Self {
            rings: [even, odd],
            held: vec![None; 2 + blocks.count()],
            blocks,
            waited: Instant::now(),
            duplicates: Duplicates::default(),
        }
    }

    /// Waits until one of the rings is to be read, at most for `timeout`, and not so long that a block fills up.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<()> {
        let now = Instant::now();
        let taken = self.blocks.taken();
        let timeout = timeout.min(time_to_fill(taken, now - self.waited));
        self.waited = now;
        sys::wait_readable(&self.rings, timeout)
    }

    /// The next one, if one is there: of several the one that happened first.
    pub fn next(&mut self) -> Option<Item> {
        let (of_rings, of_blocks) = self.held.split_at_mut(self.rings.len());
        for (ring, held) in self.rings.iter_mut().zip(of_rings) {
            if held.is_none() {
                *held = ring.next().map(|item| decode(&item));
            }
        }
        for (block, held) in of_blocks.iter_mut().enumerate() {
            if held.is_none() {
                *held = self.blocks.next(block).map(|record| decode(&record));
            }
        }
        first(&self.held).and_then(|first| self.held[first].take())
    }

    /// Marks the record of a SYN that has come before. Not before what is meant for the reader alone has been taken out of it.
    pub fn mark_duplicate(&mut self, flow: &mut FlowEvent) {
        self.duplicates.take_in(flow);
    }

    /// Handshakes that have their records in blocks: they are in no other total.
    pub fn total(&self, role: Role, outcome: Outcome) -> u64 {
        self.blocks.total(role, outcome)
    }
}

/// How long it takes until a quarter of a block is full, if it goes on as it did: so many records in so much time.
fn time_to_fill(taken: u64, elapsed: Duration) -> Duration {
    let quarter = limits::BLOCK_RECORDS / 4;
    let taken = u32::try_from(taken).unwrap_or(u32::MAX).max(1);
    elapsed.saturating_mul(quarter) / taken
}

/// Which of several is to be handed over first. What is no record goes at once.
fn first(held: &[Option<Item>]) -> Option<usize> {
    let when = |item: &Item| match item {
        Item::Flow(flow) => flow.end_ns,
        Item::Unknown => 0,
    };
    let items = held.iter().enumerate();
    let items = items.filter_map(|(index, item)| Some((when(item.as_ref()?), index)));
    items.min().map(|(_, index)| index)
}

/// What is in these bytes; unknown are kinds, sizes and codes that this version does not know.
pub fn decode(bytes: &[u8]) -> Item {
    const FLOW: u8 = EventKind::Flow as u8;
    let item = match bytes.first() {
        Some(&FLOW) => flow(bytes).map(Item::Flow),
        _ => None,
    };
    item.unwrap_or(Item::Unknown)
}

fn flow(bytes: &[u8]) -> Option<FlowEvent> {
    // SAFETY: `FlowEvent` is made of integers only.
    let event = unsafe { sys::value::<FlowEvent>(bytes) }?;
    let role = Role::from_code(event.role)?;
    let outcome = Outcome::from_code(event.outcome)?;
    TfoOption::from_code(event.option)?;
    (outcome.occurs_in(role) && matches!(event.family, 4 | 6)).then_some(event)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_codes_are_checked() {
        let mut bytes = [0u8; size_of::<FlowEvent>()];
        bytes[0] = EventKind::Flow as u8;
        bytes[3] = 4;
        assert!(matches!(decode(&bytes), Item::Flow(_)));
        assert_eq!(decode(&bytes[1..]), Item::Unknown);
        assert_eq!(decode(&bytes[..100]), Item::Unknown);
        for (at, value) in [(1, 2), (2, 200), (3, 5), (4, 3), (2, Outcome::Syncookie as u8)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(decode(&bad), Item::Unknown, "byte {at} = {value}");
        }
        assert_eq!(decode(&[]), Item::Unknown);
    }

    #[test]
    fn of_several_the_earlier_record_comes_first() {
        let at = |end_ns| {
            Some(Item::Flow(FlowEvent {
                end_ns,
                ..FlowEvent::default()
            }))
        };
        assert_eq!(first(&[at(5), at(4), None]), Some(1));
        assert_eq!(first(&[at(4), at(5), at(3)]), Some(2));
        assert_eq!(first(&[None, at(5)]), Some(1));
        assert_eq!(first(&[at(5), None]), Some(0));
        assert_eq!(first(&[at(5), at(4), Some(Item::Unknown)]), Some(2));
        assert_eq!(first(&[None, None]), None);
    }

    #[test]
    fn it_waits_no_longer_than_a_quarter_of_a_block_takes() {
        let second = Duration::from_secs(1);
        assert_eq!(time_to_fill(102_400, second), Duration::from_millis(10));
        assert_eq!(time_to_fill(1, second), Duration::from_secs(1_024));
        assert_eq!(time_to_fill(0, second), Duration::from_secs(1_024));
        assert_eq!(time_to_fill(u64::MAX, Duration::MAX), Duration::MAX / u32::MAX);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
