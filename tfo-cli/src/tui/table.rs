//! The lines of each view's table: filtered and sorted once per snapshot, not in every frame.

use std::{collections::HashSet, net::IpAddr};

use tfo_common::{DestKey, Outcome, Role, listener::ListenerRecord};

use super::state::View;
use crate::{
    addr,
    model::{
        DestRow, Snapshot, SortKey,
        diagnosis::{Id, Subject},
        filter::{Filter, Filterable, Metric},
        filterable::FilterableFlow,
        services::{Group, Service},
        source::CgroupName,
    },
};

/// One line of a table, as an index into the snapshot or into [`Table::services`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableLine {
    /// A destination, by its index in the rows of the snapshot.
    Destination(u32),
    /// A service or network, by its index in [`Table::services`].
    Service(u32),
    /// A destination of an unfolded service or network, by its index in the rows of the snapshot.
    OfService(u32),
    /// A process of an unfolded service: the index of the service, and that of the process in its list.
    Process(u32, u32),
    /// A flow, by its index in the snapshot.
    Flow(u32),
    /// A listener, by its index in the snapshot.
    Listener(u32),
    /// A finding, by its index in the diagnosis of the snapshot.
    Finding(u32),
}

/// What a line is about. Indices change with every snapshot; keys do not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineKey {
    /// A destination.
    Destination(DestKey),
    /// A service or a network.
    Group(Group),
    /// A process of a service, by cgroup id and process id.
    Process(u64, u32),
    /// A flow, by [`Flow::id`](crate::model::Flow::id).
    Flow(u64),
    /// A listener: inode of the network namespace, address family, address, port.
    Listener(u32, u8, [u8; 16], u16),
    /// A finding: the diagnosis and what it is about.
    Finding(Id, Subject),
}

/// The table of a view.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// Its lines, from top to bottom.
    pub lines: Vec<TableLine>,
    /// The services that [`TableLine::Service`] refers to; empty in the other views.
    pub services: Vec<Service>,
    /// Destinations, or flows, that the filter cannot judge: it asks for a name that nobody can tell.
    pub unjudged: usize,
}

/// What decides which lines a table has, and their order.
#[derive(Clone, Copy, Debug)]
pub struct TableQuery<'a> {
    /// The view whose table it is.
    pub view: View,
    /// Lines that it does not match are left out.
    pub filter: &'a Filter,
    /// The order of destinations and services; the other views have an order of their own.
    pub sort: SortKey,
    /// Whether the order is reversed.
    pub reverse: bool,
    /// Whether the view of services adds up by network instead.
    pub by_network: bool,
    /// The services and networks that are unfolded.
    pub unfolded: &'a HashSet<Group>,
}

impl Table {
    /// Filters and sorts the lines of a view.
    pub fn new(snapshot: &Snapshot, query: &TableQuery<'_>) -> Self {
        let of = |lines| Self {
            lines,
            ..Self::default()
        };
        let table = match query.view {
            View::Destinations => of(destinations(snapshot, query)),
            View::Services => services(snapshot, query),
            View::Flows => of(flows(snapshot, query)),
            View::Listeners => of(listeners(snapshot, query)),
            View::Findings => of(findings(snapshot, query)),
            View::Host => Self::default(),
        };
        Self {
            unjudged: unjudged(snapshot, query),
            ..table
        }
    }

    /// The key of a line; `None` when the snapshot does not have it.
    pub fn key(&self, line: TableLine, snapshot: &Snapshot) -> Option<LineKey> {
        Some(match line {
            TableLine::Destination(index) | TableLine::OfService(index) => {
                LineKey::Destination(snapshot.rows.get(index as usize)?.key)
            }
            TableLine::Service(index) => LineKey::Group(self.services.get(index as usize)?.group.clone()),
            TableLine::Process(service, index) => {
                let cgroup_id = self.services.get(service as usize)?.group.cgroup_id()?;
                LineKey::Process(
                    cgroup_id,
                    snapshot.processes_of(cgroup_id).get(index as usize)?.pid,
                )
            }
            TableLine::Flow(index) => LineKey::Flow(snapshot.flows.get(index as usize)?.id()),
            TableLine::Listener(index) => {
                let one = snapshot.listeners.get(index as usize)?;
                LineKey::Listener(one.netns, one.family, one.local, one.local_port)
            }
            TableLine::Finding(index) => {
                let one = snapshot.diagnosis.findings.get(index as usize)?;
                LineKey::Finding(one.id, one.subject)
            }
        })
    }
}

/// What the filter leaves out because nobody can tell a name it asks for.
fn unjudged(snapshot: &Snapshot, query: &TableQuery<'_>) -> usize {
    match query.view {
        View::Destinations | View::Services => snapshot.unjudged(query.filter),
        View::Flows if !query.filter.is_empty() => {
            let unnamed = snapshot.flows.iter().filter(|flow| {
                let network = snapshot.networks.label(flow.remote_ip()).map(|label| &**label);
                snapshot.names.get(flow.event().cgroup_id).is_none()
                    && query.filter.is_undecided(&FilterableFlow {
                        flow,
                        cgroup: None,
                        network,
                    })
            });
            unnamed.count()
        }
        _ => 0,
    }
}

