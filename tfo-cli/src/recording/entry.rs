//! The entries that a block consists of: a tag and a payload. Entries that come once per reading are JSON, because their
//! tables grow with every new outcome and counter; records and rows, of which there are many, are binary.

use serde::{Deserialize, Serialize};
use tfo_common::{Loss, Outcome, Role, counters::NetnsCounters};

use crate::model::{
    source::{Reading, Totals},
    varint::{put, take, take_array, take_bytes},
};

/// The tags of entries. New ones are added at the end, and none is given another meaning.
pub mod tag {
    /// [`super::super::Preamble`], JSON.
    pub const PREAMBLE: u8 = 1;
    /// One record of the ring buffer.
    pub const RECORD: u8 = 2;
    /// A cgroup id and its name, JSON.
    pub const NAME: u8 = 3;
    /// Counters of a reading, JSON.
    pub const READING: u8 = 4;
    /// Rows of the destination table that changed, as differences to the reading before.
    pub const ROWS: u8 = 5;
    /// Keys of rows that are gone.
    pub const GONE: u8 = 6;
    /// The host, JSON.
    pub const HOST: u8 = 7;
    /// All listening sockets.
    pub const LISTENERS: u8 = 8;
    /// The end of a reading; the payload is empty.
    pub const TICK: u8 = 9;
    /// More about the listening sockets before it, in their order.
    pub const LISTENER_FACTS: u8 = 10;
    /// What else was looked at, JSON.
    pub const LOOKED: u8 = 11;
    /// What cannot be observed from here on: names and reasons, JSON.
    pub const DEGRADED: u8 = 12;
}

/// Appends an entry.
pub fn put_entry(tag: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put(payload.len() as u64, out);
    out.extend(payload);
}

/// Takes an entry off the front, as its tag and payload; `None` when it is damaged.
pub fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag] = take_array(bytes)?;
    let length = usize::try_from(take(bytes)?).ok()?;
    Some((tag, take_bytes(bytes, length)?))
}

/// The counters of a reading as they are recorded. Tables are indexed by code, so that those of other versions, which
/// have fewer or more codes, can be read.
#[derive(Debug, Serialize, Deserialize)]
pub struct Counters {
    at_ns: u64,
    totals: Vec<Vec<u64>>,
    losses: Vec<u64>,
    events: u64,
    netns: Vec<(u32, Vec<u64>)>,
    dests_capacity: u32,
}

impl Counters {
    /// The counters of this reading.
    pub fn of(reading: &Reading) -> Self {
        Self {
            at_ns: reading.at_ns,
            totals: reading.totals.iter().map(|counts| counts.to_vec()).collect(),
            losses: reading.losses.to_vec(),
            events: reading.events,
            netns: reading
                .netns
                .iter()
                .map(|(netns, ours)| (*netns, ours.counts.to_vec()))
                .collect(),
            dests_capacity: reading.dests_capacity,
        }
    }

    /// The reading with these counters; it has no destinations yet.
    pub fn reading(&self) -> Reading {
        let mut totals = Totals::default();
        for (counts, stored) in totals.iter_mut().zip(&self.totals) {
            copy(counts, stored);
        }
        let mut losses = [0; Loss::COUNT];
        copy(&mut losses, &self.losses);
        let netns = self.netns.iter().map(|(netns, stored)| {
            let mut counters = NetnsCounters::default();
            copy(&mut counters.counts, stored);
            (*netns, counters)
        });
        Reading {
            at_ns: self.at_ns,
            totals,
            losses,
            events: self.events,
            stats: None,
            netns: netns.collect(),
            row_changes: None,
            dests: Vec::new(),
            dests_capacity: self.dests_capacity,
        }
    }
}

fn copy(into: &mut [u64], from: &[u64]) {
    into.iter_mut().zip(from).for_each(|(slot, value)| *slot = *value);
}

const _: () = assert!(Role::COUNT == 2 && Outcome::COUNT <= 64);
