//! The table of listening sockets.

use ratatui::{style::Style, text::Span};
use tfo_common::{
    Outcome, Role,
    listener::{Arrival, ListenerRecord},
    outcome::Group,
};

use super::grid::{self, Cell, ListColumn, TableColumn};
use crate::{
    addr,
    output::{clean, number},
    tui::state::State,
};

/// The bit of `net.ipv4.tcp_fastopen` that switches Fast Open on for servers (`TFO_SERVER_ENABLE`).
const SERVER: u32 = 0x2;

/// The columns of the table.
const COLUMNS: [ListColumn; 11] = [
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
pub fn columns(state: &State) -> Vec<TableColumn> {
    grid::list_columns(&COLUMNS, |name, width| match name {
        "address" => {
            let width = state.widths.local.max(width);
            width..=width
        }
        "service" => width..=state.widths.service.clamp(width, 40),
        _ => width..=width,
    })
}

/// The cell of a listener in the column of this id.
pub fn cell(state: &State, index: u32, id: usize) -> Cell {
    let Some(one) = state.snapshot.listeners.get(index as usize) else {
        return Cell::default();
    };
    let text = match COLUMNS[id].name {
        "service" => clean(&state.snapshot.names.label(one.cgroup_id)),
        "address" => addr::ip(&one.local, one.family).to_string(),
        "port" => one.local_port.to_string(),
        "netns" => one.netns.to_string(),
        "tfo" => fast_open(state, one).to_owned(),
        "queue" => format!("{}/{}", one.tfo_qlen, one.tfo_max_qlen),
        "backlog" => format!("{}/{}", one.backlog, one.max_backlog),
        "accepted" => number::count(arrived(state, one, Arrival::Accepted)),
        // A full queue has a column of its own.
        "rejected" => number::count(arrived(state, one, Arrival::Rejected)),
        "overflow" => number::count(arrived(state, one, Arrival::Overflow)),
        _ => number::count(count(state, one, Outcome::is_plain)),
    };
    let full = one.tfo_max_qlen > 0 && one.tfo_qlen >= one.tfo_max_qlen;
    let style = if full { state.theme.strong } else { Style::new() };
    Span::styled(text, style)
}

/// Whether the data of a SYN would be accepted: `on`, or why not. The sysctl is that of the listener's own namespace.
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

/// SYNs with Fast Open that the listener handled in this way. Recordings of versions that did not count them for each
/// listener have only the outcomes of its service on the port.
fn arrived(state: &State, one: &ListenerRecord, arrival: Arrival) -> u64 {
    if one.sysctl().is_some() {
        return one.arrived(arrival);
    }
    let counts: fn(Outcome) -> bool = match arrival {
        Arrival::Accepted => Outcome::saves_round_trip,
        Arrival::Rejected => |outcome| outcome.group() == Group::Refused && outcome != Outcome::QueueOverflow,
        Arrival::Overflow => |outcome| outcome == Outcome::QueueOverflow,
    };
    count(state, one, counts)
}

/// Handshakes with an outcome that `counts` accepts, of the rows with the service and port of this listener.
fn count(state: &State, one: &ListenerRecord, counts: fn(Outcome) -> bool) -> u64 {
    let here = |row: &&crate::model::DestRow| {
        row.role() == Role::Server && row.key.port == one.local_port && row.key.cgroup_id == one.cgroup_id
    };
    let rows = state.snapshot.rows.iter().filter(here);
    rows.map(|row| row.sum(counts)).sum()
}
