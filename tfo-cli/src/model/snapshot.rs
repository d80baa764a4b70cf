//! An instant of the model that never changes: what every output and the dashboard draw from.

use std::{cmp::Ordering, collections::HashMap, sync::Arc};

use tfo_common::{Loss, Outcome, Role, limits, listener::ListenerRecord};

use super::{
    cost::Cost,
    crosscheck::CrossLine,
    diagnosis::{Facts, Finding, HostFacts, Report, Subject, diagnose, plain_baselines::PlainBaselines},
    filter::Filter,
    filterable::{FilterableRow, FilterableSubject},
    flow::Flow,
    names::Names,
    networks::Networks,
    processes::Process,
    row::DestRow,
    services::{self, Group, Service},
    sort::SortKey,
    source::{Degradation, Guarded, Host, Totals},
};
use crate::policy::InForce;

/// Bits remote addresses are cut to in the rows of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefixes {
    /// Of IPv4.
    pub v4: u8,
    /// Of IPv6.
    pub v6: u8,
}

impl Default for Prefixes {
    fn default() -> Self {
        Self {
            v4: limits::SERVER_V4_PREFIX,
            v6: limits::SERVER_V6_PREFIX,
        }
    }
}

/// Everything there is to show. Cloning it is cheap: what is large is shared.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// `CLOCK_MONOTONIC` ns of the latest reading.
    pub at_ns: u64,
    /// ns of wall clock minus monotonic clock.
    pub wall_offset_ns: i64,
    /// ns since the first reading, or since the counters were cleared.
    pub elapsed_ns: u64,
    /// ns between the latest two readings.
    pub interval_ns: u64,
    /// Settings and counters of the host.
    pub host: Arc<Host>,
    /// What the host cannot do.
    pub degradations: Arc<[Degradation]>,
    /// Programs that are attached.
    pub attached: Arc<[String]>,
    /// Handshakes by role and outcome.
    pub totals: Totals,
    /// The same in the latest interval.
    pub fresh: Totals,
    /// Losses by reason.
    pub losses: [u64; Loss::COUNT],
    /// Records written.
    pub events: u64,
    /// Our counters against the kernel's.
    pub cross: Arc<[CrossLine]>,
    /// The destination table, in the default order.
    pub rows: Arc<Vec<DestRow>>,
    /// Rows it can hold.
    pub dests_capacity: u32,
    /// Bits the remote addresses of servers are cut to in it.
    pub server_prefixes: Prefixes,
    /// What networks are called.
    pub networks: Arc<Networks>,
    /// The latest flows, newest last.
    pub flows: Arc<[Flow]>,
    /// Listening sockets.
    pub listeners: Arc<[ListenerRecord]>,
    /// The policy in force, if known.
    pub policy: Option<Arc<InForce>>,
    /// What the guard knows of the destination that is open, if known.
    pub guarded: Option<Guarded>,
    /// What watching costs.
    pub cost: Cost,
    /// What cgroup ids are called.
    pub names: Names,
    /// What else was looked at.
    pub host_facts: Arc<HostFacts>,
    /// Where plain connections stood when Fast Open failed.
    pub plain_baselines: PlainBaselines,
    /// What was found, as of the latest look.
    pub diagnosis: Arc<Report>,
    /// Processes by cgroup id.
    pub processes: Arc<HashMap<u64, Vec<Process>>>,
}

impl Snapshot {
    /// Processes seen in a cgroup.
    pub fn processes_of(&self, cgroup_id: u64) -> &[Process] {
        self.processes.get(&cgroup_id).map_or(&[], Vec::as_slice)
    }

    /// The other end of a row: an address, or the block it was cut to.
    pub fn remote(&self, row: &DestRow) -> String {
        let (bits, all) = match row.key.family {
            4 => (self.server_prefixes.v4, 32),
            _ => (self.server_prefixes.v6, 128),
        };
        if row.role() == Role::Server && bits < all {
            format!("{}/{bits}", row.remote())
        } else {
            row.remote().to_string()
        }
    }

    /// Whether a finding is about something that passes the filter. Those about the host pass always; where it rests
    /// on no row, what it is about is asked.
    pub fn passes(&self, finding: &Finding, filter: &Filter) -> bool {
        let mut rows = self.rows.iter().filter(|row| finding.rows.contains(&row.key));
        let subject = &finding.subject;
        if matches!(subject, Subject::Host { .. }) && finding.rows.is_empty() {
            return true;
        }
        let cgroup_id = subject.cgroup_id().unwrap_or(0);
        rows.any(|row| filter.matches(&self.filterable(row)))
            || finding.rows.is_empty()
                && filter.matches(&FilterableSubject {
                    subject,
                    cgroup: self.names.get(cgroup_id),
                    processes: self.processes_of(cgroup_id),
                    network: self.network_of(finding),
                })
    }

