//! The latest flows in a ring of fixed size, found again by their id when the first byte arrives.

use std::{
    collections::{HashMap, VecDeque},
    hash::{BuildHasherDefault, Hasher},
};

use super::flow::Flow;

/// The newest flows; the oldest falls out.
#[derive(Clone, Debug)]
pub struct FlowRing {
    flows: VecDeque<Flow>,
    /// Number of the flow at the front: its number is `first`, the next one's `first + 1`.
    first: u64,
    by_id: HashMap<u64, u64, BuildHasherDefault<IdHasher>>,
    capacity: usize,
}

impl FlowRing {
    /// A ring for that many flows, at least one.
    pub fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            flows: VecDeque::with_capacity(capacity),
            first: 0,
            by_id: HashMap::with_capacity_and_hasher(capacity, BuildHasherDefault::default()),
            capacity,
        }
    }

    /// Adds the newest flow.
    pub fn push(&mut self, flow: Flow) {
        if self.flows.len() == self.capacity {
            self.pop();
        }
        self.by_id.insert(flow.id(), self.first + self.flows.len() as u64);
        self.flows.push_back(flow);
    }

    /// Takes the oldest flow.
    pub fn pop(&mut self) -> Option<Flow> {
        let flow = self.flows.pop_front()?;
        // Two flows share an id only in a damaged recording; the later one keeps its entry then.
        if self.by_id.get(&flow.id()) == Some(&self.first) {
            self.by_id.remove(&flow.id());
        }
        self.first += 1;
        Some(flow)
    }

    /// The flow with this id.
    pub fn get_mut(&mut self, id: u64) -> Option<&mut Flow> {
        let place = self.by_id.get(&id)?.checked_sub(self.first)?;
        self.flows.get_mut(usize::try_from(place).ok()?)
    }

    /// The oldest flow.
    pub fn front(&self) -> Option<&Flow> {
        self.flows.front()
    }

    /// Oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Flow> + ExactSizeIterator {
        self.flows.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Whether the next one pushes the oldest out.
    pub fn is_full(&self) -> bool {
        self.flows.len() == self.capacity
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.first += self.flows.len() as u64;
        self.flows.clear();
        self.by_id.clear();
    }
}

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
    use tfo_common::Outcome;

    use super::*;
    use crate::model::fake;

    fn flow(id: u64) -> Flow {
        let mut event = fake::flow(Outcome::Accepted);
        event.id = id;
        Flow::new(&event).expect("codes are known")
    }

    #[test]
    fn the_oldest_falls_out_and_is_not_found_any_more() {
        let mut ring = FlowRing::new(3);
        for id in 1..=5 {
            ring.push(flow(id));
        }
        assert_eq!(ring.iter().map(Flow::id).collect::<Vec<_>>(), [3, 4, 5]);
        assert!(ring.get_mut(2).is_none());
        for id in 3..=5 {
            assert_eq!(ring.get_mut(id).map(|flow| flow.id()), Some(id));
        }
        assert_eq!(ring.by_id.len(), 3);
    }

    #[test]
    fn equal_ids_do_not_confuse_the_index() {
        let mut ring = FlowRing::new(2);
        for id in [7, 7, 8, 9] {
            ring.push(flow(id));
        }
        assert!(ring.get_mut(7).is_none());
        assert_eq!(ring.get_mut(9).map(|flow| flow.id()), Some(9));
        ring.clear();
        assert!(ring.is_empty() && ring.get_mut(9).is_none());
        ring.push(flow(1));
        assert!(ring.get_mut(1).is_some());
    }
}
