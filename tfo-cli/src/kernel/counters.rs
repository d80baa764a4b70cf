//! Reading every counter of the kernel side.

use std::{os::fd::AsFd as _, sync::atomic::Ordering};

use anyhow::Context as _;
use tfo_common::{
    DestCounts, DestKey, Handshake, Loss, Outcome, Role,
    classify::{End, classify},
    counters::{NetnsCounters, Stat, stat_index, total_index},
    dest::Lived,
    limits,
    listener::Arrival,
    request::Request,
};

use super::{
    counted::{Counted, Merge},
    maps::Maps,
    sys,
};
use crate::model::{
    diagnosis::host_facts::Lifetime,
    packed::Packed,
    source::{Reading, Totals},
};

/// Reads all counters. Per-CPU counters are summed; each is exact, and all are read within a millisecond or
/// so, not at one instant.
pub fn read(
    maps: &Maps,
    counted: &Counted,
    with_dests: bool,
    emit_plain: bool,
    capacity: u32,
    bad_records: u64,
    unfinished: &mut Unfinished,
) -> anyhow::Result<Reading> {
    let mut reading = Reading {
        at_ns: sys::monotonic_ns(),
        dests_capacity: capacity,
        ..Reading::default()
    };
    reading.totals = totals(maps)?;
    let with_record = if emit_plain {
        0
    } else {
        // Every handshake with Fast Open has a record: the kernel side need not count them once more.
        let (all, plain) = sums(&reading.totals);
        all - plain
    };
    for loss in Loss::ALL.into_iter().take(Loss::KERNEL) {
        reading.losses[loss as usize] = counter(maps, loss as u32)?;
    }
    reading.losses[Loss::BadRecord as usize] = bad_records;
    reading.losses[Loss::RequestEvicted as usize] = unfinished.sweep(maps, reading.at_ns)?;
    reading.losses[Loss::ListenerEvicted as usize] = unfinished.listeners_evicted(maps)?;
    for (total, never) in reading.totals[Role::Server as usize]
        .iter_mut()
        .zip(unfinished.outcomes)
    {
        *total += never;
    }
    reading.losses[Loss::ListenerUnknown as usize] += unfinished.unknown;
    let mut stats = [0; Stat::COUNT];
    for stat in Stat::ALL {
        stats[stat as usize] = counter(maps, stat_index(stat))?;
    }
    reading.losses[Loss::Shed as usize] = stats[Stat::Shed as usize];
    reading.events = if emit_plain {
        stats[Stat::Events as usize]
    } else {
        with_record.saturating_sub(reading.losses[Loss::RingFull as usize])
    };
    // Rows change where a handshake is counted, and where the first byte comes after it.
    let (handshakes, _) = sums(&reading.totals);
    let plain_first_bytes = stats[Stat::PlainFirstBytes as usize];
    reading.row_changes =
        Some(handshakes + counted.records() + maps.first_bytes.settled() + plain_first_bytes);
    stats[Stat::DestInserted as usize] += counted.rows();
    reading.stats = Some(stats);
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
    reading.losses[Loss::NetnsFull as usize] += counted.add_netns_to(&mut reading.netns);
    if with_dests {
        let mut merge = counted.merge();
        reading.dests = dests(maps, capacity, &mut merge)?;
        let inserted = counter(maps, stat_index(Stat::DestInserted))?;
        reading.losses[Loss::DestEvicted as usize] = inserted.saturating_sub(reading.dests.len() as u64);
        let others = merge.others().map(|(key, stats)| (*key, Packed::from(stats)));
        reading.dests.extend(others);
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
            let in_blocks = maps.records.total(role, outcome);
            totals[role as usize][outcome as usize] = values.iter().sum::<u64>() + in_blocks;
        }
    }
    Ok(totals)
}

