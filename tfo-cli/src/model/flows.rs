//! The latest flows in a ring of fixed size, found again by their id when the first byte arrives.
//!
//! A flow is written once, over the oldest one, and nothing of that one is looked at: at a hundred thousand a second it
//! has left the cache long ago. So ids lead to flows as in a compressor's window: `newest` has, for the bits an id ends
//! with, the number of the newest flow, and each flow that of the next older one. Nothing is cleaned up when a flow falls
//! out: a number is believed only where its flow is still there, and the flow only where it has the id.

use std::hash::Hasher;

use super::flow::Flow;

/// The newest flows; the oldest falls out.
#[derive(Clone, Debug)]
pub struct FlowRing {
    /// Flow number `n` is at `n & mask`. Grows until it is full.
    flows: Vec<Flow>,
    /// Of each of those flows the number of the next older one whose id ends alike.
    older: Vec<u32>,
    /// By the end of an id.
    newest: Box<[u32]>,
    mask: u32,
    /// How many of the latest flows are there.
    len: u32,
    /// The number the next flow gets. Numbers begin again after four thousand millions; the ids tell then.
    next: u32,
    capacity: u32,
}

impl FlowRing {
    /// A ring for that many flows, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = u32::try_from(capacity).unwrap_or(MOST).clamp(1, MOST);
        let places = capacity.next_power_of_two();
        Self {
            flows: Vec::with_capacity(places as usize),
            older: Vec::with_capacity(places as usize),
            newest: vec![0; places as usize].into(),
            mask: places - 1,
            len: 0,
            next: 0,
            capacity,
        }
    }

    /// Adds the newest flow, in the place of the oldest where there is no room.
    pub fn push(&mut self, flow: &Flow) {
        let (number, place) = (self.next, self.place(self.next));
        let end = self.end_of(flow.id());
        let older = std::mem::replace(&mut self.newest[end], number);
        if place == self.flows.len() {
            self.flows.push(*flow);
            self.older.push(older);
        } else {
            self.flows[place] = *flow;
            self.older[place] = older;
        }
        self.next = number.wrapping_add(1);
        self.len = self.capacity.min(self.len + 1);
    }

    /// Takes the oldest flow.
    pub fn pop(&mut self) -> Option<Flow> {
        let flow = *self.front()?;
        self.len -= 1;
        Some(flow)
    }

    /// The flow with this id. Two flows share one only in a damaged recording; it is the later one then.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Flow> {
        let mut number = self.newest[self.end_of(id)];
        // The newest flow has age 1.
        let mut younger = 0;
        loop {
            let age = self.next.wrapping_sub(number);
            // Whatever is left of flows that fell out: each number is of an older one than that before it.
            if age <= younger || age > self.len {
                return None;
            }
            let place = self.place(number);
            if self.flows[place].id() == id {
                return self.flows.get_mut(place);
            }
            (number, younger) = (self.older[place], age);
        }
    }

    /// The oldest flow.
    pub fn front(&self) -> Option<&Flow> {
        self.iter().next()
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Flow> {
        let first = self.place(self.next.wrapping_sub(self.len));
        let end = first + self.len as usize;
        let (until, more) = (end.min(self.flows.len()), end.saturating_sub(self.flows.len()));
        self.flows[first..until].iter().chain(&self.flows[..more])
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether the next one pushes the oldest out.
    pub fn is_full(&self) -> bool {
        self.len == self.capacity
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn place(&self, number: u32) -> usize {
        (number & self.mask) as usize
    }

    /// The bits of an id that lead to it. Socket cookies are counters: they need not be spread.
    fn end_of(&self, id: u64) -> usize {
        usize::try_from(id & u64::from(self.mask)).unwrap_or_default()
    }
}

/// Flows a ring has at most.
const MOST: u32 = 1 << 24;

/// Socket cookies are counters the kernel hands out: one multiplication spreads them, and two million
/// records a second leave no time for a hash that resists an adversary.
#[derive(Clone, Copy, Debug, Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        self.0 ^= self.0 >> 32;
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(u64::from(value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tfo_common::Outcome;

    use super::*;
    use crate::model::fake;

    proptest! {
        /// Beside a list that does the same: push, pop, look for; few ids, so that they end alike and come again, and
        /// numbers that begin again.
        #[test]
        fn it_is_a_list_of_the_latest(
            capacity in 1usize..12,
            next in prop_oneof![Just(0), (u32::MAX - 40)..=u32::MAX],
            steps in prop::collection::vec((0u8..8, 0u64..40), 0..120),
        ) {
            let mut ring = FlowRing::new(capacity);
            // As after so many flows: the places of a ring that has gone round are all filled.
            if next != 0 {
                for _ in 0..capacity.next_power_of_two() {
                    ring.push(&flow(99));
                }
                (ring.next, ring.len) = (next, 0);
            }
            let mut list: Vec<(u64, Option<u32>)> = Vec::new();
            for (step, id) in steps {
                match step {
                    0 => prop_assert_eq!(ring.pop().map(|flow| flow.id()), (!list.is_empty()).then(|| list.remove(0).0)),
                    1 => {
                        ring.clear();
                        list.clear();
                    }
                    2 | 3 => {
                        let (found, known) = (ring.get_mut(id), list.iter_mut().rfind(|known| known.0 == id));
                        prop_assert_eq!(found.is_some(), known.is_some());
                        if let (Some(found), Some(known)) = (found, known) {
                            found.set_ttfb(step.into());
                            known.1 = Some(step.into());
                        }
                    }
                    _ => {
                        if list.len() == capacity {
                            list.remove(0);
                        }
                        let mut event = *flow(id).event();
                        event.ttfb_us = tfo_common::time::UNSEEN_US;
                        ring.push(&Flow::new(&event).expect("codes are known"));
                        list.push((id, None));
                    }
                }
                let all: Vec<_> = ring.iter().map(|flow| (flow.id(), flow.ttfb_us())).collect();
                prop_assert_eq!(&all, &list);
                prop_assert_eq!((ring.len(), ring.is_empty(), ring.is_full()), (list.len(), list.is_empty(), list.len() == capacity));
                prop_assert_eq!(ring.front().map(Flow::id), list.first().map(|flow| flow.0));
            }
        }
    }

    fn flow(id: u64) -> Flow {
        let mut event = fake::flow(Outcome::Accepted);
        event.id = id;
        Flow::new(&event).expect("codes are known")
    }

    #[test]
    fn the_oldest_falls_out_and_is_not_found_any_more() {
        let mut ring = FlowRing::new(3);
        for id in 1..=5 {
            ring.push(&flow(id));
        }
        assert_eq!(ring.iter().map(Flow::id).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(ring.get_mut(2).is_none());
        for id in 3..=5 {
            assert_eq!(ring.get_mut(id).map(|flow| flow.id()), Some(id));
        }
    }

    #[test]
    fn equal_ids_do_not_confuse_the_index() {
        let mut ring = FlowRing::new(2);
        for id in [7, 7, 8, 9] {
            ring.push(&flow(id));
        }
        assert!(ring.get_mut(7).is_none());
        assert_eq!(ring.get_mut(9).map(|flow| flow.id()), Some(9));
        ring.clear();
        assert!(ring.is_empty() && ring.get_mut(9).is_none());
        ring.push(&flow(1));
        assert!(ring.get_mut(1).is_some());
    }
}
