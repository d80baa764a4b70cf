//! What is counted of records, because the kernel side leaves it to their reader: rows of destinations, and
//! connections by network namespace.
//!
//! Exact: a record says itself whether it is still to be counted ([`event_flags::TO_ADD`], [`event_flags::TO_COUNT`]), and a
//! handshake that finds no room at all is counted by the kernel side.

use std::collections::HashMap;

use tfo_common::{
    CrossCheck, DestKey, DestStats, FlowEvent, Outcome, Role,
    counters::NetnsCounters,
    event::event_flags,
    flags::{mask32, mask128},
    limits,
    time::{UNSEEN_US, bucket},
};

/// The place of a row here; it never changes.
pub type RowPlace = u32;

/// Entries of [`Counted::latest`], a power of two. Two rows that meet there are looked up in the table each time, which takes as
/// long as all else that is done with a record: so many that the few which most records are of rarely meet.
const LATEST: usize = 1_024;

/// What was counted.
pub struct Counted {
    /// What is kept of the address of a server's peer: words in network order.
    masks: (u32, [u32; 4]),
    places: HashMap<DestKey, RowPlace>,
    rows: Vec<(DestKey, DestStats)>,
    /// Rows that records were of just now, by [`near`]: most are of a destination that another one was of a moment ago.
    latest: Box<[Option<(DestKey, RowPlace)>]>,
    netns: Vec<(u32, NetnsCounters)>,
    netns_places: HashMap<u32, usize>,
    /// The place of the latest one: most records are of the same namespace as the one before.
    latest_netns: usize,
    /// Connections of namespaces for which there was no room.
    netns_full: u64,
    records: u64,
}

impl Counted {
    /// Nothing yet. The prefixes are those that a server's peers are cut to.
    pub fn new(server_v4_prefix: u8, server_v6_prefix: u8) -> Self {
        Self {
            masks: (mask32(server_v4_prefix), mask128(server_v6_prefix)),
            places: HashMap::new(),
            rows: Vec::new(),
            latest: vec![None; LATEST].into(),
            netns: Vec::new(),
            netns_places: HashMap::new(),
            latest_netns: 0,
            netns_full: 0,
            records: 0,
        }
    }

    /// Counts a record as it was written, and takes out of it what is meant for its reader alone. Returns the place of
    /// its row, if there is one here.
    pub fn take_in(&mut self, flow: &mut FlowEvent) -> Option<RowPlace> {
        self.records += 1;
        let flags = flow.flags;
        flow.flags &= !(event_flags::TO_ADD | event_flags::TO_COUNT);
        let role = Role::from_code(flow.role)?;
        if flags & event_flags::TO_COUNT != 0 {
            self.count(flow.netns, role);
        }
        if flags & event_flags::TO_ADD == 0 {
            return None;
        }
        let place = self.place(key(flow, role, self.masks));
        let (_, row) = &mut self.rows[place as usize];
        add(row, flow);
        Some(place)
    }

    /// Adds a first byte that came after its record to the row at a place.
    pub fn first_byte(&mut self, place: RowPlace, is_requested: bool, ttfb_us: u32) {
        let (_, row) = &mut self.rows[place as usize];
        add_first_byte(row, is_requested, ttfb_us);
    }

    /// Whether the kernel side is to make rows itself from now on.
    pub fn is_full(&self) -> bool {
        self.rows.len() >= limits::ROWS_BY_READER as usize
    }