/// All handshakes, and the plain ones among them.
fn sums(totals: &Totals) -> (u64, u64) {
    let plain = totals
        .iter()
        .map(|of_role| of_role[Outcome::Plain as usize])
        .sum();
    (totals.iter().flatten().sum(), plain)
}

fn counter(maps: &Maps, index: u32) -> anyhow::Result<u64> {
    Ok(maps
        .losses
        .get(&index, 0)
        .context("read loss counters")?
        .iter()
        .sum())
}

/// The rows of the kernel side, each with what its records add up to.
fn dests(maps: &Maps, capacity: u32, merge: &mut Merge<'_>) -> anyhow::Result<Vec<(DestKey, Packed)>> {
    // As many as there can be, so that what is read is not moved about.
    let made = counter(maps, stat_index(Stat::DestInserted))?;
    let mut dests = Vec::with_capacity(usize::try_from(made).unwrap_or(usize::MAX).min(capacity as usize));
    let lengths = (size_of::<DestKey>(), size_of::<DestCounts>());
    sys::each_entry(
        maps.dests.fd().as_fd(),
        lengths,
        capacity as usize,
        &mut |key, value| {
            // SAFETY: both types are made of integers only.
            let row = unsafe { (sys::value(key), sys::value::<DestCounts>(value)) };
            if let (Some(key), Some(counts)) = row {
                let mut stats = counts.stats();
                merge.add_to(&key, &mut stats);
                dests.push((key, Packed::from(&stats)));
            }
        },
    )
    .context("read the destination table")?;
    Ok(dests)
}

/// Connections that ended late, by destination.
pub fn lived(maps: &Maps) -> anyhow::Result<Vec<Lifetime>> {
    let entries = sys::map_entries(
        maps.lived.fd().as_fd(),
        size_of::<DestKey>(),
        size_of::<Lived>(),
        limits::LIVED as usize,
    )
    .context("read the lifetimes of connections")?;
    let keys = entries.keys.chunks_exact(size_of::<DestKey>());
    let values = entries.values.chunks_exact(size_of::<Lived>());
    // SAFETY: both types are made of integers only.
    let rows = keys.zip(values).filter_map(|(key, value)| unsafe {
        Some(Lifetime {
            key: sys::value(key)?,
            lived: sys::value(value)?,
        })
    });
    Ok(rows.collect())
}

/// How long the facts of a SYN wait for the end of its handshake: by then the kernel has sent its SYN-ACK five times
/// again (`net.ipv4.tcp_synack_retries`) and dropped the request.
const PATIENCE_NS: u64 = 64_000_000_000;

/// Server handshakes with Fast Open that never ended: nothing tells of their end but that nothing comes.
#[derive(Debug, Default)]
pub struct Unfinished {
    /// How many, by what would have become of them.
    outcomes: [u64; Outcome::COUNT],
    /// Those of listeners of which this kernel tells too little.
    unknown: u64,
    taken: u64,
    /// Rows of listeners there had been when the table was looked at last, and how many of them had been evicted.
    listeners: (u64, u64),
}

impl Unfinished {
    /// Rows of listeners that gave way to others: those made, less those taken out and those that are there. Nothing is
    /// evicted without a new row, so only then the table is read. What happens while it is makes it less, never more.
    fn listeners_evicted(&mut self, maps: &Maps) -> anyhow::Result<u64> {
        let made = counter(maps, stat_index(Stat::ListenersCounted))?;
        if made != self.listeners.0 {
            let forgotten = counter(maps, stat_index(Stat::ListenersForgotten))?;
            let info = maps.arrivals.info().context("read the listener table's type")?;
            let present = sys::map_entries(
                maps.arrivals.fd().as_fd(),
                size_of::<u64>(),
                size_of::<[u64; Arrival::COUNT]>(),
                info.max_entries() as usize,
            )
            .context("read the listener table")?;
            let left = made.saturating_sub(forgotten + present.count as u64);
            self.listeners = (made, left.max(self.listeners.1));
        }
        Ok(self.listeners.1)
    }

