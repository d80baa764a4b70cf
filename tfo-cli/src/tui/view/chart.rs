//! Outcomes over time: one band for each that occurred, all on one time axis. Bands instead of colours: what is
//! what can be read on every terminal.
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

/// Room for the name of an outcome.
const NAME: usize = 15;
/// Room for a number of the value axis.
const VALUE: usize = 6;
/// Columns a reading takes at most, where there are few.
const WIDEST: usize = 8;
/// Lines a band takes at most.
const HIGHEST: usize = 6;
/// Columns of a time of day.
const TIME: usize = 8;
/// Columns from one mark of the time axis to the next: a time of day and some air.
const MARK: usize = 20;

/// The chart: as wide as there is room, and about that many lines high.
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
    let each = (room / shown.len()).clamp(1, WIDEST);
    let high = (usize::from(height) / outcomes.len()).clamp(1, HIGHEST);
    for outcome in outcomes {
        lines.extend(band(state, shown, outcome, each, high));
    }
    lines.extend(time_axis(state, shown, each, room));
    lines
}

/// One outcome; its scale is its own, or a few failures among many good attempts could not be seen.
fn band(
    state: &State,
    shown: &[Point],
    outcome: Outcome,
    each: usize,
    high: usize,
) -> impl Iterator<Item = Line<'static>> {
    let glyphs = state.glyphs;
    let theme = state.theme;
    let values: Vec<u64> = shown
        .iter()
        .map(|point| point.gained[outcome as usize].into())
        .collect();
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let style = if outcome.is_failure() {
        theme.strong
    } else {
        Style::new()
    };
    (0..high).rev().map(move |row| {
        let top = row + 1 == high;
        let name = if top { outcome.name() } else { "" };
        let (value, axis) = match (top, row) {
            (true, _) => (number::count(most), glyphs.value),
            (false, 0) => ("0".to_owned(), glyphs.value),
            (false, _) => (String::new(), glyphs.wall),
        };
        let bars = values
            .iter()
            .flat_map(|value| std::iter::repeat_n(glyphs.bars[part(*value, most, row, high)], each));
        Line::from(vec![
            Span::styled(format!("{name:<NAME$}"), style),
            Span::styled(format!(" {value:>VALUE$} {axis}"), theme.dim),
            Span::styled(bars.collect::<String>(), style),
        ])
    })
}

/// Eighths of this row that a bar fills. Anything but nothing is visible; the highest bar leaves one eighth, so
/// that bands do not run into each other.
fn part(value: u64, most: u64, row: usize, high: usize) -> usize {
    let filled = (u128::from(value) * (8 * high as u128 - 1)).div_ceil(u128::from(most));
    usize::try_from(filled)
        .unwrap_or(usize::MAX)
        .saturating_sub(8 * row)
        .min(8)
}

/// A line with marks, and below it the times of their readings.
fn time_axis(state: &State, shown: &[Point], each: usize, room: usize) -> [Line<'static>; 2] {
    let glyphs = state.glyphs;
    let width = shown.len() * each;
    let step = MARK.div_ceil(each) * each;
    let mut axis: Vec<char> = vec![glyphs.line; width];
    let mut times = Vec::new();
    // The last mark has room for its time, too.
    let places = (0..width).step_by(step).take_while(|place| place + TIME <= room);
    for (place, point) in places.zip(shown.iter().step_by(step / each)) {
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
        let column = |value| [0, 1, 2].map(|row| part(value, 24, row, 3));
        assert_eq!(column(0), [0, 0, 0]);
        assert_eq!(column(1), [1, 0, 0]);
        assert_eq!(column(9), [8, 1, 0]);
        assert_eq!(column(24), [8, 8, 7]);
        assert_eq!(part(1, u64::MAX, 0, 6), 1);
        assert_eq!(part(u64::MAX, u64::MAX, 5, 6), 7);
    }
}