fn passes(snapshot: &Snapshot, row: &DestRow, filter: &Filter) -> bool {
    filter.is_empty() || filter.matches(&snapshot.filterable(row))
}

fn destinations(snapshot: &Snapshot, query: &TableQuery<'_>) -> Vec<TableLine> {
    let rows = &snapshot.rows;
    let passing = (0u32..)
        .zip(rows.iter())
        .filter(|(_, row)| passes(snapshot, row, query.filter));
    let mut shown: Vec<u32> = passing.map(|(index, _)| index).collect();
    // Snapshots are in the default order.
    if query.sort != SortKey::default() {
        let row = |index: &u32| &rows[*index as usize];
        shown.sort_unstable_by(|left, right| snapshot.compare(query.sort, row(left), row(right)));
    }
    if query.reverse {
        shown.reverse();
    }
    shown.into_iter().map(TableLine::Destination).collect()
}

fn services(snapshot: &Snapshot, query: &TableQuery<'_>) -> Table {
    let wanted = |row: &DestRow| passes(snapshot, row, query.filter);
    let mut services = if query.by_network {
        snapshot.by_network(wanted, query.sort)
    } else {
        snapshot.by_service(wanted, query.sort)
    };
    if query.reverse {
        services.reverse();
    }
    let mut lines = Vec::new();
    for (place, service) in (0u32..).zip(&services) {
        lines.push(TableLine::Service(place));
        if query.unfolded.contains(&service.group) {
            lines.extend(service.rows.iter().copied().map(TableLine::OfService));
            let Some(cgroup_id) = service.group.cgroup_id() else {
                continue;
            };
            let processes = snapshot.processes_of(cgroup_id);
            lines.extend(
                (0u32..)
                    .zip(processes)
                    .map(|(index, _)| TableLine::Process(place, index)),
            );
        }
    }
    Table {
        lines,
        services,
        unjudged: 0,
    }
}

/// Newest first. Flows have no other order.
fn flows(snapshot: &Snapshot, query: &TableQuery<'_>) -> Vec<TableLine> {
    let passing = (0u32..).zip(snapshot.flows.iter()).filter(|(_, flow)| {
        let cgroup = snapshot.names.get(flow.event().cgroup_id);
        let network = snapshot.networks.label(flow.remote_ip()).map(|label| &**label);
        query.filter.is_empty()
            || query.filter.matches(&FilterableFlow {
                flow,
                cgroup,
                network,
            })
    });
    let mut lines: Vec<TableLine> = passing.map(|(index, _)| TableLine::Flow(index)).collect();
    if !query.reverse {
        lines.reverse();
    }
    lines
}

fn listeners(snapshot: &Snapshot, query: &TableQuery<'_>) -> Vec<TableLine> {
    let passing = (0u32..).zip(snapshot.listeners.iter()).filter(|(_, listener)| {
        let cgroup = snapshot.names.get(listener.cgroup_id);
        query.filter.is_empty() || query.filter.matches(&FilterableListener { listener, cgroup })
    });
    let mut shown: Vec<(u32, &ListenerRecord)> = passing.collect();
    // First the queues with anything in them, the least free places first; then the empty ones; at the end the
    // listeners without Fast Open.
    shown.sort_by_key(|(_, one)| {
        let free = one.tfo_max_qlen.saturating_sub(one.tfo_qlen);
        (
            one.tfo_max_qlen == 0,
            one.tfo_qlen == 0,
            free,
            one.local_port,
            one.netns,
            one.family,
            one.local,
        )
    });
    if query.reverse {
        shown.reverse();
    }
    shown
        .into_iter()
        .map(|(index, _)| TableLine::Listener(index))
        .collect()
}

/// Worst first, as the diagnosis has them. A finding passes the filter when one of its rows does, or when it has no
/// rows, as findings about the host.
fn findings(snapshot: &Snapshot, query: &TableQuery<'_>) -> Vec<TableLine> {
    let passing = (0u32..)
        .zip(&snapshot.diagnosis.findings)
        .filter(|(_, finding)| query.filter.is_empty() || snapshot.passes(finding, query.filter));
    let mut lines: Vec<TableLine> = passing.map(|(index, _)| TableLine::Finding(index)).collect();
    if query.reverse {
        lines.reverse();
    }
    lines
}

struct FilterableListener<'a> {
    listener: &'a ListenerRecord,
    cgroup: Option<&'a CgroupName>,
}

impl Filterable for FilterableListener<'_> {
    fn role(&self) -> Option<Role> {
        Some(Role::Server)
    }

    fn family(&self) -> Option<u8> {
        Some(self.listener.family)
    }

    /// The bound address: a listener has no remote end.
    fn remote(&self) -> Option<IpAddr> {
        Some(addr::ip(&self.listener.local, self.listener.family))
    }

    fn port(&self) -> Option<u16> {
        Some(self.listener.local_port)
    }

    fn has_outcome(&self, _: Outcome) -> bool {
        false
    }

    fn any_process(&self, _: &mut dyn FnMut(u32, &str) -> bool) -> bool {
        false
    }

    fn cgroup(&self) -> Option<&CgroupName> {
        self.cgroup
    }

    fn network(&self) -> Option<&str> {
        None
    }

    fn metric(&self, _: Metric) -> Option<f64> {
        None
    }
}
