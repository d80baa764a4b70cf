//! Pure state: flows, destinations, host, filters. Never does I/O; time is passed in.
//!
//! Records and readings go in ([`Model::fold`], [`Model::read`]), an immutable [`Snapshot`] comes out.

pub mod cgroup;
mod cleared;
pub mod contradiction;
pub mod cost;
pub mod crosscheck;
pub mod diagnosis;
#[doc(hidden)]
pub mod fake;
pub mod filter;
pub mod filterable;
pub mod flow;
pub mod flows;
pub mod histogram;
pub mod history;
pub mod host;
pub mod ladder;
pub mod names;
pub mod networks;
pub mod overhead;
pub mod packed;
mod processes;
pub mod row;
pub mod row_delta;
pub mod services;
pub mod snapshot;
pub mod sort;
pub mod source;
mod table;
pub mod varint;

use std::{cell::OnceCell, sync::Arc};

use tfo_common::{DestKey, Loss, Outcome, counters::NetnsCounters, event::Record, listener::ListenerRecord};

use self::{
    cleared::ClearedCounts,
    cost::{Cost, CostMeter, ProcessUse},
    crosscheck::{CrossChecker, CrossLine},
    diagnosis::{HostFact, HostFacts, Report, host_facts::KeyInUse, plain_baselines::PlainBaselines},
    flows::FlowRing,
    history::{Changes, Frame, History},
    names::Names,
    networks::Networks,
    packed::Packed,
    processes::Processes,
    snapshot::Prefixes,
    source::{CgroupName, Degradation, Guarded, Host, ProgramRuns, Reading, Totals},
    table::Table,
};
use crate::policy::{InForce, decide};

pub use self::{flow::Flow, row::DestRow, snapshot::Snapshot, sort::SortKey};

/// Local addresses of a destination that are looked up.
const MOST_LOCALS: usize = 4;

/// Flows a model keeps: 1.2 MiB.
pub const FLOWS: usize = 8_192;

/// Everything known about this host, at one instant.
#[derive(Debug)]
pub struct Model {
    flows: FlowRing,
    /// The same as snapshots have them, until one changes: a copy is more than a megabyte.
    shared_flows: OnceCell<Arc<[Flow]>>,
    processes: Processes,
    names: Names,
    wanted: Vec<u64>,
    /// Service of the latest record since the last reading: its name was asked for.
    latest_cgroup: Option<u64>,
    bad_records: u64,
    contradictory: u64,
    first_ns: Option<u64>,
    at_ns: u64,
    interval_ns: u64,
    wall_offset_ns: i64,
    totals: Totals,
    fresh: Totals,
    losses: [u64; Loss::COUNT],
    events: u64,
    netns: Vec<(u32, NetnsCounters)>,
    cross: CrossChecker,
    cross_lines: Arc<[CrossLine]>,
    table: Table,
    history: History,
    cleared: ClearedCounts,
    dests_capacity: u32,
    server_prefixes: Prefixes,
    networks: Arc<Networks>,
    host: Arc<Host>,
    degradations: Arc<[Degradation]>,
    policy: Option<Arc<InForce>>,
    guarded: Option<Guarded>,
    attached: Arc<[String]>,
    listeners: Arc<[ListenerRecord]>,
    cost: Cost,
    cost_meter: CostMeter,
    host_facts: Arc<HostFacts>,
    plain_baselines: PlainBaselines,
    diagnosis: Arc<Report>,
}

impl Default for Model {
    fn default() -> Self {
        Self::new(FLOWS)
    }
}

impl Model {
    /// A model that keeps that many flows.
    pub fn new(flows: usize) -> Self {
        Self {
            flows: FlowRing::new(flows),
            shared_flows: OnceCell::new(),
            processes: Processes::default(),
            names: Names::default(),
            wanted: Vec::new(),
            latest_cgroup: None,
            bad_records: 0,
            contradictory: 0,
            first_ns: None,
            at_ns: 0,
            interval_ns: 0,
            wall_offset_ns: 0,
            totals: Totals::default(),
            fresh: Totals::default(),
            losses: [0; Loss::COUNT],
            events: 0,
            netns: Vec::new(),
            cross: CrossChecker::default(),
            cross_lines: Arc::default(),
            table: Table::default(),
            history: History::default(),
            cleared: ClearedCounts::default(),
            dests_capacity: 0,
            server_prefixes: Prefixes::default(),
            networks: Arc::default(),
            host: Arc::default(),
            degradations: Arc::default(),
            policy: None,
            guarded: None,
            attached: Arc::default(),
            listeners: Arc::default(),
            cost: Cost::default(),
            cost_meter: CostMeter::default(),
            host_facts: Arc::default(),
            plain_baselines: PlainBaselines::default(),
            diagnosis: Arc::default(),
        }
    }

