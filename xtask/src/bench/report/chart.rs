//! Bars of text: they show in a terminal, in a page and in a diff.

use std::fmt::Write as _;

use super::{Row, number};

/// Longest bar, in characters.
const WIDTH: u32 = 40;

/// One bar per row with this unit, in a block that keeps its columns. Nothing where there is none.
pub fn bars(rows: &[Row], unit: &str) -> String {
    let rows: Vec<_> = rows.iter().filter(|row| row.unit == unit).collect();
    let longest = rows.iter().map(|row| row.value()).fold(0.0, f64::max);
    if rows.is_empty() || longest <= 0.0 {
        return String::new();
    }
    let width = rows
        .iter()
        .map(|row| row.what.trim().chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::from("```text\n");
    for row in rows {
        let share = row.value() / longest * f64::from(WIDTH);
        let length = (0..WIDTH)
            .filter(|at| f64::from(*at) + 0.5 <= share)
            .count()
            .max(1);
        let bar = "█".repeat(length);
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "{:<width$}  {bar} {} {unit}",
            row.what.trim(),
            number(row.value())
        );
    }
    text.push_str("```\n");
    text
}

#[cfg(test)]
mod tests {
    use super::super::Budget;
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let rows = [
            Row::new("a", 10.0, "us", Budget::None),
            Row::new("  bb", 5.0, "us", Budget::None),
            Row::new("c", 5.0, "ms", Budget::None),
        ];
        let text = bars(&rows, "us");
        assert!(
            text.contains(&format!("a   {} 10.0 us", "█".repeat(40))),
            "{text}"
        );
        assert!(
            text.contains(&format!("bb  {} 5.00 us", "█".repeat(20))),
            "{text}"
        );
        assert!(!text.contains("ms"));
        assert_eq!(bars(&rows, "s"), "");
    }
}
