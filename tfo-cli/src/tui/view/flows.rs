//! The table of the latest connections.

use ratatui::text::Span;
use tfo_common::Role;

use super::grid::{self, Cell, ListColumn, TableColumn};
use crate::{
    output::{clean, flow_text, time},
    tui::state::State,
};

/// The columns of the table.
const COLUMNS: [ListColumn; 11] = [
    ListColumn::text("time", "TIME", 12).hidden(3),
    ListColumn::text("role", "ROLE", 6).hidden(8),
    ListColumn::text("local", "LOCAL", 9).hidden(9),
    ListColumn::text("remote", "REMOTE", 9),
    ListColumn::text("who", "WHO", 14).hidden(2),
    ListColumn::text("outcome", "OUTCOME", 15),
    ListColumn::number("syn", "SYN", 9).hidden(4),
    ListColumn::text("option", "OPTION", 10).hidden(7),
    ListColumn::number("handshake", "SHAKE", 7).hidden(5),
    ListColumn::number("ttfb", "TTFB", 7).hidden(6),
    ListColumn::number("gain", "GAIN", 8).hidden(1),
];

/// The columns, as wide as this state needs them.
pub fn columns(state: &State) -> Vec<TableColumn> {
    grid::list_columns(&COLUMNS, |name, width| {
        let least = match name {
            "local" => state.widths.local.max(width),
            "remote" => state.widths.remote.max(width),
            _ => width,
        };
        least..=if name == "who" { 24 } else { least }
    })
}

/// The cell of a flow in the column of this id.
pub fn cell(state: &State, index: u32, id: usize) -> Cell {
    let Some(flow) = state.snapshot.flows.get(index as usize) else {
        return Cell::default();
    };
    let snapshot = &state.snapshot;
    let text = match COLUMNS[id].name {
        "time" => time::of_day(snapshot.wall_ns(flow.event().end_ns))[..12].to_owned(),
        "role" => flow.role().name().to_owned(),
        "local" => flow.local().to_string(),
        "remote" => match state.host_name(flow.remote_ip()) {
            Some(name) => format!("{}:{}", clean(name), flow.remote().port()),
            None => flow.remote().to_string(),
        },
        "who" => flow_text::who(flow, snapshot.names.get(flow.event().cgroup_id)),
        "outcome" => flow.outcome().name().to_owned(),
        "syn" => flow_text::syn(flow),
        "option" => flow_text::option(flow),
        "handshake" => flow_text::optional(flow.handshake_us()),
        "ttfb" => flow_text::optional(flow.ttfb_us()),
        _ => flow_text::gain(flow),
    };
    let hurts = flow.outcome().is_failure() && matches!(COLUMNS[id].name, "outcome" | "gain");
    let quiet = flow.role() == Role::Server && COLUMNS[id].name == "role";
    let style = match (hurts, quiet) {
        (true, _) => state.theme.strong,
        (false, true) => state.theme.dim,
        (false, false) => ratatui::style::Style::new(),
    };
    Span::styled(text, style)
}
