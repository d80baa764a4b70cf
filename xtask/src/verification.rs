//! The report of `cargo xtask verify`, `docs/verification.md`: a row and remarks for each step, with the commit it ran at.
//! Steps that were not run this time keep what stands there.

use std::fmt::Write as _;

use crate::steps::Done;

const HEAD: &str = "\
# Verification

Written by `cargo xtask verify`, the long tier of the tests; not by hand. Each step says at which commit it ran last. What the \
short tier runs is in CONTRIBUTING.md.

| step | commit | ended, UTC | on | seconds | passed | failed | |
|---|---|---|---|---:|---:|---:|---|
";

/// Where and when steps ran.
#[derive(Debug, Clone)]
pub struct Place {
    pub commit: String,
    pub date: String,
    pub machine: String,
}

/// The rows and remarks of a report.
#[derive(Debug, Default)]
pub struct Report {
    steps: Vec<Step>,
}

#[derive(Debug)]
struct Step {
    name: String,
    row: String,
    remarks: Vec<String>,
}

impl Report {
    /// Reads a report; what it does not know it leaves out.
    pub fn parse(text: &str) -> Self {
        let mut steps: Vec<Step> = Vec::new();
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("| ")
                && let Some((name, _)) = rest.split_once(" | ")
                && name != "step"
            {
                steps.push(Step {
                    name: name.to_owned(),
                    row: line.to_owned(),
                    remarks: Vec::new(),
                });
            } else if let Some(rest) = line.strip_prefix("- ")
                && let Some((name, _)) = rest.split_once(": ")
                && let Some(step) = steps.iter_mut().find(|step| step.name == name)
            {
                step.remarks.push(line.to_owned());
            }
        }
        Self { steps }
    }

    /// Puts in what ran now, in the place of what stood there.
    pub fn put(&mut self, done: &[Done], place: &Place) {
        for done in done {
            let step = Step::of(done, place);
            match self.steps.iter_mut().find(|one| one.name == step.name) {
                Some(one) => *one = step,
                None => self.steps.push(step),
            }
        }
    }

    /// The document.
    pub fn text(&self) -> String {
        let mut text = HEAD.to_owned();
        for step in &self.steps {
            let _ = writeln!(text, "{}", step.row);
        }
        text.push('\n');
        for remark in self.steps.iter().flat_map(|step| &step.remarks) {
            let _ = writeln!(text, "{remark}");
        }
        text
    }
}

impl Step {
    fn of(done: &Done, place: &Place) -> Self {
        let result = if done.error.is_some() { "FAILED" } else { "ok" };
        let row = format!(
            "| {} | {} | {} | {} | {} | {} | {} | {result} |",
            done.name,
            place.commit,
            place.date,
            place.machine,
            done.took.as_secs(),
            done.tests.passed,
            done.tests.failed
        );
        let said = done.tests.skipped.iter().chain(&done.tests.notes);
        let remarks = done.error.iter().chain(said).map(|remark| {
            let own = remark.trim().trim_start_matches(&format!("{}: ", done.name));
            format!("- {}: {own}", done.name)
        });
        Self {
            name: done.name.to_owned(),
            row,
            remarks: remarks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::steps::Steps;

    use super::*;

    fn place(commit: &str) -> Place {
        Place {
            commit: commit.to_owned(),
            date: "2026-01-01 00:00".to_owned(),
            machine: "Linux 6.18, 2 CPUs".to_owned(),
        }
    }

    #[test]
    fn what_ran_again_takes_the_place_of_what_stood_there() {
        let mut first = Steps::default();
        let good = |log: &mut crate::test_log::TestLog| {
            log.line("test result: ok. 3 passed; 0 failed; 0 ignored");
            log.line("skipped: no tmux");
            log.line("soak: 9 rounds");
            Ok(())
        };
        first.run("one", good).unwrap();
        first.run("two", |_| anyhow::bail!("no")).unwrap();
        let mut report = Report::default();
        report.put(first.done(), &place("abc"));
        let before = report.text();
        for line in [
            "| one | abc | 2026-01-01 00:00 | Linux 6.18, 2 CPUs | 0 | 3 | 0 | ok |",
            "| two | abc | 2026-01-01 00:00 | Linux 6.18, 2 CPUs | 0 | 0 | 1 | FAILED |",
            "- two: no",
            "- one: skipped: no tmux",
            "- one: soak: 9 rounds",
        ] {
            assert!(before.lines().any(|found| found == line), "{line}: {before}");
        }
        assert_eq!(Report::parse(&before).text(), before);
        let mut second = Steps::default();
        second.run("two", |_| Ok(())).unwrap();
        let mut report = Report::parse(&before);
        report.put(second.done(), &place("def"));
        let after = report.text();
        assert!(
            after.contains("| one | abc |") && after.contains("| two | def |"),
            "{after}"
        );
        assert!(
            !after.contains("- two: no") && after.contains("- one: soak"),
            "{after}"
        );
    }
}