    /// Rows that the filter cannot judge: it asks for the name of a cgroup, and nobody can tell that of theirs.
    pub fn unjudged(&self, filter: &Filter) -> usize {
        if filter.is_empty() {
            return 0;
        }
        let rows = self.rows.iter().map(|row| self.filterable(row));
        rows.filter(|row| row.cgroup.is_none() && filter.is_undecided(row))
            .count()
    }

    /// A row, with what this instant knows about it.
    pub fn filterable<'a>(&'a self, row: &'a DestRow) -> FilterableRow<'a> {
        FilterableRow {
            row,
            cgroup: self.names.get(row.key.cgroup_id),
            processes: self.processes_of(row.key.cgroup_id),
            network: self.network(row),
        }
    }

    /// Compares two rows in this order.
    pub fn compare(&self, sort: SortKey, left: &DestRow, right: &DestRow) -> Ordering {
        let by_network = match sort {
            SortKey::Network => {
                let label = |row| self.network(row).map_or((true, ""), |label| (false, label));
                label(left).cmp(&label(right))
            }
            _ => Ordering::Equal,
        };
        by_network.then_with(|| sort.compare(left, right))
    }

    /// The rows that satisfy the test, added up by service.
    pub fn by_service(&self, wanted: impl Fn(&DestRow) -> bool, sort: SortKey) -> Vec<Service> {
        let group = |row: &DestRow| wanted(row).then_some(Group::Service(row.key.cgroup_id));
        services::sum(&self.rows, group, sort)
    }

    /// The rows that satisfy the test, added up by network.
    pub fn by_network(&self, wanted: impl Fn(&DestRow) -> bool, sort: SortKey) -> Vec<Service> {
        let label = |row: &DestRow| self.networks.label_of(row, self.server_prefixes).cloned();
        let group = |row: &DestRow| wanted(row).then(|| Group::Network(label(row)));
        services::sum(&self.rows, group, sort)
    }

    /// What the network of a row is called.
    pub fn network(&self, row: &DestRow) -> Option<&str> {
        self.networks
            .label_of(row, self.server_prefixes)
            .map(|label| &**label)
    }

    /// What the network of a finding is called, where all it rests on lies in one.
    pub fn network_of(&self, finding: &Finding) -> Option<&str> {
        if self.networks.is_empty() {
            return None;
        }
        if let (Subject::Destination { remote, .. }, true) = (&finding.subject, finding.rows.is_empty()) {
            return self.networks.label(*remote).map(|label| &**label);
        }
        let rows = self.rows.iter().filter(|row| finding.rows.contains(&row.key));
        let mut labels = rows.map(|row| self.network(row));
        let first = labels.next()??;
        labels.all(|label| label == Some(first)).then_some(first)
    }

    /// Looks for what is wrong, as of this instant.
    pub fn diagnose(&mut self) {
        self.diagnosis = Arc::new(diagnose(&Facts::new(self)));
    }

    /// Everything that was lost, all reasons together.
    pub fn lost(&self) -> u64 {
        self.losses.iter().sum()
    }

    /// Reasons with their counts, where something was lost.
    pub fn losses_by_reason(&self) -> impl Iterator<Item = (Loss, u64)> {
        losses_by_reason(&self.losses)
    }

    /// Handshakes of a role that satisfy the test.
    pub fn total(&self, role: Role, wanted: fn(Outcome) -> bool) -> u64 {
        sum(&self.totals, role, wanted)
    }

    /// Time saved and time lost over all rows, us.
    pub fn ledger_us(&self) -> (u64, u64) {
        self.rows.iter().fold((0, 0), |(saved, lost), row| {
            (
                saved.saturating_add(row.saved_us),
                lost.saturating_add(row.lost_us),
            )
        })
    }

    /// Wall clock of a kernel time, ns since 1970.
    pub fn wall_ns(&self, kernel_ns: u64) -> i128 {
        i128::from(kernel_ns) + i128::from(self.wall_offset_ns)
    }
}

/// Reasons with their counts, where something was lost.
pub fn losses_by_reason(losses: &[u64; Loss::COUNT]) -> impl Iterator<Item = (Loss, u64)> {
    Loss::ALL.into_iter().zip(*losses).filter(|(_, count)| *count > 0)
}

/// Handshakes of a role that satisfy the test.
pub fn sum(totals: &Totals, role: Role, wanted: fn(Outcome) -> bool) -> u64 {
    let counts = Outcome::ALL.into_iter().zip(totals[role as usize]);
    counts
        .filter(|(outcome, _)| wanted(*outcome))
        .map(|(_, count)| count)
        .sum()
}
