//! The tables of destinations and of services, which have the same columns.

use ratatui::{layout::Alignment, style::Style, text::Span};
use tfo_common::Outcome;

use super::{
    bars::spark,
    grid::{Cell, TableColumn},
};
use crate::{
    model::{
        DestRow,
        diagnosis::{Finding, Severity},
        row::TREND,
        services::{Group, Service},
    },
    output::{
        clean,
        column::{COLUMNS, Column, ColumnSpec},
        number,
    },
    tui::{
        state::{State, View},
        table::TableLine,
    },
};

/// Narrowest width of the column of services: it shrinks to this before any other column is hidden.
const SERVICE_MIN_WIDTH: u16 = 8;
/// Widest width of the column of services.
const SERVICE_MAX_WIDTH: u16 = 40;

/// The columns that the user chose, or all.
pub fn columns(state: &State) -> Vec<TableColumn> {
    let is_chosen = |spec: &&ColumnSpec| match &state.columns {
        Some(columns) => columns.contains(&spec.column),
        None => true,
    };
    COLUMNS
        .iter()
        .filter(is_chosen)
        // Without a file that names networks it would be empty.
        .filter(|spec| {
            spec.column != Column::Network || !state.snapshot.networks.is_empty() && !by_network(state)
        })
        .map(|spec| column(state, spec))
        .collect()
}

/// Whether networks stand where services do otherwise.
fn by_network(state: &State) -> bool {
    state.view == View::Services && state.by_network
}

fn column(state: &State, spec: &ColumnSpec) -> TableColumn {
    // In the view of services their names stand behind a sign that says whether they are unfolded.
    let indent = if state.view == View::Services { 2 } else { 0 };
    let (least, most) = match spec.column {
        Column::Service => (
            SERVICE_MIN_WIDTH,
            (state.widths.service + indent).clamp(SERVICE_MIN_WIDTH, SERVICE_MAX_WIDTH),
        ),
        // Folded services show the number of peers instead of addresses.
        Column::Remote if state.view == View::Services && state.unfolded.is_empty() => {
            let width = peers_width(state);
            (width, width)
        }
        Column::Remote => (state.widths.remote.max(7), state.widths.remote.max(15)),
        Column::Trend => (spec.width, 16),
        // Names of findings are longer than those of outcomes.
        Column::Verdict => (spec.width, verdict_width(state).max(spec.width)),
        _ => (spec.width, spec.width),
    };
    TableColumn {
        id: spec.column as usize,
        name: spec.name,
        title: match spec.column {
            Column::Service if by_network(state) => Column::Network.spec().title,
            _ => spec.title,
        },
        least,
        most,
        alignment: if spec.right {
            Alignment::Right
        } else {
            Alignment::Left
        },
        hide_order: spec.hide_order,
        sort: spec.sort,
    }
}

/// Width of the longest name of a finding there is.
fn verdict_width(state: &State) -> u16 {
    let findings = state.snapshot.diagnosis.findings.iter();
    let widths = findings.filter(|finding| finding.severity > Severity::Info);
    let widest = widths.map(|finding| finding.id.name().len()).max();
    u16::try_from(widest.unwrap_or(0)).unwrap_or(u16::MAX)
}

/// Width of the largest number of peers of a service, as text.
fn peers_width(state: &State) -> u16 {
    let most = state
        .table
        .services
        .iter()
        .map(|service| service.rows.len())
        .max();
    u16::try_from(peers(most.unwrap_or(0)).len())
        .unwrap_or(u16::MAX)
        .max(9)
}

fn peers(count: usize) -> String {
    match count {
        1 => "1 peer".to_owned(),
        count => format!("{count} peers"),
    }
}

/// The cell of a line in the column of this id, which is `width` columns wide.
pub fn cell(state: &State, line: TableLine, id: usize, width: u16) -> Cell {
    let column = COLUMNS[id].column;
    let row = |index: u32| state.snapshot.rows.get(index as usize);
    match line {
        TableLine::Destination(index) => row(index).map(|row| of_row(state, row, column, width)),
        TableLine::OfService(index) => row(index).map(|row| match column {
            // Said above it; of a network's destinations it is each one's own.
            Column::Service if !state.by_network => Cell::default(),
            _ => of_row(state, row, column, width),
        }),
        TableLine::Service(index) => of_service(state, index as usize, column, width),
        TableLine::Process(service, index) => of_process(state, service as usize, index as usize, column),
        TableLine::Flow(_) | TableLine::Listener(_) | TableLine::Finding(_) => None,
    }
    .unwrap_or_default()
}

