//! Records of the event rings, in the order of their times, and from bytes.

use std::{io, time::Duration};

use aya::maps::{MapData, RingBuf};
use tfo_common::{EventKind, FlowEvent, Outcome, Role, TfoOption};

use super::{duplicates::Duplicates, sys};

/// What a ring brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item {
    /// A finished handshake.
    Flow(FlowEvent),
    /// Bytes that are no record of this version.
    Unknown,
}

/// The two rings.
pub struct Rings {
    even_and_odd: [RingBuf<MapData>; 2],
    /// What was taken out of each and is not handed over yet.
    held: [Option<Item>; 2],
    duplicates: Duplicates,
}

impl Rings {
    /// Of CPUs with even and with odd numbers.
    pub fn new(even: RingBuf<MapData>, odd: RingBuf<MapData>) -> Self {
        Self {
            even_and_odd: [even, odd],
            held: [None; 2],
            duplicates: Duplicates::default(),
        }
    }

    /// Waits until one of them is to be read, at most for `timeout`.
    pub fn wait(&self, timeout: Duration) -> io::Result<()> {
        sys::wait_readable(&self.even_and_odd, timeout)
    }

    /// The next one, if one is there: of two the one that happened first.
    pub fn next(&mut self) -> Option<Item> {
        for (ring, held) in self.even_and_odd.iter_mut().zip(&mut self.held) {
            if held.is_none() {
                *held = ring.next().map(|item| decode(&item));
            }
        }
        self.held[first(&self.held)].take()
    }

    /// Marks the record of a SYN that has come before. Not before what is meant for the reader alone has been taken out of it.
    pub fn mark_duplicate(&mut self, flow: &mut FlowEvent) {
        self.duplicates.take_in(flow);
    }
}

/// Which of two is to be handed over first. What is no record goes at once.
fn first(held: &[Option<Item>; 2]) -> usize {
    let when = |item: &Option<Item>| match item {
        Some(Item::Flow(flow)) => flow.end_ns,
        Some(Item::Unknown) => 0,
        None => u64::MAX,
    };
    usize::from(when(&held[1]) < when(&held[0]))
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
    fn of_two_rings_the_earlier_record_comes_first() {
        let at = |end_ns| {
            Some(Item::Flow(FlowEvent {
                end_ns,
                ..FlowEvent::default()
            }))
        };
        assert_eq!(first(&[at(5), at(4)]), 1);
        assert_eq!(first(&[at(4), at(5)]), 0);
        assert_eq!(first(&[None, at(5)]), 1);
        assert_eq!(first(&[at(5), None]), 0);
        assert_eq!(first(&[at(5), Some(Item::Unknown)]), 1);
        assert_eq!(first(&[None, None]), 0);
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
