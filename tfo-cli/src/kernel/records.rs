//! Records, in the order of their times, and from bytes.

use std::{
    io,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tfo_common::{EventKind, FirstByteEvent, FlowEvent, Outcome, Role, TfoOption, event::Record, limits};

use super::{blocks::Blocks, sys};

/// What was written as a record, where it was copied to: nothing of it is copied once more.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// A finished handshake, [`Record::Flow`].
    Flow(&'a mut Record),
    /// Bytes that are no record of this version.
    Unknown,
}

/// Everything that records come by: the two rings, then the blocks. Each of them has its records in the order in which they were
/// written.
pub struct Records {
    rings: [RingBuf<MapData>; 2],
    blocks: Blocks,
    /// What was taken out of each and is not handed over yet.
    held: Vec<Held>,
    /// Which of them is handed over.
    handed: Option<usize>,
    waited: Instant,
}

/// Room for what was taken out of a ring or a block.
#[derive(Clone, Copy, Debug)]
struct Held {
    record: Record,
    what: What,
}

/// What is in such a room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Nothing,
    Flow,
    Unknown,
}

impl Records {
    /// Of the rings of CPUs with even and with odd numbers, and of the blocks.
    pub fn new(even: RingBuf<MapData>, odd: RingBuf<MapData>, blocks: Blocks) -> Self {
        Self {
            rings: [even, odd],
            held: vec![Held::EMPTY; 2 + blocks.count()],
            handed: None,
            blocks,
            waited: Instant::now(),
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
    pub fn next(&mut self) -> Option<Item<'_>> {
        if let Some(handed) = self.handed.take() {
            self.held[handed].what = What::Nothing;
        }
        let (of_rings, of_blocks) = self.held.split_at_mut(self.rings.len());
        for (ring, held) in self.rings.iter_mut().zip(of_rings) {
            if held.what == What::Nothing
                && let Some(bytes) = ring.next()
            {
                held.put(decode(&bytes));
            }
        }
        for (block, held) in of_blocks.iter_mut().enumerate() {
            if held.what == What::Nothing
                && let Some(event) = self.blocks.next(block)
            {
                held.put(Some(event).filter(is_known));
            }
        }
        let first = first(&self.held)?;
        self.handed = Some(first);
        let held = &mut self.held[first];
        Some(match held.what {
            What::Flow => Item::Flow(&mut held.record),
            _ => Item::Unknown,
        })
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
fn first(held: &[Held]) -> Option<usize> {
    let items = held.iter().enumerate();
    let items = items.filter_map(|(index, held)| Some((held.when()?, index)));
    items.min().map(|(_, index)| index)
}

impl Held {
    const EMPTY: Self = Self {
        record: Record::FirstByte(FirstByteEvent {
            kind: 0,
            pad: [0; 3],
            ttfb_us: 0,
            id: 0,
        }),
        what: What::Nothing,
    };

    fn put(&mut self, event: Option<FlowEvent>) {
        self.what = What::Unknown;
        if let Some(event) = event {
            self.record = Record::Flow(event);
            self.what = What::Flow;
        }
    }

    /// When it happened, if there is anything.
    fn when(&self) -> Option<u64> {
        match (self.what, &self.record) {
            (What::Nothing, _) => None,
            (What::Flow, Record::Flow(flow)) => Some(flow.end_ns),
            _ => Some(0),
        }
    }
}

/// The record in these bytes; `None` for kinds, sizes and codes that this version does not know.
pub fn decode(bytes: &[u8]) -> Option<FlowEvent> {
    // SAFETY: `FlowEvent` is made of integers only.
    unsafe { sys::value::<FlowEvent>(bytes) }.filter(is_known)
}

/// Whether this version knows what every code in it means.
fn is_known(event: &FlowEvent) -> bool {
    let role_and_outcome = Role::from_code(event.role).zip(Outcome::from_code(event.outcome));
    event.kind == EventKind::Flow as u8
        && role_and_outcome.is_some_and(|(role, outcome)| outcome.occurs_in(role))
        && TfoOption::from_code(event.option).is_some()
        && matches!(event.family, 4 | 6)
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
        assert!(decode(&bytes).is_some());
        assert_eq!(decode(&bytes[1..]), None);
        assert_eq!(decode(&bytes[..100]), None);
        for (at, value) in [(1, 2), (2, 200), (3, 5), (4, 3), (2, Outcome::Syncookie as u8)] {
            let mut bad = bytes;
            bad[at] = value;
            assert_eq!(decode(&bad), None, "byte {at} = {value}");
        }
        assert_eq!(decode(&[]), None);
    }

    #[test]
    fn of_several_the_earlier_record_comes_first() {
        let none = Held::EMPTY;
        let held = |event| {
            let mut held = none;
            held.put(event);
            held
        };
        let at = |end_ns| {
            held(Some(FlowEvent {
                end_ns,
                ..FlowEvent::default()
            }))
        };
        assert_eq!(first(&[at(5), at(4), none]), Some(1));
        assert_eq!(first(&[at(4), at(5), at(3)]), Some(2));
        assert_eq!(first(&[none, at(5)]), Some(1));
        assert_eq!(first(&[at(5), none]), Some(0));
        assert_eq!(first(&[at(5), at(4), held(None)]), Some(2));
        assert_eq!(first(&[none, none]), None);
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