fn of_row(state: &State, row: &DestRow, column: Column, width: u16) -> Cell {
    let text = match column {
        Column::Trend => trend(state, row, width),
        Column::Remote => state.remote(row),
        Column::Service => path_tail(
            state,
            &clean(&state.snapshot.names.label(row.key.cgroup_id)),
            width,
        ),
        _ => column.cell(row, &state.snapshot),
    };
    Span::styled(text, style(state, row, column))
}

/// Lost time and failures stand out; everything else has the terminal's own style.
fn style(state: &State, row: &DestRow, column: Column) -> Style {
    let hurts = match column {
        Column::Lost => row.lost_us > 0,
        Column::Verdict => {
            let found = state.snapshot.diagnosis.of_row(&row.key);
            found.is_some_and(|finding| finding.severity > Severity::Info)
                || row.verdict().is_some_and(Outcome::is_failure)
        }
        _ => false,
    };
    if hurts { state.theme.strong } else { Style::new() }
}

/// The end of a path that is too long, because paths differ at their end. Other names are left as they are: the grid
/// cuts their end.
fn path_tail(state: &State, label: &str, width: u16) -> String {
    let (length, room) = (label.chars().count(), usize::from(width));
    if length <= room || !label.starts_with('/') {
        return label.to_owned();
    }
    let kept = label.chars().skip(length + 1 - room.max(1));
    std::iter::once(state.glyphs.cut).chain(kept).collect()
}

fn trend(state: &State, row: &DestRow, width: u16) -> String {
    let shown = &row.trend[TREND - usize::from(width).min(TREND)..];
    spark(shown.iter().copied().map(u64::from), &state.glyphs)
}

fn of_service(state: &State, index: usize, column: Column, width: u16) -> Option<Cell> {
    let service = state.table.services.get(index)?;
    let (folded, unfolded) = state.glyphs.fold;
    let text = match column {
        Column::Service => {
            let sign = if state.unfolded.contains(&service.group) {
                unfolded
            } else {
                folded
            };
            let label = match &service.group {
                Group::Service(id) => clean(&state.snapshot.names.label(*id)),
                Group::Network(label) => label.as_deref().unwrap_or("(other)").to_owned(),
            };
            format!("{sign} {}", path_tail(state, &label, width.saturating_sub(2)))
        }
        Column::Role => match (service.client, service.server) {
            (_, 0) => "client".to_owned(),
            (0, _) => "server".to_owned(),
            _ => "both".to_owned(),
        },
        Column::Remote => peers(service.rows.len()),
        Column::Port | Column::Network => String::new(),
        Column::Verdict => {
            let diagnosis = &state.snapshot.diagnosis;
            let found = match &service.group {
                Group::Service(id) => diagnosis.of_service(*id),
                Group::Network(_) => worst_of(state, service),
            };
            found.map_or_else(
                || service.sum.verdict().map_or("-", Outcome::name).to_owned(),
                |finding| finding.id.name().to_owned(),
            )
        }
        _ => return Some(of_row(state, &service.sum, column, width)),
    };
    Some(Span::styled(text, style(state, &service.sum, column)))
}

/// The worst finding about the destinations of a network.
fn worst_of<'a>(state: &'a State, service: &Service) -> Option<&'a Finding> {
    let rows = service.rows.iter();
    let rows = rows.filter_map(|index| state.snapshot.rows.get(*index as usize));
    let found = rows.filter_map(|row| state.snapshot.diagnosis.of_row(&row.key));
    found
        .filter(|finding| finding.severity > Severity::Info)
        .min_by(|left, right| Finding::compare(left, right))
}

fn of_process(state: &State, service: usize, index: usize, column: Column) -> Option<Cell> {
    let cgroup_id = state.table.services.get(service)?.group.cgroup_id()?;
    let process = state.snapshot.processes_of(cgroup_id).get(index)?;
    let text = match column {
        Column::Remote => clean(&format!("{}/{}", process.comm, process.pid)),
        Column::Verdict => "process".to_owned(),
        Column::Attempts => number::count(process.flows),
        Column::Failures => number::count(process.failures),
        _ => String::new(),
    };
    Some(Span::styled(text, state.theme.dim))
}
