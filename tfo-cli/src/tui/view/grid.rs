//! Draws a table: headings and rows. Where there is not enough room, columns are hidden one after the other; addresses
//! are never cut.

use std::ops::RangeInclusive;

use ratatui::{
    buffer::Buffer,
    layout::{Alignment, Rect},
    text::Span,
};

use super::{destinations, findings, flows, listeners};
use crate::{
    model::SortKey,
    output::export,
    tui::{
        state::{State, View},
        table::TableLine,
    },
};

/// Blanks between two columns.
const GAP: u16 = 1;
/// Width of columns in copies and exports, where nothing is cut.
const WHOLE: u16 = 4_096;

/// A column of the table that is shown.
#[derive(Clone, Copy, Debug)]
pub struct TableColumn {
    /// What the view that owns the column knows it by: an index into its list of columns.
    pub id: usize,
    /// Name in copies and exports.
    pub name: &'static str,
    /// Heading on the screen.
    pub title: &'static str,
    /// Narrowest width at which it is shown.
    pub least: u16,
    /// Widest width that it makes use of.
    pub most: u16,
    /// Left for words, right for numbers.
    pub alignment: Alignment,
    /// Columns with a high number are hidden first; those with 0 are never hidden.
    pub hide_order: u8,
    /// What a click on its heading sorts by; `None` when that does nothing.
    pub sort: Option<SortKey>,
}

/// A column of the views of flows, listeners and findings, which cannot be sorted by columns.
#[derive(Clone, Copy, Debug)]
pub struct ListColumn {
    /// Name in copies and exports.
    pub name: &'static str,
    title: &'static str,
    width: u16,
    alignment: Alignment,
    hide_order: u8,
}

impl ListColumn {
    /// A column of words that is never hidden.
    pub const fn text(name: &'static str, title: &'static str, width: u16) -> Self {
        Self {
            name,
            title,
            width,
            alignment: Alignment::Left,
            hide_order: 0,
        }
    }

    /// A column of numbers that is never hidden.
    pub const fn number(name: &'static str, title: &'static str, width: u16) -> Self {
        let mut column = Self::text(name, title, width);
        column.alignment = Alignment::Right;
        column
    }

    /// The same column, hidden when there is not enough room; of two columns the one with the higher number first.
    pub const fn hidden(mut self, order: u8) -> Self {
        self.hide_order = order;
        self
    }
}

/// The columns of such a view. `widths` is given the name and the usual width of a column, and returns the widths from
/// the narrowest to the widest at which it is shown.
pub fn list_columns(
    columns: &[ListColumn],
    widths: impl Fn(&str, u16) -> RangeInclusive<u16>,
) -> Vec<TableColumn> {
    let table_column = |(id, column): (usize, &ListColumn)| {
        let (least, most) = widths(column.name, column.width).into_inner();
        TableColumn {
            id,
            name: column.name,
            title: column.title,
            least,
            most,
            alignment: column.alignment,
            hide_order: column.hide_order,
            sort: None,
        }
    };
    columns.iter().enumerate().map(table_column).collect()
}

/// The text of a cell with its style.
pub type Cell = Span<'static>;

/// The columns of the view, those without room included.
pub fn columns(state: &State) -> Vec<TableColumn> {
    match state.view {
        View::Destinations | View::Services => destinations::columns(state),
        View::Flows => flows::columns(state),
        View::Listeners => listeners::columns(state),
        View::Findings => findings::columns(state),
        View::Host => Vec::new(),
    }
}

/// The cell of a line in the column of this id, which is `width` columns wide.
pub fn cell(state: &State, line: TableLine, id: usize, width: u16) -> Cell {
    match line {
        TableLine::Destination(_)
        | TableLine::Service(_)
        | TableLine::OfService(_)
        | TableLine::Process(..) => destinations::cell(state, line, id, width),
        TableLine::Flow(index) => flows::cell(state, index, id),
        TableLine::Listener(index) => listeners::cell(state, index, id),
        TableLine::Finding(index) => findings::cell(state, index, id),
    }
}

/// Draws the table.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let columns = fit(&columns(state), area.width);
    heading(state, &columns, area, buffer);
    let first = state.list().offset();
    for (place, y) in (first..).zip(area.y + 1..area.bottom()) {
        let Some(line) = state.table.lines.get(place) else {
            break;
        };
        let row = Rect::new(area.x, y, area.width, 1);
        if state.list().index() == Some(place) {
            buffer.set_style(row, state.theme.cursor);
        }
        let mut x = area.x;
        for FittedColumn { column, width } in &columns {
            let cell = cell(state, *line, column.id, *width);
            draw_cell(state, &cell, Rect::new(x, y, *width, 1), column.alignment, buffer);
            x += width + GAP;
        }
    }
    if state.table.lines.is_empty() && area.height > 2 {
        buffer.set_stringn(
            area.x,
            area.y + 2,
            empty(state),
            area.width.into(),
            state.theme.dim,
        );
    }
}

