//! Times to first byte of flows whose record has been read: the kernel side leaves them in a memory-mapped
//! array, one store each, and this module finds them by the flow's id.

use std::{collections::VecDeque, io, sync::atomic::Ordering};

use aya::maps::MapData;
use tfo_common::{FlowEvent, event::event_flags, limits, slots, time::UNSEEN_US};

use super::{counted::RowPlace, mapped::Mapped};

/// Flows that wait for their first byte at most; a newer one takes the place of the oldest.
const MOST_WAITING: usize = limits::FIRST_BYTES as usize;
/// How long a flow waits, ns. A slot is reused long before under load, and a later first byte is of no
/// interest for the handshake.
const PATIENCE_NS: u64 = 10_000_000_000;

/// The mapped array and the flows that wait.
#[derive(Debug)]
pub struct FirstBytes {
    slots: Mapped,
    waiting: VecDeque<Waiting>,
    /// Flows that waited and do not any more.
    settled: u64,
}

/// A flow that waits.
#[derive(Clone, Copy, Debug)]
pub struct Waiting {
    /// Its id.
    pub id: u64,
    since: u64,
    /// Its row among those that are made of records, if it is there.
    pub row: Option<RowPlace>,
    /// Whether its application asked for Fast Open.
    pub is_requested: bool,
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
    pub fn expect(&mut self, flow: &FlowEvent, row: Option<RowPlace>) {
        if flow.ttfb_us != UNSEEN_US || flow.flags & event_flags::NOT_ESTABLISHED != 0 {
            return;
        }
        if self.waiting.len() >= MOST_WAITING {
            self.waiting.pop_front();
            self.settled += 1;
        }
        self.waiting.push_back(Waiting {
            id: flow.id,
            since: flow.end_ns,
            row,
            is_requested: flow.flags & event_flags::REQUESTED != 0,
        });
    }

    /// Hands over the first bytes that have come meanwhile, each with its time, us.
    pub fn collect(&mut self, now_ns: u64, sink: &mut impl FnMut(&Waiting, u32)) {
        let slots = &self.slots;
        let before = self.waiting.len();
        self.waiting.retain(|flow| {
            let index = slots::first_byte_slot(flow.id) as usize;
            let value = slots.word(index).map_or(0, |slot| slot.load(Ordering::Relaxed));
            match slots::first_byte_of(flow.id, value) {
                Some(ttfb_us) => {
                    sink(flow, ttfb_us);
                    false
                }
                None => now_ns.saturating_sub(flow.since) < PATIENCE_NS,
            }
        });
        self.settled += (before - self.waiting.len()) as u64;
    }

    /// Flows whose first byte has come, or is not waited for any more: so often rows may have changed by one.
    pub fn settled(&self) -> u64 {
        self.settled
    }
}
