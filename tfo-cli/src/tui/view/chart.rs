//! A chart of outcomes over time: a band for each outcome that occurred, all on one time axis. Bands instead of colours,
//! so that outcomes can be told apart on every terminal.
//!
//! ```text
//! accepted        9 ┤█████████▆▆█████
//!                   │████████████████
//!                 0 ┤████████████████
//! syn-timeout     3 ┤            ████
//!                   │            ████
//!                 0 ┤            ████
//!                   └┬───────────────
//!                    03:04:05
//! ```

use ratatui::{
    style::Style,
    text::{Line, Span},
};
use tfo_common::Outcome;

use crate::{
    output::{number, time},
    tui::state::{Point, State},
};

/// Columns for the name of an outcome.
const NAME: usize = 15;
/// Columns for a number at the value axis.
const VALUE: usize = 6;
/// Columns that a reading takes at most, where there are few readings.
const MAX_READING_WIDTH: usize = 8;
/// Lines that a band takes at most.
const MAX_BAND_HEIGHT: usize = 6;
/// Columns that a time of day takes.
const TIME: usize = 8;
/// Columns from one mark of the time axis to the next, at least: a time of day and some blanks.
const MARK: usize = 20;

/// The chart: at most `width` columns wide, and about `height` lines high.
pub fn lines(state: &State, width: u16, height: u16) -> Vec<Line<'static>> {
    let room = usize::from(width).saturating_sub(NAME + VALUE + 3).max(10);
    let shown = &state.series[state.series.len().saturating_sub(room)..];
    let span: u64 = shown.iter().map(|point| point.interval_ns).sum();
    let title = format!(
        "Attempts per reading, the latest {}",
        number::duration(span / 1_000)
    );
    let mut lines = vec![Line::from(Span::styled(title, state.theme.accent))];
    let occurred = |outcome: &Outcome| shown.iter().any(|point| point.gained[*outcome as usize] > 0);
    let outcomes: Vec<Outcome> = Outcome::ALL.into_iter().filter(occurred).collect();
    if outcomes.is_empty() {
        lines.push("  nothing in that time".into());
        return lines;
    }
    let scale = Scale {
        columns: (room / shown.len()).clamp(1, MAX_READING_WIDTH),
        rows: (usize::from(height) / outcomes.len()).clamp(1, MAX_BAND_HEIGHT),
    };
    for outcome in outcomes {
        lines.extend(band(state, shown, outcome, scale));
    }
    lines.extend(time_axis(state, shown, scale.columns, room));
    lines
}

/// How large the bands are.
#[derive(Clone, Copy)]
struct Scale {
    /// Columns that a reading takes.
    columns: usize,
    /// Lines that a band takes.
    rows: usize,
}

/// The band of an outcome. Its value axis is its own, or a few failures among many good attempts could not be seen.
fn band(
    state: &State,
    shown: &[Point],
    outcome: Outcome,
    Scale { columns, rows }: Scale,
) -> impl Iterator<Item = Line<'static>> {
    let glyphs = state.glyphs;
    let theme = state.theme;
    let values: Vec<u64> = shown
        .iter()
        .map(|point| point.gained[outcome as usize].into())
        .collect();
    let axis = ValueAxis {
        most: values.iter().copied().max().unwrap_or(0).max(1),
        rows,
    };
    let style = if outcome.is_failure() {
        theme.strong
    } else {
        Style::new()
    };
    (0..rows).rev().map(move |row| {
        let top = row + 1 == rows;
        let name = if top { outcome.name() } else { "" };
        let (label, mark) = match (top, row) {
            (true, _) => (number::count(axis.most), glyphs.value),
            (false, 0) => ("0".to_owned(), glyphs.value),
            (false, _) => (String::new(), glyphs.wall),
        };
        let bars = values
            .iter()
            .flat_map(|value| std::iter::repeat_n(glyphs.bars[axis.eighths(*value, row)], columns));
        Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), style),
            Span::styled(format!(" {label:>VALUE$} {mark}"), theme.dim),
            Span::styled(bars.collect::<String>(), style),
        ])
    })
}

/// The value axis of a band.
struct ValueAxis {
    /// The highest value, at least 1.
    most: u64,
    /// Lines of the band.
    rows: usize,
}

impl ValueAxis {
    /// How many eighths of a row, counted from the bottom, the bar of a value fills. Every value above 0 is visible;
    /// the highest leaves one eighth empty, so that bands do not run into each other.
    fn eighths(&self, value: u64, row: usize) -> usize {
        let filled = (u128::from(value) * (8 * self.rows as u128 - 1)).div_ceil(u128::from(self.most));
        usize::try_from(filled)
            .unwrap_or(usize::MAX)
            .saturating_sub(8 * row)
            .min(8)
    }
}

/// The time axis: a line with marks, and below it the times of the marked readings.
fn time_axis(state: &State, shown: &[Point], columns: usize, room: usize) -> [Line<'static>; 2] {
    let glyphs = state.glyphs;
    let width = shown.len() * columns;
    let step = MARK.div_ceil(columns) * columns;
    let mut axis: Vec<char> = vec![glyphs.line; width];
    let mut times = Vec::new();
    // A mark whose time would not fit is left out.
    let places = (0..width).step_by(step).take_while(|place| place + TIME <= room);
    for (place, point) in places.zip(shown.iter().step_by(step / columns)) {
        axis[place] = glyphs.mark;
        let time = time::of_day_seconds(state.snapshot.wall_ns(point.at_ns));
        times.push(format!("{time:<step$}"));
    }
    let axis: String = axis.into_iter().collect();
    let indent = NAME + VALUE + 2;
    [
        Line::from(format!("{:indent$}{}{axis}", "", glyphs.corner)).style(state.theme.dim),
        Line::from(format!("{:indent$} {}", "", times.concat().trim_end())).style(state.theme.dim),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_from_the_bottom_and_something_is_never_nothing() {
        let axis = ValueAxis { most: 24, rows: 3 };
        let column = |value| [0, 1, 2].map(|row| axis.eighths(value, row));
        assert_eq!(column(0), [0, 0, 0]);
        assert_eq!(column(1), [1, 0, 0]);
        assert_eq!(column(9), [8, 1, 0]);
        assert_eq!(column(24), [8, 8, 7]);
        let axis = ValueAxis {
            most: u64::MAX,
            rows: 6,
        };
        assert_eq!(axis.eighths(1, 0), 1);
        assert_eq!(axis.eighths(u64::MAX, 5), 7);
    }
}
