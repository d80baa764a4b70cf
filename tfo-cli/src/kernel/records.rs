//! Records, in the order of their times, and from bytes.

use std::{
    io,
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tfo_common::{EventKind, FlowEvent, Outcome, Role, TfoOption, event::Record, limits};

use super::{blocks::Blocks, sys};

/// Records that are taken out of a ring or a block together. Another CPU has written the cache lines of each: copied in a row,
/// those of the next ones are already on their way, while a choice between two records has to wait for both. And a copy of what was
/// changed just now waits until that change, and every store before it, is in the cache: with others between there is none to wait for.
const TOGETHER: usize = 32;

/// The rings: of CPUs with even and with odd numbers.
const RINGS: usize = 2;

/// Everything that records come by: the two rings, then the blocks. Each of them has its records in the order in which they were
/// written.
pub struct Records {
    rings: [RingBuf<MapData>; RINGS],
    blocks: Blocks,
    batches: Batches,
    waited: Instant,
}

impl Records {
    /// Of the rings of CPUs with even and with odd numbers, and of the blocks.
    pub fn new(even: RingBuf<MapData>, odd: RingBuf<MapData>, blocks: Blocks) -> Self {
        Self {
            rings: [even, odd],
            batches: Batches::of(&blocks),
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

    /// The next of those that are there, in the order in which they happened. `None`: there are no more.
    pub fn gather(&mut self) -> Option<Gathered<'_>> {
        let rings = &mut self.rings;
        self.batches.gather(&mut self.blocks, |ring, flow| {
            let Some(bytes) = rings[ring].next() else {
                return false;
            };
            // One that is none has no kind.
            *flow = decode(&bytes).unwrap_or_default();
            true
        })
    }

    /// Handshakes that have their records in blocks: they are in no other total.
    pub fn total(&self, role: Role, outcome: Outcome) -> u64 {
        self.blocks.total(role, outcome)
    }
}

/// What was taken out of each of the rings, then of each of the blocks.
struct Batches {
    all: Vec<Batch>,
    order: Vec<Place>,
}

/// Where a record is: in which batch, and its index there.
type Place = (usize, usize);

/// Records that were taken out of a ring or a block, and how far they are handed over.
struct Batch {
    /// Room for them, each [`Record::Flow`]: nothing is copied once more.
    records: [Record; TOGETHER],
    next: usize,
    end: usize,
    /// Whether there were no more at the latest look.
    is_all: bool,
}

/// Records in the order of their times.
pub struct Gathered<'a> {
    batches: &'a mut [Batch],
    order: &'a [Place],
    /// How many there were besides that are no records of this version.
    pub unknown: u64,
}

impl Gathered<'_> {
    /// One after the other, as they were written.
    pub fn take_in(&mut self, mut take_in: impl FnMut(&mut FlowEvent)) {
        for (batch, index) in self.order {
            if let Record::Flow(flow) = &mut self.batches[*batch].records[*index] {
                take_in(flow);
            }
        }
    }

    /// One after the other, where they were copied to.
    pub fn hand_over(&self, sink: &mut dyn FnMut(&Record)) {
        for (batch, index) in self.order {
            sink(&self.batches[*batch].records[*index]);
        }
    }
}

impl Batches {
    /// Nothing yet.
    fn of(blocks: &Blocks) -> Self {
        let count = RINGS + blocks.count();
        Self {
            all: (0..count).map(|_| Batch::empty()).collect(),
            order: Vec::with_capacity(count * TOGETHER),
        }
    }