    /// Records so far: more of them than at an earlier reading, and rows may have changed.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows.len() as u64
    }

    /// The rows, to be put together with those of the kernel side.
    pub fn merge(&self) -> Merge<'_> {
        Merge {
            counted: self,
            is_merged: vec![false; self.rows.len()],
        }
    }

    /// Adds the counters of network namespaces to those of the kernel side. Returns how many connections were of namespaces
    /// for which there was no room here.
    pub fn add_netns_to(&self, table: &mut Vec<(u32, NetnsCounters)>) -> u64 {
        for (inode, counted) in &self.netns {
            match table.iter_mut().find(|(known, _)| known == inode) {
                Some((_, sum)) => {
                    let sums = sum.counts.iter_mut().zip(counted.counts);
                    sums.for_each(|(sum, count)| *sum += count);
                }
                None => table.push((*inode, *counted)),
            }
        }
        self.netns_full
    }

    /// Network namespaces that connections were counted of.
    pub fn namespaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.netns.iter().map(|(inode, _)| *inode)
    }

    /// Removes what was counted of a namespace that is gone.
    pub fn forget(&mut self, netns: u32) {
        let Some(place) = self.netns_places.remove(&netns) else {
            return;
        };
        self.netns.swap_remove(place);
        if let Some((moved, _)) = self.netns.get(place) {
            self.netns_places.insert(*moved, place);
        }
    }

    fn count(&mut self, netns: u32, role: Role) {
        let what = match role {
            Role::Client => CrossCheck::Active,
            Role::Server => CrossCheck::Passive,
        };
        if netns == 0 {
            // Unknown to the kernel side as well.
            return;
        }
        match self.netns_place(netns) {
            Some(place) => self.netns[place].1.counts[what as usize] += 1,
            None => self.netns_full += 1,
        }
    }

    /// The place of a namespace's counters, made if there is room.
    fn netns_place(&mut self, netns: u32) -> Option<usize> {
        if self
            .netns
            .get(self.latest_netns)
            .is_some_and(|(latest, _)| *latest == netns)
        {
            return Some(self.latest_netns);
        }
        let place = match self.netns_places.get(&netns) {
            Some(place) => *place,
            None if self.netns.len() < limits::NETNS as usize => {
                self.netns.push((netns, NetnsCounters::default()));
                self.netns_places.insert(netns, self.netns.len() - 1);
                self.netns.len() - 1
            }
            None => return None,
        };
        self.latest_netns = place;
        Some(place)
    }

    fn place(&mut self, key: DestKey) -> RowPlace {
        let near = near(&key);
        if let Some((latest, place)) = self.latest[near]
            && latest == key
        {
            return place;
        }
        let rows = &mut self.rows;
        let place = *self.places.entry(key).or_insert_with(|| {
            rows.push((key, DestStats::ZERO));
            RowPlace::try_from(rows.len() - 1).unwrap_or(RowPlace::MAX)
        });
        self.latest[near] = Some((key, place));
        place
    }
}

/// Rows that are put together with those of the kernel side.
pub struct Merge<'a> {
    counted: &'a Counted,
    is_merged: Vec<bool>,
}

impl<'a> Merge<'a> {
    /// Adds what was counted here to a row of the kernel side.
    pub fn add_to(&mut self, key: &DestKey, stats: &mut DestStats) {
        if let Some(place) = self.counted.places.get(key) {
            stats.add(&self.counted.rows[*place as usize].1);
            self.is_merged[*place as usize] = true;
        }
    }

    /// The rows that the kernel side has none of.
    pub fn others(self) -> impl Iterator<Item = &'a (DestKey, DestStats)> {
        let rows = self.counted.rows.iter().zip(self.is_merged);
        rows.filter(|(_, is_merged)| !is_merged).map(|(row, _)| row)
    }
}

/// Which of the latest rows a key is looked for at. Whoever chooses addresses that meet there only has them looked up in the table.
fn near(key: &DestKey) -> usize {
    let (words, _) = key.remote.as_chunks::<8>();
    let start = key.cgroup_id ^ u64::from(key.port) << 32 ^ u64::from(key.role) << 48;
    let folded = words.iter().fold(start, |folded, word| {
        folded.rotate_left(25) ^ u64::from_le_bytes(*word)
    });
    usize::try_from(folded.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40).unwrap_or(0) % LATEST
}

/// The row a record belongs to, as `account::dest_of` of the kernel side has it.
fn key(flow: &FlowEvent, role: Role, (v4, v6): (u32, [u32; 4])) -> DestKey {
    let mut remote = flow.remote;
    let port = match role {
        Role::Client => flow.remote_port,
        Role::Server => {
            let masks = if flow.family == 4 { [v4, 0, 0, 0] } else { v6 };
            let (words, _) = remote.as_chunks_mut::<4>();
            for (word, mask) in words.iter_mut().zip(masks) {
                *word = (u32::from_ne_bytes(*word) & mask).to_ne_bytes();
            }
            flow.local_port
        }
    };
    DestKey {
        cgroup_id: flow.cgroup_id,
        remote,
        port,
        role: flow.role,
        family: flow.family,
        pad: 0,
    }
}

