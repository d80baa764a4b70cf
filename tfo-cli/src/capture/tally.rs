//! What verdicts add up to: the totals and the destination table the kernel side would have kept.

use std::collections::{HashMap, hash_map::Entry};

use tfo_common::{
    Carried, DestKey, DestStats, Loss, Role,
    limits::{SERVER_V4_PREFIX, SERVER_V6_PREFIX},
    time::{UNSEEN_US, bucket},
};

use super::{Counts, Judged, Unknown};
use crate::{
    addr::{self, Prefix},
    model::{
        diagnosis::host_facts::{HostFacts, UnsafeWrite},
        source::{Reading, Totals},
    },
};

/// Rows kept at most: 40 MiB.
const MOST_ROWS: usize = 1 << 16;

/// The counters.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    totals: Totals,
    rows: HashMap<DestKey, DestStats>,
    events: u64,
    without_row: u64,
    /// What rode in SYNs and may not be sent twice, by destination and kind.
    unsafe_writes: HashMap<(DestKey, &'static str), UnsafeWrite>,
}

impl Tally {
    /// Adds one end of a connection, if its outcome is known.
    pub fn add(&mut self, judged: &Judged) {
        self.add_carried(judged);
        let Ok(outcome) = judged.outcome else {
            return;
        };
        let event = &judged.event;
        let role = Role::from_code(event.role).unwrap_or(Role::Client);
        self.totals[role as usize][outcome as usize] += 1;
        self.events += u64::from(!outcome.is_plain());
        let key = key(judged, role);
        let has_room = self.rows.len() < MOST_ROWS;
        let row = match self.rows.entry(key) {
            Entry::Occupied(row) => row.into_mut(),
            Entry::Vacant(row) if has_room => row.insert(DestStats::ZERO),
            Entry::Vacant(_) => return self.without_row += 1,
        };
        row.add_handshake(outcome, event);
        let plain = outcome.is_plain();
        if event.ttfb_us != UNSEEN_US {
            let first_bytes = if plain {
                &mut row.ttfb_plain
            } else {
                &mut row.ttfb_tfo
            };
            first_bytes[bucket(event.ttfb_us)] += 1;
        }
        let has_cookie = judged.cookie_received == Some(true) && role == Role::Client;
        row.cookies += u64::from(!plain && has_cookie);
    }

    /// What the model cannot know by itself: what rode in SYNs.
    pub fn host_facts(&self) -> HostFacts {
        let mut writes: Vec<UnsafeWrite> = self.unsafe_writes.values().copied().collect();
        writes.sort_by_key(|write| (write.key.remote, write.key.port, write.what));
        HostFacts {
            unsafe_writes: Ok(writes),
            ..HostFacts::default()
        }
    }

    fn add_carried(&mut self, judged: &Judged) {
        let Some(what) = judged.carried.and_then(Carried::not_to_repeat) else {
            return;
        };
        if judged.event.role != Role::Client as u8 {
            return;
        }
        let key = key(judged, Role::Client);
        if self.unsafe_writes.len() < MOST_ROWS || self.unsafe_writes.contains_key(&(key, what)) {
            let none = UnsafeWrite { key, what, count: 0 };
            self.unsafe_writes.entry((key, what)).or_insert(none).count += 1;
        }
    }

    /// Rows of the destination table.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The counters at this time, as the kernel side would have been read.
    pub fn reading(&self, at_ns: u64, counts: &Counts) -> Reading {
        let mut losses = [0; Loss::COUNT];
        for loss in Loss::ALL {
            if let Some(reason) = reason(loss) {
                losses[loss as usize] = counts.unknown[reason as usize];
            }
        }
        losses[Loss::DestInsert as usize] = self.without_row;
        Reading {
            at_ns,
            totals: self.totals,
            losses,
            events: self.events,
            stats: None,
            netns: Vec::new(),
            row_changes: None,
            dests: self.rows.iter().map(|(key, row)| (*key, row.into())).collect(),
            dests_capacity: u32::try_from(MOST_ROWS).unwrap_or(u32::MAX),
        }
    }
}

/// What a loss of the kernel side is in a capture.
pub fn reason(loss: Loss) -> Option<Unknown> {
    match loss {
        Loss::FlowTable => Some(Unknown::TableFull),
        Loss::SynUnseen => Some(Unknown::SynUnseen),
        Loss::ListenerUnknown => Some(Unknown::ListenerState),
        _ => None,
    }
}

fn key(judged: &Judged, role: Role) -> DestKey {
    let event = &judged.event;
    let remote = addr::ip(&event.remote, event.family);
    let cut = match (role, event.family) {
        (Role::Client, _) => remote,
        (Role::Server, 4) => Prefix::new(remote, SERVER_V4_PREFIX).network().address(),
        (Role::Server, _) => Prefix::new(remote, SERVER_V6_PREFIX).network().address(),
    };
    DestKey {
        cgroup_id: 0,
        remote: addr::bytes(cut).0,
        port: match role {
            Role::Client => event.remote_port,
            Role::Server => event.local_port,
        },
        role: event.role,
        family: event.family,
        pad: 0,
    }
}
