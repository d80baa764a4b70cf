//! How the program ends: exit codes and the one error type that reaches `main`.

use std::{fmt, io};

/// Done.
pub const DONE: u8 = 0;
/// Something failed, or something was lost.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// A permission or a kernel feature is missing.
pub const MISSING: u8 = 3;
/// Fast Open was looked at and does not work: `diagnose` found something of severity fail, or a probe a fault.
pub const FOUND: u8 = 4;

/// `run` itself failed; its other codes are those of the command.
pub const RUN_FAILED: u8 = 125;
/// The command of `run` cannot be executed.
pub const CANNOT_EXECUTE: u8 = 126;
/// There is no such command.
pub const NO_COMMAND: u8 = 127;

/// Every exit code with its meaning, as each `--help` but that of `run` ends with them.
pub const ALL: [(u8, &str); 5] = [
    (DONE, "done"),
    (FAILED, "failed, or something was lost"),
    (USAGE, "wrong usage"),
    (MISSING, "a permission or kernel feature is missing"),
    (FOUND, "Fast Open does not work: a finding of severity fail"),
];

/// An error as the user sees it: `tfo-cli: what: why`, and one line that says what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Exit code.
    pub code: u8,
    /// What failed and why, without the program's name.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Failure {
    /// An error with this exit code.
    pub fn new(code: u8, message: impl fmt::Display) -> Self {
        Self {
            code,
            message: message.to_string(),
            hint: None,
        }
    }

    /// A wrong flag value: `flag value: why`.
    pub fn usage(flag: &str, value: impl fmt::Display, why: impl fmt::Display) -> Self {
        Self::new(USAGE, format!("{flag} {value}: {why}"))
    }

    /// Adds the line that says what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tfo-cli: {}", self.message)?;
        match &self.hint {
            Some(hint) => write!(f, "\n  {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::new(DONE, error);
        }
        Self::new(FAILED, format!("output: {error}"))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        let closed_pipe = error.chain().any(|cause| {
            cause
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        });
        match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Self::new(if closed_pipe { DONE } else { FAILED }, format!("{error:#}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn a_closed_pipe_is_a_clean_end() {
        let closed = || io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(Failure::from(closed()).code, DONE);
        let chained = Err::<(), _>(closed())
            .context("summary")
            .expect_err("it is an error");
        assert_eq!(Failure::from(chained).code, DONE);
        assert_eq!(Failure::from(io::Error::other("disk full")).code, FAILED);
    }

    #[test]
    fn a_failure_survives_anyhow() {
        let failure = Failure::usage("--port", "x", "not a port").hint("use 443");
        assert_eq!(Failure::from(anyhow::Error::from(failure.clone())), failure);
        assert_eq!(failure.to_string(), "tfo-cli: --port x: not a port\n  use 443");
    }
}
