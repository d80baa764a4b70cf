//! Times to first byte of flows whose record has been read: the kernel side leaves them in a memory-mapped
//! array, one store each, and this module finds them by the flow's id.

use std::{collections::VecDeque, io, sync::atomic::Ordering};

use aya::maps::MapData;
use tfo_common::{
    EventKind, FirstByteEvent, FlowEvent,
    event::{Record, event_flags},
    limits, slots,
    time::UNSEEN_US,
};

use super::mapped::Mapped;

/// Flows that wait for their first byte at most; a newer one takes the place of the oldest.
const MOST_WAITING: usize = limits::FIRST_BYTES as usize;
/// How long a flow waits, ns. A slot is reused long before under load, and a later first byte is of no
/// interest for the handshake.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The mapped array and the flows that wait.
#[derive(Debug)]
pub struct FirstBytes {
    slots: Mapped,
    waiting: VecDeque<(u64, u64)>,
    /// Flows that waited and do not any more.
    settled: u64,
}

const BYTES: usize = limits::FIRST_BYTES as usize * size_of::<u64>();

impl FirstBytes {
    /// Maps the array.
    pub fn map(map: MapData) -> io::Result<Self> {
        Ok(Self {
            slots: Mapped::new(map, BYTES)?,
            waiting: VecDeque::new(),
            settled: 0,
        })
    }

    /// Remembers a flow whose record came without its first byte.
    pub fn expect(&mut self, flow: &FlowEvent) {
        if flow.ttfb_us != UNSEEN_US || flow.flags & event_flags::NOT_ESTABLISHED != 0 {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.settled += 1;
        }
        self.waiting.push_back((flow.id, flow.end_ns));
    }

    /// Hands over the first bytes that have come meanwhile.
    pub fn collect(&mut self, now_ns: u64, sink: &mut dyn FnMut(&Record)) {
        let slots = &self.slots;
        let before = self.waiting.len();
        self.waiting.retain(|(id, since)| {
            let index = slots::first_byte_slot(*id) as usize;
            let value = slots.word(index).map_or(0, |slot| slot.load(Ordering::Relaxed));
            match slots::first_byte_of(*id, value) {
                Some(ttfb_us) => {
                    let kind = EventKind::FirstByte as u8;
                    sink(&Record::FirstByte(FirstByteEvent {
                        kind,
                        pad: [0; 3],
                        ttfb_us,
                        id: *id,
                    }));
                    false
                }
                None => now_ns.saturating_sub(*since) < PATIENCE_NS,
            }
        });
        self.settled += (before - self.waiting.len()) as u64;
    }

    /// Flows whose first byte has come, or is not waited for any more: so often rows may have changed by one.
    pub fn settled(&self) -> u64 {
        self.settled
    }
}
