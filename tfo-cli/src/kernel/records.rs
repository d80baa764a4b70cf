//! Records, in the order of their times, and from bytes.

use std::{
    io,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tfo_common::{EventKind, FlowEvent, Outcome, Role, TfoOption, event::Record, limits};

use super::{blocks::Blocks, sys};

/// Records that are taken out of a ring or a block together. Who waits for a cache line that another CPU has written, as each of
/// them is, waits for those of the next records at the same time, unless it has to choose between two of them. And
/// who copies what it has changed just now waits until the change, and everything before it, is in the cache.
const TOGETHER: usize = 32;

/// Everything that records come by: the two rings, then the blocks. Each of them has its records in the order in which they were
/// written.
pub struct Records {
    rings: [RingBuf<MapData>; 2],
    blocks: Blocks,
    /// What was taken out of each of them.
    batches: Vec<Batch>,
    order: Vec<Place>,
    waited: Instant,
}

/// Records that were taken out of a ring or a block, and how far they are handed over.
struct Batch {
    /// Room for them, each [`Record::Flow`]: nothing is copied once more.
    records: [Record; TOGETHER],
    next: usize,
    end: usize,
    /// Whether there were no more.
    is_all: bool,
}

/// Where a record is: in which batch, and the how manieth of it.
type Place = (usize, usize);

/// Records in the order of their times.
pub struct Gathered<'a> {
    batches: &'a mut [Batch],
    order: &'a [Place],
    /// How many there were besides that are no records of this version.
    pub unknown: u64,
}

impl Gathered<'_> {
    /// One after the other: finished handshakes, [`Record::Flow`], where they were copied to.
    pub fn for_each(&mut self, mut take: impl FnMut(&mut Record)) {
        for (batch, index) in self.order {
            take(&mut self.batches[*batch].records[*index]);
        }
    }
}

impl Records {
    /// Of the rings of CPUs with even and with odd numbers, and of the blocks.
    pub fn new(even: RingBuf<MapData>, odd: RingBuf<MapData>, blocks: Blocks) -> Self {
        let count = 2 + blocks.count();
        Self {
            rings: [even, odd],
            batches: (0..count).map(|_| Batch::empty()).collect(),
            order: Vec::with_capacity(count * TOGETHER),
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

    /// The next ones, some of those that are there: of several the one that happened first. `None`: there are no more.
    pub fn gather(&mut self) -> Option<Gathered<'_>> {
        let mut unknown = 0;
        let (of_rings, of_blocks) = self.batches.split_at_mut(self.rings.len());
        for (ring, batch) in self.rings.iter_mut().zip(of_rings) {
            unknown += batch.refill(|flow| {
                let Some(bytes) = ring.next() else { return false };
                // One that is none has no kind.
                *flow = decode(&bytes).unwrap_or_default();
                true
            });
        }
        unknown += refill(of_blocks, &mut self.blocks);
        merge(&mut self.batches, &mut self.order);
        (!self.order.is_empty() || unknown > 0).then_some(Gathered {
            batches: &mut self.batches,
            order: &self.order,
            unknown,
        })
    }

    /// Handshakes that have their records in blocks: they are in no other total.
    pub fn total(&self, role: Role, outcome: Outcome) -> u64 {
        self.blocks.total(role, outcome)
    }
}

impl Batch {
    /// Nothing yet.
    fn empty() -> Self {
        Self {
            records: [Record::Flow(FlowEvent::default()); TOGETHER],
            next: 0,
            end: 0,
            is_all: true,
        }
    }

    /// Takes more of them out, once all are handed over: `next` says whether there is one, and copies it. Returns how many were met
    /// that are none of this version.
    fn refill(&mut self, mut next: impl FnMut(&mut FlowEvent) -> bool) -> u64 {
        if self.next < self.end {
            return 0;
        }
        (self.next, self.end, self.is_all) = (0, 0, false);
        let mut unknown = 0;
        while let Some(Record::Flow(flow)) = self.records.get_mut(self.end) {
            if !next(flow) {
                self.is_all = true;
                break;
            }
            let is_known = is_known(flow);
            self.end += usize::from(is_known);
            unknown += u64::from(!is_known);
        }
        unknown
    }

