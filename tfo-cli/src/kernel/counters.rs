//! Reading every counter of the kernel side.

use std::os::fd::AsFd as _;

use anyhow::Context as _;
use tfo_common::{
    DestKey, DestStats, Loss, Outcome, Role,
    counters::{NetnsCounters, Stat, stat_index, total_index},
};

use super::{maps::Maps, sys};
use crate::model::source::{Reading, Totals};

/// Reads all counters. Per-CPU counters are summed; each is exact, and all are read within a millisecond or
/// so, not at one instant.
pub fn read(maps: &Maps, with_dests: bool, capacity: u32, bad_records: u64) -> anyhow::Result<Reading> {
    let mut reading = Reading {
        at_ns: sys::monotonic_ns(),
        dests_capacity: capacity,
        ..Reading::default()
    };
    reading.totals = totals(maps)?;
    for loss in Loss::ALL.into_iter().take(Loss::KERNEL) {
        reading.losses[loss as usize] = counter(maps, loss as u32)?;
    }
    reading.losses[Loss::BadRecord as usize] = bad_records;
    reading.losses[Loss::RequestEvicted as usize] = evicted_requests(maps)?;
    reading.events = counter(maps, stat_index(Stat::Events))?;
    // Rows change where a handshake is counted, and where the first byte comes after it.
    let handshakes: u64 = reading.totals.iter().flatten().sum();
    let first_bytes = counter(maps, stat_index(Stat::FirstBytes))?;
    let plain_first_bytes = counter(maps, stat_index(Stat::PlainFirstBytes))?;
    reading.row_changes = Some(handshakes + first_bytes + plain_first_bytes);
    for entry in &maps.netns {
        // A namespace inserted or removed meanwhile ends the walk early; the next reading has it.
        let Ok((inode, per_cpu)) = entry else { break };
        let mut sum = NetnsCounters::default();
        for counts in per_cpu.iter() {
            sum.counts
                .iter_mut()
                .zip(counts)
                .for_each(|(sum, count)| *sum += count);
        }
        reading.netns.push((inode, sum));
    }
    if with_dests {
        reading.dests = dests(maps, capacity)?;
        let inserted = counter(maps, stat_index(Stat::DestInserted))?;
        reading.losses[Loss::DestEvicted as usize] = inserted.saturating_sub(reading.dests.len() as u64);
    }
    Ok(reading)
}

fn totals(maps: &Maps) -> anyhow::Result<Totals> {
    let mut totals = Totals::default();
    for role in Role::ALL {
        for outcome in Outcome::ALL {
            let values = maps
                .totals
                .get(&total_index(role, outcome), 0)
                .context("read totals")?;
            totals[role as usize][outcome as usize] = values.iter().sum();
        }
    }
    Ok(totals)
}

fn counter(maps: &Maps, index: u32) -> anyhow::Result<u64> {
    Ok(maps
        .losses
        .get(&index, 0)
        .context("read loss counters")?
        .iter()
        .sum())
}

fn dests(maps: &Maps, capacity: u32) -> anyhow::Result<Vec<(DestKey, DestStats)>> {
    let entries = sys::map_entries(
        maps.dests.fd().as_fd(),
        size_of::<DestKey>(),
        size_of::<DestStats>(),
        capacity as usize,
    )
    .context("read the destination table")?;
    let keys = entries.keys.chunks_exact(size_of::<DestKey>());
    let values = entries.values.chunks_exact(size_of::<DestStats>());
    // SAFETY: both types are made of integers only.
    Ok(keys
        .zip(values)
        .filter_map(|(key, value)| unsafe { Some((sys::value(key)?, sys::value(value)?)) })
        .collect())
}

/// SYN facts that went in, were not taken out by a finished handshake and are not there any more. Read in this order,
/// what happens meanwhile makes it less, never more: who is stored later is not counted, who is taken later is.
fn evicted_requests(maps: &Maps) -> anyhow::Result<u64> {
    let stored = counter(maps, stat_index(Stat::RequestStored))?;
    if stored == counter(maps, stat_index(Stat::RequestTaken))? {
        return Ok(0);
    }
    let info = maps.requests.info().context("read the request table's type")?;
    let present = sys::map_entries(
        maps.requests.fd().as_fd(),
        size_of::<u64>(),
        info.value_size() as usize,
        info.max_entries() as usize,
    )
    .context("read the request table")?;
    let taken = counter(maps, stat_index(Stat::RequestTaken))?;
    Ok(stored.saturating_sub(taken).saturating_sub(present.count as u64))
}
