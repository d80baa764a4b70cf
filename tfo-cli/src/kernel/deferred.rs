//! Connects that wait for their first write, from one walk over the sockets to the next: since when, and whose.
//!
//! The kernel keeps no time of such a socket. It is known by its inode, which is not given again for a long time.

use std::{
    collections::{BTreeSet, HashMap},
    net::SocketAddr,
};

use tfo_common::listener::DeferredRecord;

use super::listeners;
use crate::{addr, model::diagnosis::host_facts::Deferred};

/// A socket of the walk before.
#[derive(Clone, Debug)]
struct DeferredSocket {
    first_ns: u64,
    /// Whether its process was looked for, which is done once.
    is_asked: bool,
    /// Process and name, where it was found.
    owner: Option<(u32, String)>,
}

/// Those of the latest walk.
#[derive(Debug, Default)]
pub struct Waiting {
    sockets: HashMap<u64, DeferredSocket>,
}

impl Waiting {
    /// Takes what a walk found at this time (`CLOCK_MONOTONIC`). Sockets that are there for the second time are worth
    /// a look through /proc/PID/fd: most connects are over by then.
    pub fn update(&mut self, records: &[DeferredRecord], now_ns: u64) -> Vec<Deferred> {
        self.update_with(records, now_ns, |inodes| {
            let holders = listeners::holders(inodes);
            holders
                .into_iter()
                .map(|(inode, holder)| (inode, (holder.pid, holder.comm)))
                .collect()
        })
    }

    fn update_with(
        &mut self,
        records: &[DeferredRecord],
        now_ns: u64,
        owners: impl FnOnce(&BTreeSet<u64>) -> HashMap<u64, (u32, String)>,
    ) -> Vec<Deferred> {
        let mut before = std::mem::take(&mut self.sockets);
        for record in records {
            let first = DeferredSocket {
                first_ns: now_ns,
                is_asked: false,
                owner: None,
            };
            let socket = before.remove(&record.inode).unwrap_or(first);
            self.sockets.insert(record.inode, socket);
        }
        let unasked: BTreeSet<u64> = self
            .sockets
            .iter()
            .filter(|(_, socket)| !socket.is_asked && socket.first_ns < now_ns)
            .map(|(inode, _)| *inode)
            .collect();
        let mut owners = owners(&unasked);
        for inode in unasked {
            if let Some(socket) = self.sockets.get_mut(&inode) {
                socket.is_asked = true;
                socket.owner = owners.remove(&inode);
            }
        }
        records
            .iter()
            .map(|record| self.describe(record, now_ns))
            .collect()
    }

    fn describe(&self, record: &DeferredRecord, now_ns: u64) -> Deferred {
        let socket = self.sockets.get(&record.inode);
        let owner = socket.and_then(|socket| socket.owner.clone());
        let (pid, comm) = owner.unzip();
        Deferred {
            cgroup_id: record.cgroup_id,
            remote: SocketAddr::new(addr::ip(&record.remote, record.family), record.port),
            pid,
            comm,
            age_us: socket.map_or(0, |socket| now_ns.saturating_sub(socket.first_ns) / 1_000),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(inode: u64) -> DeferredRecord {
        DeferredRecord {
            inode,
            port: 25,
            family: 4,
            remote: [192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            ..DeferredRecord::default()
        }
    }

    #[test]
    fn the_age_is_since_it_was_first_seen_and_its_process_is_asked_for_once() {
        let mut waiting = Waiting::default();
        let mut asked = Vec::new();
        let mut update = |records: &[DeferredRecord], now_ns| {
            waiting.update_with(records, now_ns, |inodes| {
                asked.push(inodes.iter().copied().collect::<Vec<u64>>());
                HashMap::from([(7, (42, "smtp".to_owned()))])
            })
        };
        let ages = |found: &[Deferred]| -> Vec<u64> { found.iter().map(|one| one.age_us).collect() };
        let first = update(&[record(7)], 1_000_000);
        assert_eq!((ages(&first), first[0].pid), (vec![0], None));
        let second = update(&[record(7), record(8)], 3_000_000);
        assert_eq!(ages(&second), [2_000, 0]);
        assert_eq!(second[0].remote.to_string(), "192.0.2.1:25");
        assert_eq!(
            (second[0].pid, second[0].comm.as_deref()),
            (Some(42), Some("smtp"))
        );
        let third = update(&[record(8)], 4_000_000);
        assert_eq!((ages(&third), third[0].pid), (vec![1_000], None));
        // It was gone: it is new.
        assert_eq!(ages(&update(&[record(7), record(8)], 5_000_000)), [0, 2_000]);
        assert_eq!(asked, [vec![], vec![7], vec![8], vec![]]);
    }
}