/// Adds a handshake to its row, as `finish::add_to_row` of the kernel side does.
fn add(row: &mut DestStats, flow: &FlowEvent) {
    let Some(outcome) = Outcome::from_code(flow.outcome) else {
        return;
    };
    row.add_handshake(outcome, flow);
    row.cookies += u64::from(!outcome.is_plain() && flow.flags & event_flags::COOKIE_RECEIVED != 0);
    if flow.ttfb_us != UNSEEN_US {
        add_first_byte(row, flow.flags & event_flags::REQUESTED != 0, flow.ttfb_us);
    }
}

fn add_first_byte(row: &mut DestStats, is_requested: bool, ttfb_us: u32) {
    let times = if is_requested {
        &mut row.ttfb_tfo
    } else {
        &mut row.ttfb_plain
    };
    times[bucket(ttfb_us)] += 1;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::fake;

    /// A record as it was written, all of it to be counted by its reader.
    fn record(role: Role, outcome: Outcome) -> FlowEvent {
        let mut flow = fake::flow(outcome);
        flow.role = role as u8;
        flow.flags |= event_flags::TO_ADD | event_flags::TO_COUNT;
        flow
    }

    fn rows(counted: &Counted) -> Vec<(DestKey, DestStats)> {
        counted.merge().others().copied().collect()
    }

    #[test]
    fn what_is_meant_for_the_reader_leaves_the_record() {
        let mut counted = Counted::new(24, 48);
        let mut flow = record(Role::Server, Outcome::Accepted);
        assert_eq!(counted.take_in(&mut flow), Some(0));
        assert_eq!(flow.flags & (event_flags::TO_ADD | event_flags::TO_COUNT), 0);
    }

    #[test]
    fn a_record_that_the_kernel_side_has_counted_is_not_counted_again() {
        let mut counted = Counted::new(24, 48);
        let mut flow = record(Role::Client, Outcome::Accepted);
        flow.flags &= !(event_flags::TO_ADD | event_flags::TO_COUNT);
        assert_eq!(counted.take_in(&mut flow), None);
        assert!(rows(&counted).is_empty());
        let mut netns = Vec::new();
        assert_eq!(counted.add_netns_to(&mut netns), 0);
        assert!(netns.is_empty());
    }

    #[test]
    fn a_row_is_that_of_the_kernel_side() {
        let mut counted = Counted::new(24, 48);
        let mut accepted = record(Role::Client, Outcome::Accepted);
        (accepted.syn_data_len, accepted.syn_data_acked) = (100, 100);
        (accepted.rtt_us, accepted.saved_us, accepted.handshake_us) = (50, 50, 50);
        (accepted.ttfb_us, accepted.end_ns) = (UNSEEN_US, 9);
        let mut failed = accepted;
        (failed.outcome, failed.syn_data_acked) = (Outcome::Reset as u8, 0);
        (failed.rtt_us, failed.handshake_us, failed.saved_us) = (UNSEEN_US, UNSEEN_US, 0);
        let place = counted.take_in(&mut accepted).expect("its row is here");
        assert_eq!(counted.take_in(&mut failed), Some(place));
        counted.first_byte(place, true, 300);
        let (_, row) = rows(&counted)[0];
        assert_eq!((row.handshakes(), row.outcomes[Outcome::Reset as usize]), (2, 1));
        assert_eq!((row.syn_bytes, row.syn_bytes_acked), (200, 100));
        assert_eq!((row.rtt_sum_us, row.rtt_count, row.saved_us), (50, 1, 50));
        assert_eq!((row.handshake_tfo[bucket(50)], row.ttfb_tfo[bucket(300)]), (1, 1));
        assert_eq!((row.last_ns, counted.records()), (9, 2));
    }

    #[test]
    fn rows_of_both_sides_are_one() {
        let mut counted = Counted::new(24, 48);
        let mut flow = record(Role::Client, Outcome::Accepted);
        counted.take_in(&mut flow);
        let key = rows(&counted)[0].0;
        let mut kernel = DestStats::ZERO;
        kernel.outcomes[Outcome::Plain as usize] = 4;
        kernel.last_ns = u64::MAX;
        let mut merge = counted.merge();
        merge.add_to(&key, &mut kernel);
        merge.add_to(&DestKey { port: 1, ..key }, &mut kernel);
        assert_eq!(kernel.handshakes(), 5);
        assert_eq!(kernel.last_ns, u64::MAX);
        assert_eq!(merge.others().count(), 0);
    }

    #[test]
    fn peers_of_a_server_are_cut_to_their_prefix() {
        let mut counted = Counted::new(24, 48);
        for last in [7, 8] {
            let mut flow = record(Role::Server, Outcome::Accepted);
            (flow.family, flow.local_port, flow.remote_port) = (4, 443, 50_000 + u16::from(last));
            flow.remote = [0; 16];
            flow.remote[..4].copy_from_slice(&[198, 51, 100, last]);
            counted.take_in(&mut flow);
        }
        let rows = rows(&counted);
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].0.remote[..4], [198, 51, 100, 0]);
        assert_eq!(rows[0].0.port, 443);
    }

    #[test]
    fn namespaces_are_counted_as_the_kernel_does_and_forgotten() {
        let mut counted = Counted::new(24, 48);
        for role in [Role::Client, Role::Server] {
            let mut flow = record(role, Outcome::Accepted);
            flow.netns = 7;
            counted.take_in(&mut flow);
        }
        let mut netns = vec![(
            7,
            NetnsCounters {
                counts: [1; CrossCheck::COUNT],
            },
        )];
        counted.add_netns_to(&mut netns);
        assert_eq!(netns[0].1.counts[CrossCheck::Active as usize], 2);
        assert_eq!(netns[0].1.counts[CrossCheck::Passive as usize], 2);
        assert_eq!(netns[0].1.counts[CrossCheck::ActiveFail as usize], 1);
        assert_eq!(counted.namespaces().collect::<Vec<_>>(), [7]);
        counted.forget(7);
        assert_eq!(counted.namespaces().count(), 0);
    }

    #[test]
    fn each_namespace_keeps_its_counters_when_another_one_is_forgotten() {
        let mut counted = Counted::new(24, 48);
        let count = |counted: &mut Counted, inodes: &[u32]| {
            for netns in inodes {
                let mut flow = record(Role::Client, Outcome::Accepted);
                flow.netns = *netns;
                counted.take_in(&mut flow);
            }
        };
        count(&mut counted, &[7, 8, 9, 9, 8, 9]);
        // The first one goes, and the last one comes to its place; one that nobody counted is no harm.
        counted.forget(7);
        counted.forget(70);
        count(&mut counted, &[9, 7, 8]);
        let mut netns = Vec::new();
        assert_eq!(counted.add_netns_to(&mut netns), 0);
        let actives = netns
            .iter()
            .map(|(inode, counters)| (*inode, counters.counts[CrossCheck::Active as usize]));
        let mut actives: Vec<_> = actives.collect();
        actives.sort_unstable();
        assert_eq!(actives, [(7, 1), (8, 3), (9, 4)]);
    }

    /// More of them than are remembered apart.
    #[test]
    fn every_destination_has_its_row_in_whatever_order_records_come() {
        let mut counted = Counted::new(24, 48);
        for round in 0..3_u16 {
            for port in 0..500_u16 {
                let mut flow = record(Role::Client, Outcome::Accepted);
                flow.remote_port = (port * 7 + round) % 500;
                counted.take_in(&mut flow);
            }
        }
        let rows = rows(&counted);
        assert_eq!(rows.len(), 500);
        assert!(
            rows.iter()
                .all(|(_, row)| row.outcomes[Outcome::Accepted as usize] == 3)
        );
    }
}
