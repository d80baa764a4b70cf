//! Runs the parts of a test run one after the other, goes on after a failure, and sums up.

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

/// A step that ran.
#[derive(Debug)]
pub struct Done {
    pub name: &'static str,
    pub took: Duration,
    /// What its tests said.
    pub tests: TestLog,
    /// Why it failed, if it did.
    pub error: Option<String>,
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

    /// The steps that ran so far, in their order.
    pub fn done(&self) -> &[Done] {
        &self.done
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
