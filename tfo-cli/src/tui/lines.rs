//! What the table of each view is made of: worked out once per snapshot, not in every frame.

use std::{collections::HashSet, net::IpAddr};

use tfo_common::{DestKey, Outcome, Role, listener::ListenerRecord};

use super::state::View;
use crate::{
    addr,
    model::{
        DestRow, Snapshot, SortKey,
        diagnosis::{Id, Subject as About},
        filter::{Filter, Filterable, Metric},
        filterable::{FilterableFlow, FilterableRow},
        services::{self, Service},
        source::CgroupName,
    },
};

/// One line of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// A row of the snapshot.
    Destination(u32),
    /// A service.
    Service(u32),
    /// A destination of an unfolded service.
    OfService(u32),
    /// A process of an unfolded service: the service and the place in its list.
    Process(u32, u32),
    /// A flow of the snapshot.
    Flow(u32),
    /// A listener of the snapshot.
    Listener(u32),
    /// A finding of the snapshot.
    Finding(u32),
}

/// What a line is about, whatever place it has after the next snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LineKey {
    /// A destination.
    Destination(DestKey),
    /// A service.
    Service(u64),
    /// A process of a service.
    Process(u64, u32),
    /// A flow.
    Flow(u64),
    /// A listener: namespace, family, address, port.
    Listener(u32, u8, [u8; 16], u16),
    /// A finding.
    Finding(Id, About),
}

/// The table of a view.
#[derive(Clone, Debug, Default)]
pub struct Lines {
    /// Its lines, in their order.
    pub lines: Vec<Line>,
    /// Services they point to.
    pub services: Vec<Service>,
}

/// What decides about the lines.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The view.
    pub view: View,
    /// What passes.
    pub filter: &'a Filter,
    /// The order.
    pub sort: SortKey,
    /// Turned around.
    pub reverse: bool,
    /// Services that are unfolded.
    pub unfolded: &'a HashSet<u64>,
}

impl Lines {
    /// Works out the table.
    pub fn new(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Self {
        match wanted.view {
            View::Destinations => Self {
                lines: destinations(snapshot, wanted),
                services: Vec::new(),
            },
            View::Services => services(snapshot, wanted),
            View::Flows => Self {
                lines: flows(snapshot, wanted),
                services: Vec::new(),
            },
            View::Listeners => Self {
                lines: listeners(snapshot, wanted),
                services: Vec::new(),
            },
            View::Findings => Self {
                lines: findings(snapshot, wanted),
                services: Vec::new(),
            },
            View::Host => Self::default(),
        }
    }

    /// What a line is about.
    pub fn key(&self, line: Line, snapshot: &Snapshot) -> Option<LineKey> {
        Some(match line {
            Line::Destination(index) | Line::OfService(index) => {
                LineKey::Destination(snapshot.rows.get(index as usize)?.key)
            }
            Line::Service(index) => LineKey::Service(self.services.get(index as usize)?.cgroup_id),
            Line::Process(service, index) => {
                let cgroup_id = self.services.get(service as usize)?.cgroup_id;
                LineKey::Process(
                    cgroup_id,
                    snapshot.processes_of(cgroup_id).get(index as usize)?.pid,
                )
            }
            Line::Flow(index) => LineKey::Flow(snapshot.flows.get(index as usize)?.id()),
            Line::Listener(index) => {
                let one = snapshot.listeners.get(index as usize)?;
                LineKey::Listener(one.netns, one.family, one.local, one.local_port)
            }
            Line::Finding(index) => {
                let one = snapshot.diagnosis.findings.get(index as usize)?;
                LineKey::Finding(one.id, one.subject)
            }
        })
    }
}

fn passes(snapshot: &Snapshot, row: &DestRow, filter: &Filter) -> bool {
    filter.is_empty() || {
        let cgroup = snapshot.names.get(row.key.cgroup_id);
        let processes = snapshot.processes_of(row.key.cgroup_id);
        filter.matches(&FilterableRow {
            row,
            cgroup,
            processes,
        })
    }
}

fn destinations(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Vec<Line> {
    let rows = &snapshot.rows;
    let passing = (0u32..)
        .zip(rows.iter())
        .filter(|(_, row)| passes(snapshot, row, wanted.filter));
    let mut shown: Vec<u32> = passing.map(|(index, _)| index).collect();
    // Snapshots come in the default order.
    if wanted.sort != SortKey::default() {
        let row = |index: &u32| &rows[*index as usize];
        shown.sort_unstable_by(|left, right| wanted.sort.compare(row(left), row(right)));
    }
    if wanted.reverse {
        shown.reverse();
    }
    shown.into_iter().map(Line::Destination).collect()
}

fn services(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Lines {
    let mut services = services::sum(
        &snapshot.rows,
        |row| passes(snapshot, row, wanted.filter),
        wanted.sort,
    );
    if wanted.reverse {
        services.reverse();
    }
    let mut lines = Vec::new();
    for (place, service) in (0u32..).zip(&services) {
        lines.push(Line::Service(place));
        if wanted.unfolded.contains(&service.cgroup_id) {
            lines.extend(service.rows.iter().copied().map(Line::OfService));
            let processes = snapshot.processes_of(service.cgroup_id);
            lines.extend(
                (0u32..)
                    .zip(processes)
                    .map(|(index, _)| Line::Process(place, index)),
            );
        }
    }
    Lines { lines, services }
}

/// Newest first: the order of flows is time, and only that.
fn flows(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Vec<Line> {
    let passing = (0u32..).zip(snapshot.flows.iter()).filter(|(_, flow)| {
        let cgroup = snapshot.names.get(flow.event().cgroup_id);
        wanted.filter.is_empty() || wanted.filter.matches(&FilterableFlow { flow, cgroup })
    });
    let mut lines: Vec<Line> = passing.map(|(index, _)| Line::Flow(index)).collect();
    if !wanted.reverse {
        lines.reverse();
    }
    lines
}

fn listeners(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Vec<Line> {
    let passing = (0u32..).zip(snapshot.listeners.iter()).filter(|(_, listener)| {
        let cgroup = snapshot.names.get(listener.cgroup_id);
        wanted.filter.is_empty() || wanted.filter.matches(&ListenerSubject { listener, cgroup })
    });
    let mut shown: Vec<(u32, &ListenerRecord)> = passing.collect();
    // Fullest queue first, then those with Fast Open, then by port.
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
    if wanted.reverse {
        shown.reverse();
    }
    shown
        .into_iter()
        .map(|(index, _)| Line::Listener(index))
        .collect()
}

/// Worst first, as they come. What passes has a row that does; what has no rows, as findings about the host, passes.
fn findings(snapshot: &Snapshot, wanted: &Wanted<'_>) -> Vec<Line> {
    let passing = (0u32..)
        .zip(&snapshot.diagnosis.findings)
        .filter(|(_, finding)| wanted.filter.is_empty() || snapshot.passes(finding, wanted.filter));
    let mut lines: Vec<Line> = passing.map(|(index, _)| Line::Finding(index)).collect();
    if wanted.reverse {
        lines.reverse();
    }
    lines
}

struct ListenerSubject<'a> {
    listener: &'a ListenerRecord,
    cgroup: Option<&'a CgroupName>,
}

impl Filterable for ListenerSubject<'_> {
    fn role(&self) -> Option<Role> {
        Some(Role::Server)
    }

    fn family(&self) -> Option<u8> {
        Some(self.listener.family)
    }

    /// The bound address: a listener has no other end.
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

    fn metric(&self, _: Metric) -> Option<f64> {
        None
    }
}
