//! Reads what test programs print: libtest's result lines, and `skipped:` lines.

/// Tests counted over any number of runs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct TestLog {
    pub passed: u64,
    pub failed: u64,
    /// Lines by which a test said that it did not do its work.
    pub skipped: Vec<String>,
    /// Figures worth keeping in the report of `cargo xtask verify`.
    pub notes: Vec<String>,
}

impl TestLog {
    pub fn line(&mut self, line: &str) {
        if let Some((passed, failed)) = result_line(line) {
            self.passed += passed;
            self.failed += failed;
        } else if let Some(reason) = skipped_line(line) {
            self.skipped.push(reason.to_owned());
        } else if line.starts_with("soak: ") {
            self.notes.push(line.to_owned());
        }
    }

    pub fn add(&mut self, other: &Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped.iter().cloned());
        self.notes.extend(other.notes.iter().cloned());
    }
}

/// `test result: ok. 13 passed; 0 failed; …` as (passed, failed).
fn result_line(line: &str) -> Option<(u64, u64)> {
    let rest = line.trim().strip_prefix("test result: ")?;
    let count = |word: &str| {
        rest.split([';', '.'])
            .find_map(|part| part.trim().strip_suffix(word)?.trim_end().parse().ok())
    };
    Some((count("passed")?, count("failed")?))
}

/// `skipped: not root`, also behind libtest's `test name ... ` when output is not captured.
fn skipped_line(line: &str) -> Option<&str> {
    let line = line.trim();
    let own = match line.strip_prefix("test ") {
        Some(rest) => rest.split_once(" ... ")?.1,
        None => line,
    };
    own.starts_with("skipped:").then_some(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_result_lines() {
        let mut log = TestLog::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 13 passed; 0 failed; 1 ignored; 0 measured; 2 filtered out; finished in 0.00s",
            "",
            "test result: FAILED. 4 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.50s",
        ] {
            log.line(line);
        }
        assert_eq!((log.passed, log.failed), (17, 2));
        assert!(log.skipped.is_empty());
    }

    #[test]
    fn a_result_line_in_prose_does_not_count() {
        for line in [
            "the line `test result: ok. 1 passed; 0 failed`",
            "test result: unknown",
            "1 passed; 1 failed",
        ] {
            assert_eq!(result_line(line), None, "{line}");
        }
    }

    #[test]
    fn finds_skipped_lines_captured_or_not() {
        assert!(skipped_line("skipped: needs root").is_some());
        assert!(skipped_line("test top_on_a_tty ... skipped: no tmux").is_some());
        assert!(skipped_line("test tests_skipped_line ... ok").is_none());
        assert!(skipped_line("2 skipped: see above").is_none());
    }
}
