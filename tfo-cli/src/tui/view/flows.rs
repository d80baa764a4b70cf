//! Rows of the view of the latest connections.

use tfo_common::Role;

use super::grid::{Cell, Col};
use crate::{
    output::{clean, flow_text, time},
    tui::state::State,
};

/// The columns: name, heading, width, right, when it gives way.
const COLS: [(&str, &str, u16, bool, u8); 11] = [
    ("time", "TIME", 12, false, 3),
    ("role", "ROLE", 6, false, 8),
    ("local", "LOCAL", 9, false, 9),
    ("remote", "REMOTE", 9, false, 0),
    ("who", "WHO", 14, false, 2),
    ("outcome", "OUTCOME", 15, false, 0),
    ("syn", "SYN", 9, true, 4),
    ("option", "OPTION", 10, false, 7),
    ("handshake", "SHAKE", 7, true, 5),
    ("ttfb", "TTFB", 7, true, 6),
    ("gain", "GAIN", 8, true, 1),
];

/// The columns.
pub fn cols(state: &State) -> Vec<Col> {
    let col = |(id, (name, title, width, right, give_way)): (
        usize,
        &(&'static str, &'static str, u16, bool, u8),
    )| {
        let least = match *name {
            "local" => state.widths.local.max(*width),
            "remote" => state.widths.remote.max(*width),
            _ => *width,
        };
        let most = if *name == "who" { 24 } else { least };
        Col {
            id,
            name,
            title,
            least,
            most,
            right: *right,
            give_way: *give_way,
            sort: None,
        }
    };
    COLS.iter().enumerate().map(col).collect()
}

/// What a flow says in a column.
pub fn cell(state: &State, index: u32, id: usize) -> Cell {
    let Some(flow) = state.snapshot.flows.get(index as usize) else {
        return Cell::default();
    };
    let snapshot = &state.snapshot;
    let text = match COLS[id].0 {
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
    let hurts = flow.outcome().is_failure() && matches!(COLS[id].0, "outcome" | "gain");
    let quiet = flow.role() == Role::Server && COLS[id].0 == "role";
    let style = match (hurts, quiet) {
        (true, _) => state.theme.strong,
        (false, true) => state.theme.dim,
        (false, false) => ratatui::style::Style::new(),
    };
    (text, style)
}
