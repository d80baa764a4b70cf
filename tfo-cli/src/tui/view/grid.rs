//! A table: headings and rows. Columns hide one after the other when room runs out; addresses are never cut.

use ratatui::{buffer::Buffer, layout::Rect, style::Style};

use super::{destinations, findings, flows, listeners};
use crate::{
    model::SortKey,
    tui::{
        lines::Line,
        state::{State, View},
    },
};

/// Blank columns between two columns.
const GAP: u16 = 1;
/// Room for everything: in copies and exports nothing is cut.
const WHOLE: u16 = 4_096;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Col {
    /// What the view calls it by.
    pub id: usize,
    /// Name in exports.
    pub name: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Narrowest width it is shown at.
    pub least: u16,
    /// Widest width it makes use of.
    pub most: u16,
    /// Numbers are aligned to the right.
    pub right: bool,
    /// Columns with high numbers are hidden first; those with 0 never.
    pub hide_order: u8,
    /// What clicking its heading sorts by.
    pub sort: Option<SortKey>,
}

/// A column of a list nobody sorts by.
#[derive(Clone, Copy, Debug)]
pub struct ListColumn {
    /// Name in exports.
    pub name: &'static str,
    title: &'static str,
    width: u16,
    right: bool,
    hide_order: u8,
}

impl ListColumn {
    /// A column of words that is never hidden.
    pub const fn text(name: &'static str, title: &'static str, width: u16) -> Self {
        Self {
            name,
            title,
            width,
            right: false,
            hide_order: 0,
        }
    }

    /// A column of numbers that is never hidden.
    pub const fn number(name: &'static str, title: &'static str, width: u16) -> Self {
        let mut column = Self::text(name, title, width);
        column.right = true;
        column
    }

    /// The same column, hidden in this order when room runs out.
    pub const fn hidden(mut self, order: u8) -> Self {
        self.hide_order = order;
        self
    }
}

/// Columns of such a list; `widths` gives the narrowest and the widest of each by name and width.
pub fn listed(columns: &[ListColumn], widths: impl Fn(&str, u16) -> (u16, u16)) -> Vec<Col> {
    let col = |(id, column): (usize, &ListColumn)| {
        let (least, most) = widths(column.name, column.width);
        Col {
            id,
            name: column.name,
            title: column.title,
            least,
            most,
            right: column.right,
            hide_order: column.hide_order,
            sort: None,
        }
    };
    columns.iter().enumerate().map(col).collect()
}

/// Text with its style.
pub type Cell = (String, Style);

/// Columns of the view.
pub fn cols(state: &State) -> Vec<Col> {
    match state.view {
        View::Destinations | View::Services => destinations::cols(state),
        View::Flows => flows::cols(state),
        View::Listeners => listeners::cols(state),
        View::Findings => findings::cols(state),
        View::Host => Vec::new(),
    }
}

/// What a line says in a column that is that wide.
pub fn cell(state: &State, line: Line, id: usize, width: u16) -> Cell {
    match line {
        Line::Destination(_) | Line::Service(_) | Line::OfService(_) | Line::Process(..) => {
            destinations::cell(state, line, id, width)
        }
        Line::Flow(index) => flows::cell(state, index, id),
        Line::Listener(index) => listeners::cell(state, index, id),
        Line::Finding(index) => findings::cell(state, index, id),
    }
}

/// Draws the table.
pub fn draw(state: &State, area: Rect, buffer: &mut Buffer) {
    if area.height == 0 {
        return;
    }
    let columns = fit(&cols(state), area.width);
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
        for (col, width) in &columns {
            let (text, style) = cell(state, *line, col.id, *width);
            put(state, &text, (x, y), *width, col.right, style, buffer);
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

/// Why there is nothing to see.
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

fn heading(state: &State, columns: &[(Col, u16)], area: Rect, buffer: &mut Buffer) {
    let mut x = area.x;
    for (col, width) in columns {
        let sorted = col.sort == Some(state.sort);
        let style = if sorted {
            state.theme.accent
        } else {
            state.theme.dim
        };
        let arrow = if state.reverse { '^' } else { 'v' };
        let title = if sorted {
            format!("{}{arrow}", col.title)
        } else {
            col.title.to_owned()
        };
        put(state, &title, (x, area.y), *width, col.right, style, buffer);
        x += width + GAP;
    }
}

fn put(
    state: &State,
    text: &str,
    (x, y): (u16, u16),
    width: u16,
    right: bool,
    style: Style,
    buffer: &mut Buffer,
) {
    let length = u16::try_from(text.chars().count()).unwrap_or(u16::MAX);
    if length <= width {
        let indent = if right { width - length } else { 0 };
        buffer.set_stringn(x + indent, y, text, width.into(), style);
    } else {
        let kept = text.chars().take(usize::from(width).saturating_sub(1));
        buffer.set_stringn(
            x,
            y,
            kept.chain([state.glyphs.cut]).collect::<String>(),
            width.into(),
            style,
        );
    }
}

/// Columns that fit, in their order, with their widths.
fn fit(cols: &[Col], room: u16) -> Vec<(Col, u16)> {
    let mut by_need: Vec<&Col> = cols.iter().collect();
    by_need.sort_by_key(|col| col.hide_order);
    let mut chosen = Vec::new();
    let mut used = 0;
    for col in by_need {
        let wanted = col.least + GAP;
        if col.hide_order == 0 || used + wanted <= room + GAP {
            used += wanted;
            chosen.push(col.id);
        }
    }
    let mut spare = (room + GAP).saturating_sub(used);
    let widen = |col: &Col| {
        let more = col.most.saturating_sub(col.least).min(spare);
        spare -= more;
        (*col, col.least + more)
    };
    cols.iter()
        .filter(|col| chosen.contains(&col.id))
        .map(widen)
        .collect()
}

/// What the heading at this column sorts by.
pub fn heading_at(state: &State, area: Rect, wanted: u16) -> Option<SortKey> {
    let mut x = area.x;
    for (col, width) in fit(&cols(state), area.width) {
        if (x..x + width).contains(&wanted) {
            return col.sort;
        }
        x += width + GAP;
    }
    None
}

/// A line as text: every column, whether it is on the screen or not.
pub fn text(state: &State, line: Line) -> String {
    let cells = cols(state)
        .into_iter()
        .map(|col| format!("{}={}", col.name, cell(state, line, col.id, WHOLE).0.trim()));
    cells.collect::<Vec<_>>().join(" ")
}

/// The whole table as text: names of the columns, then rows.
pub fn contents(state: &State) -> (Vec<&'static str>, Vec<Vec<String>>) {
    let cols = cols(state);
    let row = |line: &Line| {
        cols.iter()
            .map(|col| cell(state, *line, col.id, WHOLE).0.trim().to_owned())
            .collect()
    };
    (
        cols.iter().map(|col| col.name).collect(),
        state.table.lines.iter().map(row).collect(),
    )
}
