//! Rows of the view of listening sockets.

use ratatui::style::Style;
use tfo_common::{
    Outcome, Role,
    listener::{Arrival, ListenerRecord},
    outcome::Group,
};

use super::grid::{self, Cell, Col, ListColumn};
use crate::{
    addr,
    output::{clean, number},
    tui::state::State,
};

/// Server side bit of `net.ipv4.tcp_fastopen` (`TFO_SERVER_ENABLE`).
const SERVER: u32 = 0x2;

/// The columns.
const COLS: [ListColumn; 11] = [
    ListColumn::text("service", "SERVICE", 10),
    ListColumn::text("address", "ADDRESS", 9),
    ListColumn::number("port", "PORT", 5),
    ListColumn::number("netns", "NETNS", 10).hidden(6),
    ListColumn::text("tfo", "FAST OPEN", 12),
    ListColumn::number("queue", "QUEUE", 11).hidden(1),
    ListColumn::number("backlog", "BACKLOG", 11).hidden(5),
    ListColumn::number("accepted", "ACCEPTED", 8).hidden(2),
    ListColumn::number("rejected", "REJECTED", 8).hidden(3),
    ListColumn::number("overflow", "OVERFLOW", 8).hidden(4),
    ListColumn::number("plain", "PLAIN", 7).hidden(7),
];

/// The columns, as wide as this state needs them.
pub fn cols(state: &State) -> Vec<Col> {
    grid::listed(&COLS, |name, width| match name {
        "address" => {
            let width = state.widths.local.max(width);
            (width, width)
        }
        "service" => (width, state.widths.service.clamp(width, 40)),
        _ => (width, width),
    })
}

/// What a listener says in a column.
pub fn cell(state: &State, index: u32, id: usize) -> Cell {
    let Some(one) = state.snapshot.listeners.get(index as usize) else {
        return Cell::default();
    };
    let text = match COLS[id].name {
        "service" => clean(&state.snapshot.names.label(one.cgroup_id)),
        "address" => addr::ip(&one.local, one.family).to_string(),
        "port" => one.local_port.to_string(),
        "netns" => one.netns.to_string(),
        "tfo" => fast_open(state, one).to_owned(),
        "queue" => format!("{}/{}", one.tfo_qlen, one.tfo_max_qlen),
        "backlog" => format!("{}/{}", one.backlog, one.max_backlog),
        "accepted" => number::count(arrived(state, one, Arrival::Accepted)),
        // The queue has a column of its own.
        "rejected" => number::count(arrived(state, one, Arrival::Rejected)),
        "overflow" => number::count(arrived(state, one, Arrival::Overflow)),
        _ => number::count(count(state, one, Outcome::is_plain)),
    };
    let full = one.tfo_max_qlen > 0 && one.tfo_qlen >= one.tfo_max_qlen;
    (text, if full { state.theme.strong } else { Style::new() })
}

/// Whether a SYN with data would be taken, and if not, why. The sysctl is that of the listener's own namespace.
fn fast_open(state: &State, one: &ListenerRecord) -> &'static str {
    let host = &state.snapshot.host;
    let sysctl = one
        .sysctl()
        .or_else(|| host.tcp_fastopen.filter(|_| one.netns == host.netns));
    match (one.tfo_max_qlen, sysctl) {
        (0, _) => "off",
        (_, Some(value)) if value & SERVER == 0 => "sysctl off",
        (most, _) if one.tfo_qlen >= most => "queue full",
        (_, None) => "on, sysctl ?",
        _ => "on",
    }
}

/// SYNs with Fast Open the listener dealt with so. Recordings of versions that did not count for each listener have
/// only what its service did on the port.
fn arrived(state: &State, one: &ListenerRecord, what: Arrival) -> u64 {
    if one.sysctl().is_some() {
        return one.arrived(what);
    }
    let wanted: fn(Outcome) -> bool = match what {
        Arrival::Accepted => |outcome| outcome == Outcome::Accepted,
        Arrival::Rejected => |outcome| outcome.group() == Group::Refused && outcome != Outcome::QueueOverflow,
        Arrival::Overflow => |outcome| outcome == Outcome::QueueOverflow,
    };
    count(state, one, wanted)
}

/// Handshakes of the rows that arrived at its service and port.
fn count(state: &State, one: &ListenerRecord, wanted: fn(Outcome) -> bool) -> u64 {
    let here = |row: &&crate::model::DestRow| {
        row.role() == Role::Server && row.key.port == one.local_port && row.key.cgroup_id == one.cgroup_id
    };
    let rows = state.snapshot.rows.iter().filter(here);
    rows.map(|row| row.sum(wanted)).sum()
}