    /// Takes more out of blocks, and of rings: `next` says whether one of these has a record more, and copies it.
    fn gather(
        &mut self,
        blocks: &mut Blocks,
        mut next: impl FnMut(usize, &mut FlowEvent) -> bool,
    ) -> Option<Gathered<'_>> {
        let mut unknown = 0;
        // What is written from here on is later than all that is there now.
        blocks.look();
        for (index, batch) in self.all.iter_mut().enumerate() {
            unknown += match index.checked_sub(RINGS) {
                None => batch.refill(|flow| next(index, flow)),
                Some(block) => batch.refill(|flow| blocks.take(block, flow)),
            };
        }
        blocks.give_back();
        self.merge();
        (!self.order.is_empty() || unknown > 0).then_some(Gathered {
            batches: &mut self.all,
            order: &self.order,
            unknown,
        })
    }

    /// Puts them in the order of their times, until a batch runs out that may have successors.
    fn merge(&mut self) {
        self.order.clear();
        while self
            .all
            .iter()
            .all(|batch| batch.next < batch.end || batch.is_all)
        {
            let next = self.all.iter().enumerate();
            let next = next.filter_map(|(index, batch)| Some((batch.next_at()?, index)));
            let Some((_, first)) = next.min() else { return };
            self.order.push((first, self.all[first].next));
            self.all[first].next += 1;
        }
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
        // Of one that was taken out earlier it is not known whether there are more by now.
        self.is_all = false;
        if self.next < self.end {
            return 0;
        }
        (self.next, self.end) = (0, 0);
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
    use std::collections::VecDeque;

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

    /// Two rings and two blocks, as their writers and their reader see them.
    struct Both {
        rings: [VecDeque<FlowEvent>; RINGS],
        blocks: Blocks,
        written: [u64; 2],
        batches: Batches,
        times: Vec<u64>,
        unknown: u64,
    }

    impl Both {
        fn new() -> Self {
            let blocks = Blocks::anonymous(2);
            Self {
                rings: Default::default(),
                batches: Batches::of(&blocks),
                blocks,
                written: [0; 2],
                times: Vec::new(),
                unknown: 0,
            }
        }

        fn put(&mut self, block: usize, times: impl IntoIterator<Item = u64>) {
            for time in times {
                self.put_record(block, &at(time));
            }
        }

        fn put_record(&mut self, block: usize, record: &FlowEvent) {
            self.blocks.put(block, self.written[block], record);
            self.written[block] += 1;
        }

        /// Whether anything came.
        fn gather(&mut self) -> bool {
            let rings = &mut self.rings;
            let gathered =
                self.batches
                    .gather(&mut self.blocks, |ring, flow| match rings[ring].pop_front() {
                        Some(record) => {
                            *flow = record;
                            true
                        }
                        None => false,
                    });
            let Some(gathered) = gathered else { return false };
            self.unknown += gathered.unknown;
            let times = &mut self.times;
            gathered.hand_over(&mut |record| match record {
                Record::Flow(flow) => times.push(flow.end_ns),
                Record::FirstByte(_) => {}
            });
            true
        }

        fn all(mut self) -> (Vec<u64>, u64) {
            while self.gather() {}
            let read = [0, 1].map(|block| self.blocks.given_back(block));
            assert_eq!(read, self.written, "there is room again for each");
            (self.times, self.unknown)
        }
    }

    #[test]
    fn of_several_the_earlier_record_comes_first() {
        let mut both = Both::new();
        both.rings = [[1, 9].map(at).into(), [4, 8].map(at).into()];
        both.put(0, [2, 3, 10]);
        both.put(1, [5, 6, 7]);
        assert_eq!(both.all(), ((1..=10).collect(), 0));
        assert_eq!(Both::new().all(), (vec![], 0));
    }

    /// More than are taken out together: nothing of one is handed over before what is still in another and earlier.
    #[test]
    fn many_of_one_and_few_of_another_keep_their_order() {
        let most = TOGETHER as u64 * 5 + 7;
        let is_few = |time: &u64| time.is_multiple_of(41);
        for [many, few] in [[0, 1], [1, 0]] {
            let mut both = Both::new();
            both.put(many, (1..=most).filter(|time| !is_few(time)));
            both.put(few, (1..=most).filter(is_few));
            assert!(both.written[many] > 4 * TOGETHER as u64 && both.written[few] < TOGETHER as u64);
            assert_eq!(both.all(), ((1..=most).collect(), 0));
        }
    }

    /// What is left of a batch says nothing of what has been written behind it since.
    #[test]
    fn what_comes_between_two_looks_keeps_its_order() {
        let mut both = Both::new();
        let full = TOGETHER as u64;
        both.put(0, 1..=full + 3);
        both.put(1, [2, full + 2]);
        assert!(both.gather());
        both.put(1, [full + 5]);
        both.put(0, [full + 4, full + 6]);
        let (times, _) = both.all();
        assert!(times.is_sorted(), "{times:?}");
        assert_eq!(times.len(), TOGETHER + 8);
    }

    /// Several times as many as a block has room for.
    #[test]
    fn blocks_are_read_round_and_round() {
        let mut both = Both::new();
        let most = 3 * u64::from(limits::BLOCK_RECORDS);
        for from in (0..most).step_by(100) {
            both.put(0, (from..from + 100).filter(|time| time % 3 > 0));
            both.put(1, (from..from + 100).filter(|time| time % 3 == 0));
            while both.gather() {}
        }
        let (times, unknown) = both.all();
        assert!(times.is_sorted() && unknown == 0);
        assert!(times.len() as u64 >= most);
    }

    #[test]
    fn what_is_no_record_is_counted_and_holds_up_nothing() {
        let bad = FlowEvent { family: 5, ..at(1) };
        let mut both = Both::new();
        both.rings = [[bad, bad, at(3), bad].into(), [bad].into()];
        for record in [at(2), bad, at(4)] {
            both.put_record(0, &record);
        }
        both.put_record(1, &bad);
        assert_eq!(both.all(), (vec![2, 3, 4], 6));
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
