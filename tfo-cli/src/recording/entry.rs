//! Entries: the tagged pieces inside a block. Readings are JSON, because their tables grow with every new
//! outcome and counter; what there is much of is binary.

use serde::{Deserialize, Serialize};
use tfo_common::{Loss, Outcome, Role, counters::NetnsCounters};

use crate::model::{
    source::{Reading, Totals},
    varint::{put, take, take_array, take_bytes},
};

/// Tags of entries: append-only.
pub mod tag {
    /// [`super::super::Preamble`], JSON.
    pub const PREAMBLE: u8 = 1;
    /// One ring record.
    pub const RECORD: u8 = 2;
    /// A cgroup id and its name, JSON.
    pub const NAME: u8 = 3;
    /// Counters of a reading, JSON.
    pub const READING: u8 = 4;
    /// Rows of the destination table that changed.
    pub const ROWS: u8 = 5;
    /// Rows that are gone.
    pub const GONE: u8 = 6;
    /// The host, JSON.
    pub const HOST: u8 = 7;
    /// Listening sockets.
    pub const LISTENERS: u8 = 8;
    /// The reading is complete.
    pub const TICK: u8 = 9;
    /// More about the listening sockets before it, in their order.
    pub const LISTENER_FACTS: u8 = 10;
    /// What else was looked at, JSON.
    pub const LOOKED: u8 = 11;
}

/// Appends an entry.
pub fn put_entry(tag: u8, payload: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    put(payload.len() as u64, out);
    out.extend(payload);
}

/// Takes an entry off the front; `None` when it is damaged.
pub fn take_entry<'a>(bytes: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let [tag] = take_array(bytes)?;
    let length = usize::try_from(take(bytes)?).ok()?;
    Some((tag, take_bytes(bytes, length)?))
}

/// Counters of a reading; tables by code, so that shorter ones of older versions can be read.
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
    /// Those of a reading.
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

    /// A reading without destinations.
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
            netns: netns.collect(),
            dests: Vec::new(),
            dests_capacity: self.dests_capacity,
        }
    }
}

fn copy(into: &mut [u64], from: &[u64]) {
    into.iter_mut().zip(from).for_each(|(slot, value)| *slot = *value);
}

const _: () = assert!(Role::COUNT == 2 && Outcome::COUNT <= 64);
