//! Flows that wait for their time to first byte. The order of arrival is kept: a flow that is complete waits
//! behind one that is not, at most as long as that one may wait.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use crate::model::{Flow, flows::FlowRing};

/// Flows held at most: 9 MiB. Beyond it the oldest goes without its first byte.
const MOST: usize = 65_536;

/// Flows in the order of their arrival.
pub struct PendingFlows {
    flows: FlowRing,
    arrived: VecDeque<Instant>,
    wait: Duration,
}

impl PendingFlows {
    /// Flows wait that long.
    pub fn new(wait: Duration) -> Self {
        Self {
            flows: FlowRing::new(MOST),
            arrived: VecDeque::new(),
            wait,
        }
    }

    /// A flow arrives. When the room is full the oldest leaves for it, without its first byte.
    #[must_use = "the flow that leaves is still to be printed"]
    pub fn push(&mut self, flow: Flow, now: Instant) -> Option<Flow> {
        let displaced = if self.flows.is_full() { self.leave() } else { None };
        self.flows.push(&flow);
        self.arrived.push_back(now);
        displaced
    }

    fn leave(&mut self) -> Option<Flow> {
        self.arrived.pop_front();
        self.flows.pop()
    }

    /// The first byte of a flow arrives.
    pub fn first_byte(&mut self, id: u64, ttfb_us: u32) {
        if let Some(flow) = self.flows.get_mut(id) {
            flow.set_ttfb(ttfb_us);
        }
    }

    /// The next flow that need not wait any longer.
    pub fn pop(&mut self, now: Instant) -> Option<Flow> {
        let (flow, arrived) = (self.flows.front()?, self.arrived.front()?);
        let waits = flow.awaits_first_byte() && now.saturating_duration_since(*arrived) < self.wait;
        if waits { None } else { self.leave() }
    }
}

#[cfg(test)]
mod tests {
    use tfo_common::{Outcome, event::event_flags, time::UNSEEN_US};

    use super::*;
    use crate::model::fake;

    fn flow(id: u64, ttfb_us: u32) -> Flow {
        let mut event = fake::flow(Outcome::Accepted);
        (event.id, event.ttfb_us) = (id, ttfb_us);
        Flow::new(&event).expect("codes are known")
    }

    #[test]
    fn a_flow_waits_for_its_first_byte_or_for_its_time() {
        let start = Instant::now();
        let mut pending = PendingFlows::new(Duration::from_secs(1));
        assert!(pending.push(flow(1, UNSEEN_US), start).is_none());
        assert!(pending.push(flow(2, 5), start).is_none());
        assert!(pending.pop(start).is_none(), "order is kept");
        pending.first_byte(1, 9);
        assert_eq!(pending.pop(start).and_then(|flow| flow.ttfb_us()), Some(9));
        assert_eq!(pending.pop(start).map(|flow| flow.id()), Some(2));
        assert!(pending.push(flow(3, UNSEEN_US), start).is_none());
        assert_eq!(
            pending.pop(start + Duration::from_secs(1)).map(|flow| flow.id()),
            Some(3)
        );
    }

    #[test]
    fn who_never_connected_never_waits() {
        let mut event = fake::flow(Outcome::Failed);
        (event.ttfb_us, event.flags) = (UNSEEN_US, event_flags::REQUESTED | event_flags::NOT_ESTABLISHED);
        let mut pending = PendingFlows::new(Duration::from_secs(1));
        assert!(
            pending
                .push(Flow::new(&event).expect("codes are known"), Instant::now())
                .is_none()
        );
        assert!(pending.pop(Instant::now()).is_some());
    }

    #[test]
    fn without_a_wait_nothing_is_held() {
        let mut pending = PendingFlows::new(Duration::ZERO);
        assert!(pending.push(flow(1, UNSEEN_US), Instant::now()).is_none());
        assert!(pending.pop(Instant::now()).is_some());
    }

    #[test]
    fn a_full_room_lets_the_oldest_go() {
        let now = Instant::now();
        let mut pending = PendingFlows::new(Duration::from_secs(1));
        for id in 1..=MOST as u64 {
            assert!(pending.push(flow(id, UNSEEN_US), now).is_none());
        }
        for id in 1..=3 {
            let displaced = pending.push(flow(MOST as u64 + id, UNSEEN_US), now);
            assert_eq!(displaced.map(|flow| flow.id()), Some(id));
        }
    }
}