/// Why the table has no lines.
fn empty(state: &State) -> &'static str {
    if !state.filter.text().is_empty() {
        return "nothing here satisfies the filter; Esc drops it";
    }
    match state.view {
        View::Destinations | View::Services => "no handshake yet: they appear when they are finished",
        View::Flows => "no connection with Fast Open yet",
        View::Listeners => "no listening socket known yet",
        View::Findings => "nothing found so far",
        View::Host => "",
    }
}

fn heading(state: &State, columns: &[FittedColumn], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for FittedColumn { column, width } in columns {
        let sorted = column.sort == Some(state.sort);
        let style = if sorted {
            state.theme.accent
        } else {
            state.theme.dim
        };
        let arrow = if state.reverse { '^' } else { 'v' };
        let title = if sorted {
            format!("{}{arrow}", column.title)
        } else {
            column.title.to_owned()
        };
        let area = Rect::new(x, area.y, *width, 1);
        draw_cell(state, &Span::styled(title, style), area, column.alignment, buffer);
        x += width + GAP;
    }
}

/// Draws one cell into an area that is one line high. A text that is too long loses its end.
fn draw_cell(state: &State, cell: &Cell, area: Rect, alignment: Alignment, buffer: &mut Buffer) {
    let (text, width) = (&*cell.content, area.width);
    let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    if length <= width {
        let indent = match alignment {
            Alignment::Right => width - length,
            Alignment::Left | Alignment::Center => 0,
        };
        buffer.set_stringn(area.x + indent, area.y, text, width.into(), cell.style);
    } else {
        let kept = text.chars().take(usize::from(width).saturating_sub(1));
        let cut: String = kept.chain([state.glyphs.cut]).collect();
        buffer.set_stringn(area.x, area.y, cut, width.into(), cell.style);
    }
}

/// A column that has room, with the width that it is drawn at.
struct FittedColumn {
    column: TableColumn,
    width: u16,
}

/// The columns that fit into `room`, in their order.
fn fit(columns: &[TableColumn], room: u16) -> Vec<FittedColumn> {
    let mut by_need: Vec<&TableColumn> = columns.iter().collect();
    by_need.sort_by_key(|column| column.hide_order);
    let mut chosen = Vec::new();
    let mut used = 0;
    for column in by_need {
        let needed = column.least + GAP;
        if column.hide_order == 0 || used + needed <= room + GAP {
            used += needed;
            chosen.push(column.id);
        }
    }
    let mut spare = (room + GAP).saturating_sub(used);
    let widen = |column: &TableColumn| {
        let more = column.most.saturating_sub(column.least).min(spare);
        spare -= more;
        FittedColumn {
            column: *column,
            width: column.least + more,
        }
    };
    columns
        .iter()
        .filter(|column| chosen.contains(&column.id))
        .map(widen)
        .collect()
}

/// What the heading at this column of the screen sorts by; `None` when there is none or it does not sort.
pub fn heading_at(state: &State, area: Rect, clicked_x: u16) -> Option<SortKey> {
    let mut x = area.x;
    for FittedColumn { column, width } in fit(&columns(state), area.width) {
        if (x..x + width).contains(&clicked_x) {
            return column.sort;
        }
        x += width + GAP;
    }
    None
}

/// A line of the table as text: `name=contents` for every column, whether it is on the screen or not.
pub fn text(state: &State, line: TableLine) -> String {
    let cells = columns(state).into_iter().map(|column| {
        let cell = cell(state, line, column.id, WHOLE);
        format!("{}={}", column.name, cell.content.trim())
    });
    cells.collect::<Vec<_>>().join(" ")
}

/// The whole table for an export.
pub fn contents(state: &State) -> export::Table {
    let columns = columns(state);
    let row = |line: &TableLine| {
        let cells = columns.iter().map(|column| cell(state, *line, column.id, WHOLE));
        cells.map(|cell| cell.content.trim().to_owned()).collect()
    };
    export::Table {
        names: columns.iter().map(|column| column.name).collect(),
        rows: state.table.lines.iter().map(row).collect(),
    }
}