    /// Takes facts of SYNs that have waited too long out of the table and counts them. Returns how many went in, were
    /// not taken out by a finished handshake or here, and are not there any more. Read in this order, what happens
    /// meanwhile makes it less, never more: who is stored later is not counted, who is taken later is.
    fn sweep(&mut self, maps: &Maps, now_ns: u64) -> anyhow::Result<u64> {
        let stored = counter(maps, stat_index(Stat::RequestStored))?;
        if stored == counter(maps, stat_index(Stat::RequestTaken))? + self.taken {
            return Ok(0);
        }
        let info = maps.requests.info().context("read the request table's type")?;
        let present = sys::map_entries(
            maps.requests.fd().as_fd(),
            size_of::<u64>(),
            size_of::<Request>(),
            info.max_entries() as usize,
        )
        .context("read the request table")?;
        let mut left = present.count as u64;
        let keys = present.keys.chunks_exact(size_of::<u64>());
        let values = present.values.chunks_exact(size_of::<Request>());
        for (key, value) in keys.zip(values) {
            // SAFETY: `Request` is made of integers only.
            let Some(request) = (unsafe { sys::value::<Request>(value) }) else {
                continue;
            };
            // One that a handshake takes at this moment is not there any more, and counted there.
            if is_over(&request, now_ns) && sys::map_delete(maps.requests.fd().as_fd(), key).is_ok() {
                left -= 1;
                self.taken += 1;
                if let Some(waiting) = maps.waiting.half_word(request.kind as usize) {
                    waiting.fetch_sub(1, Ordering::Relaxed);
                }
                match outcome(&request) {
                    Some(outcome) => self.outcomes[outcome as usize] += 1,
                    None => self.unknown += 1,
                }
            }
        }
        let taken = counter(maps, stat_index(Stat::RequestTaken))? + self.taken;
        Ok(stored.saturating_sub(taken).saturating_sub(left))
    }
}

fn is_over(request: &Request, now_ns: u64) -> bool {
    now_ns.saturating_sub(request.start_ns) > PATIENCE_NS
}

/// What would have become of the handshake; `None` where this kernel hides the listener's state.
fn outcome(request: &Request) -> Option<Outcome> {
    let mut facts = Handshake::plain(Role::Server);
    facts.end = End::Failed;
    request.add_to(&mut facts).then(|| classify(&facts))
}

#[cfg(test)]
mod tests {
    use tfo_common::{TfoOption, classify::Listener, request::LISTENER_UNKNOWN};

    use super::*;

    #[test]
    fn who_never_acknowledged_is_counted_as_what_it_would_have_become() {
        let request = |option: TfoOption, listener| Request {
            start_ns: 5,
            syn_len: 100,
            option: option as u8,
            option_kind: 34,
            listener,
            syncookie: 0,
            kind: 0,
            defers: 0,
        };
        for (option, listener, want) in [
            (
                TfoOption::Cookie,
                Listener::QueueFull as u8,
                Some(Outcome::QueueOverflow),
            ),
            (
                TfoOption::Cookie,
                Listener::Ready as u8,
                Some(Outcome::CookieRejected),
            ),
            (
                TfoOption::Request,
                Listener::Ready as u8,
                Some(Outcome::CookieGranted),
            ),
            (TfoOption::Request, Listener::Off as u8, Some(Outcome::NotEnabled)),
            (TfoOption::None, LISTENER_UNKNOWN, Some(Outcome::OptionStripped)),
            (TfoOption::Cookie, LISTENER_UNKNOWN, None),
        ] {
            assert_eq!(outcome(&request(option, listener)), want);
        }
        let one = request(TfoOption::Cookie, 0);
        assert!(!is_over(&one, 5 + PATIENCE_NS) && is_over(&one, 6 + PATIENCE_NS));
        assert!(!is_over(&one, 0), "a clock read before");
    }
}
