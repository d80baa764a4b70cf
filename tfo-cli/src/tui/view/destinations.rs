//! The destination table. Columns hide one after the other when room runs out; an address is never cut.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use crate::{
    model::{DestRow, row::TREND},
    output::column::{COLUMNS, Column},
    tui::state::State,
};

/// Blank columns between two columns.
const GAP: u16 = 1;
/// The service column shrinks to this before anything else is hidden.
const SERVICE_LEAST: u16 = 8;
/// And grows to this when there is room.
const SERVICE_MOST: u16 = 36;

const BARS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Draws the table.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let columns = fit(state, area.width);
    heading(state, &columns, area, buffer);
    let first = state.list.offset();
    for line in 0..area.height - 1 {
        let place = first + usize::from(line);
        let Some(row) = state.row(place) else { break };
        let style = if state.list.index() == Some(place) {
            state.theme.cursor
        } else {
            Style::new()
        };
        let area = Rect::new(area.x, area.y + 1 + line, area.width, 1);
        buffer.set_style(area, style);
        draw_row(state, row, &columns, area, buffer);
    }
    if state.shown.is_empty() && area.height > 2 {
        let text = if state.snapshot.rows.is_empty() {
            "no handshake yet: connections appear here when they are established"
        } else {
            "no destination satisfies the filter"
        };
        buffer.set_stringn(area.x, area.y + 2, text, area.width.into(), state.theme.dim);
    }
}

fn heading(state: &State, columns: &[(Column, u16)], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for (column, width) in columns {
        let look = column.look();
        let sorted = look.sort == Some(state.sort);
        let style = if sorted {
            state.theme.accent
        } else {
            state.theme.dim
        };
        let arrow = if state.reverse { "^" } else { "v" };
        let title = if sorted {
            format!("{}{arrow}", look.title)
        } else {
            look.title.to_owned()
        };
        put(&title, x, area.y, *width, look.right, style, buffer);
        x += width + GAP;
    }
}

fn draw_row(state: &State, row: &DestRow, columns: &[(Column, u16)], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for (column, width) in columns {
        let look = column.look();
        let text = if *column == Column::Trend {
            bars(row, *width)
        } else {
            column.cell(row, &state.snapshot)
        };
        put(
            &text,
            x,
            area.y,
            *width,
            look.right,
            style(*column, row, state),
            buffer,
        );
        x += width + GAP;
    }
}

/// What hurts stands out; so does nothing else.
fn style(column: Column, row: &DestRow, state: &State) -> Style {
    let hurts = match column {
        Column::Lost => row.lost_us > 0,
        Column::Verdict => row.verdict().is_some_and(tfo_common::Outcome::is_failure),
        _ => false,
    };
    if hurts { state.theme.strong } else { Style::new() }
}

fn put(text: &str, x: u16, y: u16, width: u16, right: bool, style: Style, buffer: &mut Buffer) {
    let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    let indent = if right { width.saturating_sub(length) } else { 0 };
    if length <= width {
        buffer.set_stringn(x + indent, y, text, width.into(), style);
    } else {
        let cut: String = text
            .chars()
            .take(usize::from(width).saturating_sub(1))
            .chain(['…'])
            .collect();
        buffer.set_stringn(x, y, cut, width.into(), style);
    }
}

/// Attempts of the latest intervals, the busiest one as high as the line.
fn bars(row: &DestRow, width: u16) -> String {
    let shown = &row.trend[TREND - usize::from(width).min(TREND)..];
    let most = shown.iter().copied().max().unwrap_or(0).max(1);
    let bar = |count: &u16| BARS[(usize::from(*count) * 8).div_ceil(usize::from(most))];
    shown.iter().map(bar).collect()
}

/// Columns that fit, in their order, with their widths.
fn fit(state: &State, room: u16) -> Vec<(Column, u16)> {
    let least = |column: Column| match column {
        Column::Service => SERVICE_LEAST,
        Column::Remote => state
            .widths
            .remote
            .max(column.look().title.len().try_into().unwrap_or(6)),
        _ => column.look().width,
    };
    let mut by_need: Vec<Column> = COLUMNS.iter().map(|look| look.column).collect();
    by_need.sort_by_key(|column| column.look().give_way);
    let mut chosen: Vec<Column> = Vec::new();
    let mut used = 0;
    for column in by_need {
        let wanted = least(column) + GAP;
        if column.look().give_way == 0 || used + wanted <= room + GAP {
            used += wanted;
            chosen.push(column);
        }
    }
    let mut spare = (room + GAP).saturating_sub(used);
    let mut columns: Vec<(Column, u16)> = COLUMNS
        .iter()
        .map(|look| look.column)
        .filter(|column| chosen.contains(column))
        .map(|column| (column, least(column)))
        .collect();
    for (column, width) in &mut columns {
        let most = match column {
            Column::Service => state.widths.service.clamp(SERVICE_LEAST, SERVICE_MOST),
            Column::Trend => 16,
            _ => *width,
        };
        let more = most.saturating_sub(*width).min(spare);
        *width += more;
        spare -= more;
    }
    columns
}
