//! Writes `docs/kernels.md`, the kernels that tfo-cli supports, from a report.

use std::fmt::Write as _;

use super::expected;
use super::release::Series;
use super::report::{Entry, Report};

/// The BPF objects, and their names in the document.
const OBJECTS: [(&str, &str); 2] = [("tfo-ebpf", "observer"), ("tfo-policy", "policy")];

/// The whole document.
pub fn write(report: &Report) -> String {
    let mut text = String::from(HEAD);
    let mut before: Option<&Entry> = None;
    for entry in &report.kernels {
        if let Some(before) = before {
            between(&mut text, before, entry);
        }
        row(&mut text, entry);
        before = Some(entry);
    }
    if let Some(newest) = before {
        let _ = writeln!(text, "| after {} | not claimed | | | |", newest.series);
    }
    text.push_str(DEGRADATIONS);
    for one in &expected::DEGRADATIONS {
        let _ = writeln!(text, "| `{}` | {} | {} |", one.name, one.before, one.missed);
    }
    text.push_str(FIGURES);
    programs(&mut text, report);
    text
}

const HEAD: &str = "\
# Kernels

Written by `cargo xtask vm-test --bless` from `kernels.json`; not by hand.

**Tested**: Debian's kernel of this release was booted, and observing, a policy, a guard and `strip` did with real \
connections what they should, apart from the degradations named here, which `tfo-cli` names too, and from what the policy \
cannot do before 6.1 ([limits](limits.md)). **Expected**: \
between two kernels that were tested. **Not claimed**: nobody looked, or what was found was wrong.

The last columns have the highest number of instructions the verifier processed for a program of the object that \
observes, and of the one that enforces. It gives up at 1,000,000; 50,000 is the most that passes here.

| kernel | | degradations | observer | policy |
|---|---|---|---:|---:|
";

const DEGRADATIONS: &str = "
## Degradations

| name | before | what is missed |
|---|---|---|
";

const FIGURES: &str = "
## Verifier

Instructions processed by the verifier, program by program.

";

fn is_tested(entry: &Entry) -> bool {
    entry.findings.is_empty()
}

fn row(text: &mut String, entry: &Entry) {
    let word = match entry.findings.len() {
        0 => "tested".to_owned(),
        1 => "not claimed: 1 finding".to_owned(),
        count => format!("not claimed: {count} findings"),
    };
    let degradations: Vec<_> = entry
        .degradations
        .iter()
        .map(|name| format!("`{name}`"))
        .collect();
    let cpus = if entry.cpus > 1 {
        format!(", {} CPUs", entry.cpus)
    } else {
        String::new()
    };
    let highest = OBJECTS.map(|(object, _)| entry.highest(object).map_or("-".to_owned(), grouped));
    let _ = writeln!(
        text,
        "| {} ({}{cpus}) | {word} | {} | {} | {} |",
        entry.series,
        entry.version,
        degradations.join(", "),
        highest[0],
        highest[1]
    );
}

/// The row for the kernels between two that were booted, with the degradations of the older one and the release that
/// ends each.
fn between(text: &mut String, older: &Entry, newer: &Entry) {
    let word = if is_tested(older) && is_tested(newer) {
        "expected"
    } else {
        "not claimed"
    };
    let degradations: Vec<_> = older
        .degradations
        .iter()
        .map(|name| {
            let end = expected::DEGRADATIONS.iter().find(|one| one.name == name);
            match end.filter(|one| one.before < newer.series) {
                Some(one) => format!("`{name}` before {}", one.before),
                None => format!("`{name}`"),
            }
        })
        .collect();
    let degradations = if word == "expected" {
        degradations.join(", ")
    } else {
        String::new()
    };
    let (from, to) = (older.series, newer.series);
    let _ = writeln!(text, "| between {from} and {to} | {word} | {degradations} | | |");
}