    /// When the next one happened that is to be handed over.
    fn next_at(&self) -> Option<u64> {
        match self.records[..self.end].get(self.next)? {
            Record::Flow(flow) => Some(flow.end_ns),
            Record::FirstByte(_) => None,
        }
    }
}

/// Takes more records out of blocks.
fn refill(batches: &mut [Batch], blocks: &mut Blocks) -> u64 {
    blocks.look();
    let batches = batches.iter_mut().enumerate();
    let unknown = batches.map(|(block, batch)| batch.refill(|flow| blocks.take(block, flow)));
    let unknown = unknown.sum();
    blocks.give_back();
    unknown
}

/// Puts what is in batches in the order of its time, until one of them that was not all there is has no more.
fn merge(batches: &mut [Batch], order: &mut Vec<Place>) {
    order.clear();
    while batches.iter().all(|batch| batch.next < batch.end || batch.is_all) {
        let next = batches.iter().enumerate();
        let next = next.filter_map(|(index, batch)| Some((batch.next_at()?, index)));
        let Some((_, first)) = next.min() else { return };
        order.push((first, batches[first].next));
        batches[first].next += 1;
    }
}

/// How long it takes until a quarter of a block is full, if it goes on as it did: so many records in so much time.
fn time_to_fill(taken: u64, elapsed: Duration) -> Duration {
    let quarter = limits::BLOCK_RECORDS / 4;
    let taken = u32::try_from(taken).unwrap_or(u32::MAX).max(1);
    elapsed.saturating_mul(quarter) / taken
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

    /// A record as the kernel side writes it, known by its time.
    fn at(end_ns: u64) -> FlowEvent {
        FlowEvent {
            kind: EventKind::Flow as u8,
            family: 4,
            end_ns,
            ..FlowEvent::default()
        }
    }

    /// What comes out of batches of rings that have these records, and of blocks: their times, and how many are unknown.
    fn gathered(rings: [&[Option<u64>]; 2], in_blocks: [&[FlowEvent]; 2]) -> (Vec<u64>, u64) {
        let mut rings = rings.map(|ring| ring.iter().copied());
        let mut blocks = Blocks::anonymous(2);
        for (block, records) in in_blocks.iter().enumerate() {
            (0..)
                .zip(*records)
                .for_each(|(number, record)| blocks.put(block, number, record));
        }
        let (mut batches, mut order) = ([(); 4].map(|()| Batch::empty()), Vec::new());
        let (mut times, mut all_unknown) = (Vec::new(), 0);
        loop {
            let (of_rings, of_blocks) = batches.split_at_mut(2);
            let mut unknown = refill(of_blocks, &mut blocks);
            for (ring, batch) in rings.iter_mut().zip(of_rings) {
                unknown += batch.refill(|flow| match ring.next() {
                    Some(time) => {
                        *flow = time.map(at).unwrap_or_default();
                        true
                    }
                    None => false,
                });
            }
            merge(&mut batches, &mut order);
            if order.is_empty() && unknown == 0 {
                return (times, all_unknown);
            }
            all_unknown += unknown;
            let mut gathered = Gathered {
                batches: &mut batches,
                order: &order,
                unknown,
            };
            gathered.for_each(|record| match record {
                Record::Flow(flow) => times.push(flow.end_ns),
                Record::FirstByte(_) => {}
            });
        }
    }

    #[test]
    fn of_several_the_earlier_record_comes_first() {
        let blocks = [[2, 3, 10].map(at), [5, 6, 7].map(at)];
        let all = gathered(
            [&[Some(1), Some(9)], &[Some(4), Some(8)]],
            [&blocks[0], &blocks[1]],
        );
        assert_eq!(all, ((1..=10).collect(), 0));
        assert_eq!(gathered([&[], &[]], [&[], &[at(7)]]), (vec![7], 0));
        assert_eq!(gathered([&[], &[]], [&[], &[]]), (vec![], 0));
    }

    /// More than are taken out together: nothing of one is handed over before what is still in another and earlier.
    #[test]
    fn many_of_one_and_few_of_another_keep_their_order() {
        let most = TOGETHER as u64 * 5 + 7;
        let is_few = |time: &u64| time.is_multiple_of(41);
        let many: Vec<_> = (1..=most).filter(|time| !is_few(time)).map(at).collect();
        let few: Vec<_> = (1..=most).filter(is_few).map(at).collect();
        assert!(many.len() > 4 * TOGETHER && few.len() < TOGETHER);
        assert_eq!(gathered([&[], &[]], [&many, &few]), ((1..=most).collect(), 0));
        assert_eq!(gathered([&[], &[]], [&few, &many]), ((1..=most).collect(), 0));
    }

    #[test]
    fn what_is_no_record_is_counted_and_holds_up_nothing() {
        let bad = FlowEvent { family: 5, ..at(1) };
        let in_block = [at(2), bad, at(4)];
        let in_ring = [None, None, Some(3), None];
        assert_eq!(
            gathered([&in_ring, &[None]], [&in_block, &[bad]]),
            (vec![2, 3, 4], 6)
        );
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
