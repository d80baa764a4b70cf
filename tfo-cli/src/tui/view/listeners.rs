//! Rows of the view of listening sockets.

use ratatui::style::Style;
use tfo_common::{Outcome, Role, listener::ListenerRecord, outcome::Group};

use super::grid::{self, Cell, Col, Listed};
use crate::{
    addr,
    output::{clean, number},
    tui::state::State,
};

/// The columns.
const COLS: [Listed; 11] = [
    ("service", "SERVICE", 10, false, 0),
    ("address", "ADDRESS", 9, false, 0),
    ("port", "PORT", 5, true, 0),
    ("netns", "NETNS", 10, true, 6),
    ("tfo", "FAST OPEN", 12, false, 0),
    ("queue", "QUEUE", 11, true, 1),
    ("backlog", "BACKLOG", 11, true, 5),
    ("accepted", "ACCEPTED", 8, true, 2),
    ("rejected", "REJECTED", 8, true, 3),
    ("overflow", "OVERFLOW", 8, true, 4),
    ("plain", "PLAIN", 7, true, 7),
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
    let counted = |wanted: fn(Outcome) -> bool| number::count(count(state, one, wanted));
    let text = match COLS[id].0 {
        "service" => clean(&state.snapshot.names.label(one.cgroup_id)),
        "address" => addr::ip(&one.local, one.family).to_string(),
        "port" => one.local_port.to_string(),
        "netns" => one.netns.to_string(),
        "tfo" => fast_open(state, one).to_owned(),
        "queue" => format!("{}/{}", one.tfo_qlen, one.tfo_max_qlen),
        "backlog" => format!("{}/{}", one.backlog, one.max_backlog),
        "accepted" => counted(|outcome| outcome == Outcome::Accepted),
        // The queue has a column of its own.
        "rejected" => {
            counted(|outcome| outcome.group() == Group::Refused && outcome != Outcome::QueueOverflow)
        }
        "overflow" => counted(|outcome| outcome == Outcome::QueueOverflow),
        _ => counted(Outcome::is_plain),
    };
    let full = one.tfo_max_qlen > 0 && one.tfo_qlen >= one.tfo_max_qlen;
    (text, if full { state.theme.strong } else { Style::new() })
}

/// Whether a SYN with data would be taken, and if not, why.
fn fast_open(state: &State, one: &ListenerRecord) -> &'static str {
    let host = &state.snapshot.host;
    let server_off = one.netns == host.netns && host.tcp_fastopen.is_some_and(|value| value & 0x2 == 0);
    match (one.tfo_max_qlen, server_off) {
        (0, _) => "off",
        (_, true) => "sysctl off",
        (most, false) if one.tfo_qlen >= most => "queue full",
        _ => "on",
    }
}

/// Handshakes of the rows that arrived here: those of its service and port.
fn count(state: &State, one: &ListenerRecord, wanted: fn(Outcome) -> bool) -> u64 {
    let here = |row: &&crate::model::DestRow| {
        row.role() == Role::Server && row.key.port == one.local_port && row.key.cgroup_id == one.cgroup_id
    };
    let rows = state.snapshot.rows.iter().filter(here);
    rows.map(|row| row.sum(wanted)).sum()
}