    /// Takes one record.
    pub fn fold(&mut self, record: &Record) {
        self.shared_flows.take();
        match record {
            Record::FirstByte(first) => {
                if let Some(flow) = self.flows.get_mut(first.id) {
                    flow.set_ttfb(first.ttfb_us);
                }
            }
            Record::Flow(event) => match Flow::new(event) {
                Some(flow) => {
                    self.flows.push(&flow);
                    // Looked at as it came: who reads a copy of just now may have to wait until it is in the cache.
                    self.contradictory += u64::from(contradiction::contradiction(event).is_some());
                    self.processes.count(event);
                    // Most records are of the service the one before was of.
                    if self.latest_cgroup != Some(event.cgroup_id) {
                        self.latest_cgroup = Some(event.cgroup_id);
                        self.want(event.cgroup_id);
                    }
                }
                None => self.bad_records += 1,
            },
        }
    }

    /// Takes a reading of every counter; a reading without destinations keeps the table as it was.
    pub fn read(&mut self, mut reading: Reading) {
        self.cleared.subtract_from(&mut reading);
        self.processes.settle();
        self.latest_cgroup = None;
        self.first_ns.get_or_insert(reading.at_ns);
        self.interval_ns = if self.at_ns == 0 {
            0
        } else {
            reading.at_ns.saturating_sub(self.at_ns)
        };
        self.at_ns = reading.at_ns;
        self.fresh = difference(&reading.totals, &self.totals);
        self.totals = reading.totals;
        self.losses = reading.losses;
        self.losses[Loss::BadRecord as usize] += self.bad_records;
        self.losses[Loss::Contradictory as usize] += self.contradictory;
        self.events = reading.events;
        self.netns = reading.netns;
        if reading.dests_capacity > 0 {
            self.dests_capacity = reading.dests_capacity;
        }
        let changes = if reading.dests.is_empty() {
            Changes::default()
        } else {
            self.read_rows(&reading.dests)
        };
        let mut frame = Frame::new(self.at_ns, self.interval_ns, self.totals, self.fresh);
        frame.losses = self.losses;
        frame.events = self.events;
        self.history.push(frame, changes);
    }

    /// Makes rows of the kernel's table; returns what changed.
    fn read_rows(&mut self, dests: &[(DestKey, Packed)]) -> Changes {
        let mut changes = Changes::default();
        let baselines = &mut self.plain_baselines;
        self.table.read(dests, |key, earlier, now| {
            if let Some(row) = now {
                baselines.note(row, earlier);
                if earlier.is_some_and(|earlier| row.is_same(earlier)) {
                    return;
                }
            }
            changes.add(key, earlier, now);
        });
        let rows = Arc::clone(self.table.rows());
        // One service has many rows side by side.
        for service in rows.chunk_by(|one, next| one.key.cgroup_id == next.key.cgroup_id) {
            self.want(service[0].key.cgroup_id);
        }
        changes
    }

    /// Starts counting anew: what was counted so far is taken off every later reading.
    pub fn clear(&mut self) {
        self.cleared
            .clear(self.table.rows(), &self.totals, &self.losses, self.events);
        self.cleared.clear_listeners(&self.listeners);
        let mut listeners = self.listeners.to_vec();
        for listener in &mut listeners {
            listener.arrivals = Default::default();
        }
        self.listeners = listeners.into();
        self.first_ns = Some(self.at_ns);
        self.totals = Totals::default();
        self.fresh = Totals::default();
        self.losses = [0; Loss::COUNT];
        self.events = 0;
        self.bad_records = 0;
        self.contradictory = 0;
        self.cross.clear();
        self.cross_lines = Arc::default();
        self.table = Table::default();
        self.history.clear();
        self.flows.clear();
        self.shared_flows.take();
        self.processes = Processes::default();
        self.plain_baselines.clear();
        self.diagnosis = Arc::default();
    }

    /// The past, up to the latest reading. Cheap: the frames are shared.
    pub fn history(&self) -> History {
        self.history.clone()
    }

    /// Takes the host's settings and counters, read right after the last [`Model::read`].
    pub fn read_host(&mut self, host: Host) {
        self.cross_lines = self.cross.compare(&self.netns, &host.mib).into();
        self.history.set_cross(&self.cross_lines);
        self.host = Arc::new(host);
    }

    /// Takes the listening sockets.
    pub fn read_listeners(&mut self, mut listeners: Vec<ListenerRecord>) {
        self.cleared.subtract_from_listeners(&mut listeners);
        for listener in &listeners {
            self.want(listener.cgroup_id);
        }
        self.listeners = listeners.into();
    }

    /// Takes the policy in force; `None` when it is not known.
    pub fn read_policy(&mut self, policy: Option<InForce>) {
        self.policy = policy.map(Arc::new);
    }

    /// cgroup id of the guard that watches connections to a destination, if the policy has one.
    pub fn guard_of(&self, dest: &DestKey) -> Option<u64> {
        let path = &self.names.get(dest.cgroup_id)?.path;
        let guard = decide::watching_guard(&self.policy.as_ref()?.guards, path)?;
        Some(guard.spec.cgroup.id)
    }

