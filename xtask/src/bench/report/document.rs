//! The page that a whole run writes, `docs/cost.md`, and its raw numbers, `docs/cost.json`.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{Budget, Row, Section, chart, number};
use crate::bench::rate::median_interval;

/// Where a run took place.
#[derive(Debug, Clone)]
pub struct Place {
    /// Kernel, processor, compiler, on one line.
    pub machine: String,
    /// Versions of the tools that were compared, one line each.
    pub versions: Vec<String>,
    /// Date of the run, UTC.
    pub date: String,
    /// How long it took, s.
    pub seconds: u64,
}

/// Why goals are missed: the parts that run time is made of.
const PARTS: &str = include_str!("parts.md");
/// What is known of scale without measuring it on this machine.
const SCALE: &str = include_str!("scale.md");

/// The page.
pub fn markdown(place: &Place, sections: &[Section]) -> String {
    let mut text = String::from("# Cost\n\n");
    let _ = writeln!(
        text,
        "What watching and a policy cost. Written by `cargo xtask bench`; do not edit. Raw numbers, every round of every\n\
         row: [cost.json](cost.json). Measured on {} in {} min, connections on the loopback, both ends on this host:\n",
        place.date,
        place.seconds.div_ceil(60)
    );
    let _ = writeln!(text, "- {}", place.machine);
    for version in &place.versions {
        let _ = writeln!(text, "- {version}");
    }
    text.push_str(
        "\nA value is the median of its rounds; beside it stand the lowest and the highest. Of six rounds and more it is said in\n\
         brackets what the median lies within, with 95 % certainty. What is compared ran in alternating rounds, close\n\
         together in time, and a ratio is one of the same round. Run time is the kernel's own\n\
         (`kernel.bpf_stats_enabled`), with the clock it reads before and after each run: about half of what an empty program\n\
         takes.\n",
    );
    for section in sections {
        let _ = write!(text, "\n## {}\n\n{}\n\n", section.title, section.about);
        text.push_str(&table(&section.rows));
        for missing in &section.missing {
            let _ = write!(text, "\nNot measured: {missing}\n");
        }
        if let Some(unit) = section.drawn {
            let _ = write!(text, "\n{}", chart::bars(&section.rows, unit));
        }
    }
    text.push('\n');
    text.push_str(PARTS);
    text.push('\n');
    text.push_str(SCALE);
    text
}

fn table(rows: &[Row]) -> String {
    let mut text = String::from("| what | measured | rounds from..to | goal | |\n|---|---:|---:|---:|---|\n");
    for row in rows {
        let [_, measured, goal, _, verdict] = row.cells();
        let low = row.samples.iter().copied().fold(f64::INFINITY, f64::min);
        let high = row.samples.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let spread = if row.samples.len() > 1 {
            format!("{}..{}", number(low), number(high))
        } else {
            String::new()
        };
        let measured = match median_interval(&row.samples) {
            Some((low, high)) => format!("{} ({}..{})", measured.trim(), number(low), number(high)),
            None => measured,
        };
        let what = row.what.trim_start().replace('|', "\\|");
        let verdict = match verdict.as_str() {
            "over" => "missed",
            other => other,
        };
        let _ = writeln!(
            text,
            "| {what} | {} | {spread} | {goal} | {verdict} |",
            measured.trim()
        );
    }
    text
}

/// The same as numbers.
pub fn json(place: &Place, sections: &[Section]) -> Value {
    let row = |row: &Row| {
        let (at_most, at_least) = match row.budget {
            Budget::AtMost(limit) => (Some(limit), None),
            Budget::AtLeast(limit) => (None, Some(limit)),
            Budget::None => (None, None),
        };
        json!({
            "what": row.what.trim(), "unit": row.unit, "median": row.value(), "samples": row.samples,
            "at_most": at_most, "at_least": at_least,
        })
    };
    let sections: Vec<_> = sections
        .iter()
        .map(|section| {
            let rows: Vec<_> = section.rows.iter().map(row).collect();
            json!({"title": section.title, "rows": rows, "not_measured": section.missing})
        })
        .collect();
    json!({
        "schema": 1, "machine": place.machine, "versions": place.versions, "date": place.date,
        "seconds": place.seconds, "sections": sections,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Place, Vec<Section>) {
        let place = Place {
            machine: "Linux 6.18, 2 cores".into(),
            versions: vec!["tcplife 0.1".into()],
            date: "2026-01-01".into(),
            seconds: 61,
        };
        let mut section = Section::new("Run time", "What was done.").drawn("us");
        section.push(Row::of("trace", vec![2.0, 1.0, 3.0], "us", Budget::AtMost(1.5)));
        section.push(Row::of(
            "top",
            vec![2.0, 1.0, 3.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0],
            "us",
            Budget::None,
        ));
        section.missing.push("bpftrace: it does not start".into());
        (place, vec![section])
    }

    #[test]
    fn the_page_says_what_was_measured_where_and_what_was_not() {
        let (place, sections) = sample();
        let page = markdown(&place, &sections);
        assert!(
            page.contains("| trace | 2.00 us | 1.00..3.00 | <= 1.5 | missed |"),
            "{page}"
        );
        assert!(
            page.contains("| top | 2.00 us (1.00..3.00) | 1.00..3.00 |  |  |"),
            "{page}"
        );
        assert!(
            page.contains("in 2 min") && page.contains("Not measured: bpftrace"),
            "{page}"
        );
        assert!(page.contains("█ 2.00 us"), "{page}");
    }

    #[test]
    fn the_raw_numbers_have_every_round() {
        let (place, sections) = sample();
        let value = json(&place, &sections);
        let row = &value["sections"][0]["rows"][0];
        assert_eq!(row["samples"], json!([2.0, 1.0, 3.0]));
        assert_eq!(
            (row["median"].as_f64(), row["at_most"].as_f64()),
            (Some(2.0), Some(1.5))
        );
    }
}