fn programs(text: &mut String, report: &Report) {
    let mut names: Vec<(&str, &str)> = Vec::new();
    for program in report.kernels.iter().flat_map(|entry| &entry.programs) {
        let name = (program.object.as_str(), program.name.as_str());
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names.sort_unstable();
    let series: Vec<Series> = report.kernels.iter().map(|entry| entry.series).collect();
    let _ = write!(text, "| program |");
    for series in &series {
        let _ = write!(text, " {series} |");
    }
    let _ = writeln!(text, "\n|---|{}", "---:|".repeat(series.len()));
    for (object, name) in names {
        let _ = write!(text, "| `{name}` |");
        for entry in &report.kernels {
            let program = entry
                .programs
                .iter()
                .find(|program| program.object == object && program.name == name);
            let cell = match program {
                Some(program) if program.refused.is_some() => "refused".to_owned(),
                Some(program) => program.verified_insns.map_or("?".to_owned(), grouped),
                None => "-".to_owned(),
            };
            let _ = write!(text, " {cell} |");
        }
        text.push('\n');
    }
}

/// A number with groups of three digits: `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::verdict::Program;

    fn entry(series: Series, degradations: &[&str], findings: &[&str]) -> Entry {
        let program = |object: &str, name: &str, verified_insns| Program {
            object: object.to_owned(),
            name: name.to_owned(),
            instructions: 1,
            jited_bytes: 1,
            verified_insns: Some(verified_insns),
            bound: 50_000,
            refused: None,
        };
        Entry {
            series,
            version: format!("{series}.0-cloud-amd64"),
            cpus: 1,
            connections: 15,
            records: 40,
            degradations: degradations.iter().map(|&name| name.to_owned()).collect(),
            findings: findings.iter().map(|&line| line.to_owned()).collect(),
            programs: vec![
                program("tfo-ebpf", "tfo_a", 12_345),
                program("tfo-ebpf", "tfo_b", 6),
                program("tfo-policy", "tfo_c", 999),
            ],
        }
    }

    #[test]
    fn between_two_tested_kernels_is_expected_and_the_rest_is_not_claimed() {
        let report = Report {
            kernels: vec![
                entry(Series::new(6, 1), &["listener-priming"], &[]),
                entry(Series::new(6, 16), &[], &[]),
                entry(Series::new(7, 2), &[], &["refused"]),
            ],
        };
        let text = write(&report);
        for row in [
            "| 6.1 (6.1.0-cloud-amd64) | tested | `listener-priming` | 12,345 | 999 |",
            "| between 6.1 and 6.16 | expected | `listener-priming` before 6.12 | | |",
            "| 6.16 (6.16.0-cloud-amd64) | tested |  | 12,345 | 999 |",
            "| between 6.16 and 7.2 | not claimed |  | | |",
            "| 7.2 (7.2.0-cloud-amd64) | not claimed: 1 finding |  | 12,345 | 999 |",
            "| after 7.2 | not claimed | | | |",
            "| `tfo_a` | 12,345 | 12,345 | 12,345 |",
        ] {
            assert!(text.contains(row), "{row}\n{text}");
        }
    }

    #[test]
    fn an_object_that_is_not_taken_whole_has_no_figure() {
        let mut one = entry(Series::new(6, 1), &[], &["refused"]);
        one.programs[0].refused = Some("E2BIG".to_owned());
        assert_eq!(
            (one.highest("tfo-ebpf"), one.highest("tfo-policy")),
            (None, Some(999))
        );
        let text = write(&Report { kernels: vec![one] });
        assert!(text.contains("| `tfo_a` | refused |"), "{text}");
    }

    /// The document in the repository is the one that this code writes from the report in the repository.
    #[test]
    fn the_document_is_that_of_the_report() {
        let report = Report::read(include_str!("../../../docs/kernels.json")).unwrap();
        assert_eq!(write(&report), include_str!("../../../docs/kernels.md"));
        for entry in &report.kernels {
            let expected: Vec<_> = expected::of(entry.series).map(|one| one.name).collect();
            if is_tested(entry) {
                assert_eq!(entry.degradations, expected, "{}", entry.series);
                for program in &entry.programs {
                    assert_eq!(program.problem(entry.series), None, "{}", entry.series);
                }
            }
        }
    }
}