    /// Local addresses of the latest connections to a destination, as records have them: each once, a few at most.
    pub fn locals_of(&self, dest: &DestKey) -> Vec<[u8; 16]> {
        let mut locals: Vec<[u8; 16]> = Vec::new();
        for flow in self.flows.iter().rev() {
            let event = flow.event();
            let is_same = event.cgroup_id == dest.cgroup_id
                && event.remote == dest.remote
                && event.remote_port == dest.port
                && event.family == dest.family
                && event.role == dest.role;
            if is_same && !locals.contains(&event.local) {
                locals.push(event.local);
                if locals.len() == MOST_LOCALS {
                    break;
                }
            }
        }
        locals
    }

    /// Takes what a guard was found to know; `None` when that is not known.
    pub fn read_guarded(&mut self, guarded: Option<Guarded>) {
        self.guarded = guarded;
    }

    /// Takes what watching has cost so far.
    pub fn read_cost(&mut self, process: Option<ProcessUse>, programs: Vec<ProgramRuns>) {
        self.cost = self.cost_meter.measure(self.at_ns, process, programs);
    }

    /// Takes what is attached, what this host cannot do and how to turn kernel times into wall clock.
    pub fn describe(&mut self, attached: Vec<String>, degradations: &[Degradation], wall_offset_ns: i64) {
        self.attached = attached.into();
        self.degradations = degradations.into();
        self.wall_offset_ns = wall_offset_ns;
    }

    /// What this host cannot do.
    pub fn degradations(&self) -> Arc<[Degradation]> {
        Arc::clone(&self.degradations)
    }

    /// Takes what this host cannot do, and what was given up since.
    pub fn degrade(&mut self, degradations: &[Degradation]) {
        self.degradations = degradations.into();
    }

    /// Sets what networks are called.
    pub fn set_networks(&mut self, networks: Arc<Networks>) {
        self.networks = networks;
    }

    /// Says how the remote addresses of servers are cut.
    pub fn set_prefixes(&mut self, prefixes: Prefixes) {
        self.server_prefixes = prefixes;
    }

    fn want(&mut self, cgroup_id: u64) {
        if !self.names.asked(cgroup_id) {
            self.names.insert(cgroup_id, None);
            self.wanted.push(cgroup_id);
        }
    }

    /// Cgroup ids met since the last call whose names are not known.
    pub fn wanted(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.wanted)
    }

    /// Asks again for names that could not be told yet.
    pub fn want_again(&mut self, ids: impl IntoIterator<Item = u64>) {
        self.wanted.extend(ids);
    }

    /// Stores what a cgroup id is called; `None` when it is gone.
    pub fn name(&mut self, cgroup_id: u64, name: Option<CgroupName>) {
        self.names.insert(cgroup_id, name);
    }

    /// The latest connection of a client whose SYN data was dropped on this host.
    pub fn local_drop(&self) -> Option<Flow> {
        let mut flows = self.flows.iter().rev();
        flows.find(|flow| flow.outcome() == Outcome::LocalDrop).copied()
    }

    /// Takes facts of the host beyond flows, tables and settings.
    pub fn note_host_facts(&mut self, host_facts: HostFacts) {
        self.host_facts = Arc::new(host_facts);
    }

    /// Takes in the keys in use, which somebody asked for.
    pub fn note_keys(&mut self, keys: HostFact<Vec<KeyInUse>>) {
        Arc::make_mut(&mut self.host_facts).keys = keys;
    }

    /// Rows of the destination table.
    pub fn rows(&self) -> usize {
        self.table.rows().len()
    }

    /// Looks for what is wrong; the snapshots after it have the findings.
    pub fn diagnose(&mut self) {
        let mut snapshot = self.snapshot();
        snapshot.diagnose();
        self.diagnosis = snapshot.diagnosis;
    }

    /// This instant, for good.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            at_ns: self.at_ns,
            wall_offset_ns: self.wall_offset_ns,
            elapsed_ns: self.first_ns.map_or(0, |first| self.at_ns.saturating_sub(first)),
            interval_ns: self.interval_ns,
            host: Arc::clone(&self.host),
            degradations: Arc::clone(&self.degradations),
            attached: Arc::clone(&self.attached),
            totals: self.totals,
            fresh: self.fresh,
            losses: self.losses,
            events: self.events,
            cross: Arc::clone(&self.cross_lines),
            rows: Arc::clone(self.table.rows()),
            dests_capacity: self.dests_capacity,
            server_prefixes: self.server_prefixes,
            networks: Arc::clone(&self.networks),
            flows: Arc::clone(
                self.shared_flows
                    .get_or_init(|| self.flows.iter().copied().collect()),
            ),
            listeners: Arc::clone(&self.listeners),
            policy: self.policy.clone(),
            guarded: self.guarded,
            cost: self.cost.clone(),
            names: self.names.clone(),
            host_facts: Arc::clone(&self.host_facts),
            plain_baselines: self.plain_baselines.clone(),
            diagnosis: Arc::clone(&self.diagnosis),
            processes: self.processes.share(),
        }
    }
}

fn difference(now: &Totals, before: &Totals) -> Totals {
    let mut fresh = Totals::default();
    for ((fresh, now), before) in fresh
        .iter_mut()
        .flatten()
        .zip(now.iter().flatten())
        .zip(before.iter().flatten())
    {
        *fresh = now.saturating_sub(*before);
    }
    fresh
}

#[cfg(test)]
mod tests;
