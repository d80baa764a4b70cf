//! Which processes opened flows, per cgroup. Bounded: a fork bomb must not fill our memory.

use std::{collections::HashMap, hash::BuildHasherDefault, sync::Arc};

use tfo_common::{FlowEvent, Outcome};

use super::{flow::comm, flows::IdHasher};

/// Cgroups remembered at most.
const CGROUPS: usize = 1_024;
/// Processes remembered per cgroup; the one with the fewest flows gives way.
const PER_CGROUP: usize = 16;

/// A process seen in a cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Process id in the initial PID namespace.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// Flows it opened.
    pub flows: u64,
    /// Those of them that failed.
    pub failures: u64,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Processes {
    by_cgroup: Arc<HashMap<u64, Vec<Process>>>,
    /// Counted since the last snapshot, so that folding does not copy what a snapshot shares.
    pending: HashMap<(u64, u32), Pending, BuildHasherDefault<IdHasher>>,
}

#[derive(Clone, Debug)]
struct Pending {
    comm: String,
    flows: u64,
    failures: u64,
}

impl Processes {
    pub(super) fn count(&mut self, event: &FlowEvent) {
        let Some(outcome) = Outcome::from_code(event.outcome) else {
            return;
        };
        if event.tgid == 0 {
            return;
        }
        if self.pending.len() >= CGROUPS * PER_CGROUP {
            self.settle();
        }
        let entry = self
            .pending
            .entry((event.cgroup_id, event.tgid))
            .or_insert_with(|| Pending {
                comm: comm(&event.comm).into_owned(),
                flows: 0,
                failures: 0,
            });
        entry.flows += 1;
        entry.failures += u64::from(outcome.is_failure());
    }

    /// Moves what was counted into the shared map.
    pub(super) fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let by_cgroup = Arc::make_mut(&mut self.by_cgroup);
        for ((cgroup_id, pid), pending) in self.pending.drain() {
            if by_cgroup.len() >= CGROUPS && !by_cgroup.contains_key(&cgroup_id) {
                continue;
            }
            add(by_cgroup.entry(cgroup_id).or_default(), pid, pending);
        }
    }

    pub(super) fn share(&self) -> Arc<HashMap<u64, Vec<Process>>> {
        Arc::clone(&self.by_cgroup)
    }
}

fn add(processes: &mut Vec<Process>, pid: u32, pending: Pending) {
    match processes
        .iter_mut()
        .find(|process| process.pid == pid && process.comm == pending.comm)
    {
        Some(process) => {
            process.flows += pending.flows;
            process.failures += pending.failures;
        }
        None => processes.push(Process {
            pid,
            comm: pending.comm,
            flows: pending.flows,
            failures: pending.failures,
        }),
    }
    processes.sort_by(|left, right| right.flows.cmp(&left.flows).then(left.pid.cmp(&right.pid)));
    processes.truncate(PER_CGROUP);
}
