//! Runs the parts of a test run one after the other, goes on after a failure, and sums up.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::interrupt::Interrupted;
use crate::test_log::TestLog;

/// The steps that ran so far.
#[derive(Default)]
pub struct Steps {
    done: Vec<Done>,
    tests: TestLog,
}

struct Done {
    name: &'static str,
    took: Duration,
    tests: TestLog,
    error: Option<String>,
}

impl Steps {
    /// Runs one step. Only a signal ends the whole run; returns whether the step succeeded.
    pub fn run(&mut self, name: &'static str, step: impl FnOnce(&mut TestLog) -> Result<()>) -> Result<bool> {
        println!("\n==> {name}");
        let start = Instant::now();
        let mut tests = TestLog::default();
        let error = match step(&mut tests) {
            Ok(()) => None,
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => Some(format!("{error:#}")),
        };
        if let Some(error) = &error {
            println!("==> {name} FAILED: {error}");
            // A run that failed must not close with "0 failed".
            if tests.failed == 0 {
                tests.failed = 1;
            }
        }
        let ok = error.is_none();
        self.tests.add(&tests);
        self.done.push(Done {
            name,
            took: start.elapsed(),
            tests,
            error,
        });
        Ok(ok)
    }

    /// The same as a document: a table, then what went wrong, what was skipped, and the figures.
    pub fn table(&self) -> String {
        let mut text = String::from("| step | seconds | passed | failed | |\n|---|---:|---:|---:|---|\n");
        for step in &self.done {
            let result = if step.error.is_some() { "FAILED" } else { "ok" };
            let (seconds, tests) = (step.took.as_secs(), &step.tests);
            let _ = writeln!(
                text,
                "| {} | {seconds} | {} | {} | {result} |",
                step.name, tests.passed, tests.failed
            );
        }
        text.push('\n');
        let errors = self
            .done
            .iter()
            .filter_map(|step| Some(format!("{}: {}", step.name, step.error.as_ref()?)));
        let lines = errors.chain(self.tests.skipped.iter().cloned());
        for line in lines.chain(self.tests.notes.iter().cloned()) {
            let _ = writeln!(text, "- {line}");
        }
        text
    }

    /// Prints the table and the closing line; an error if anything failed.
    pub fn finish(self) -> Result<()> {
        println!(
            "\n{:<12} {:>8} {:>8} {:>8}  result",
            "step", "seconds", "passed", "failed"
        );
        for step in &self.done {
            let result = if step.error.is_some() { "FAILED" } else { "ok" };
            println!(
                "{:<12} {:>8.1} {:>8} {:>8}  {result}",
                step.name,
                step.took.as_secs_f64(),
                step.tests.passed,
                step.tests.failed
            );
        }
        for step in &self.done {
            if let Some(error) = &step.error {
                println!("{}: {error}", step.name);
            }
        }
        for line in &self.tests.skipped {
            println!("{line}");
        }
        println!("\n{} passed, {} failed", self.tests.passed, self.tests.failed);
        let failed: Vec<_> = self
            .done
            .iter()
            .filter(|s| s.error.is_some())
            .map(|s| s.name)
            .collect();
        if failed.is_empty() {
            Ok(())
        } else {
            anyhow::bail!("failed: {}", failed.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_steps_errors_skipped_tests_and_figures() {
        let mut steps = Steps::default();
        let good = |log: &mut TestLog| {
            log.line("test result: ok. 3 passed; 0 failed; 0 ignored");
            log.line("skipped: no tmux");
            log.line("soak: 9 rounds");
            Ok(())
        };
        steps.run("one", good).unwrap();
        steps.run("two", |_| anyhow::bail!("no")).unwrap();
        let text = steps.table();
        for line in [
            "| one | 0 | 3 | 0 | ok |",
            "| two | 0 | 0 | 1 | FAILED |",
            "- two: no",
            "- skipped: no tmux",
            "- soak: 9 rounds",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
    }

    #[test]
    fn a_failed_step_counts_and_the_next_one_runs() {
        let mut steps = Steps::default();
        assert!(!steps.run("lint", |_| anyhow::bail!("untidy")).unwrap());
        let counted = steps.run("unit", |log| {
            log.line("test result: ok. 3 passed; 0 failed; 0 ignored");
            Ok(())
        });
        assert!(counted.unwrap());
        assert_eq!((steps.tests.passed, steps.tests.failed), (3, 1));
        assert!(steps.finish().unwrap_err().to_string().contains("lint"));
    }

    #[test]
    fn a_signal_ends_the_run() {
        assert!(Steps::default().run("unit", |_| Err(Interrupted.into())).is_err());
    }
}
