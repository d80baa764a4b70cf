//! `tfo-cli run`.

use std::{ffi::OsString, path::PathBuf};

use clap::{Args, ValueHint};

use super::ListFormat;
use crate::exit;

/// What the help ends with.
pub(super) const NOTES: &str = "\
Only sockets that the command opened itself are counted; a socket it inherited belongs to the cgroup of whoever opened it. \
A daemon that the command leaves behind is moved to the caller's cgroup, where it would be without `run`, and lives on; what \
it does from then on is not counted.

Exit codes: that of the command; where a signal ended the command, the same signal ends `run`. 125 `run` itself failed; 126 \
the command cannot be executed; 127 there is no such command.";

/// The options of `tfo-cli run`, as the user typed them.
#[derive(Args, Clone, Debug)]
pub struct RunArgs {
    /// Format of the report that is written at the end, to stderr or to the file of --output.
    #[arg(long, value_enum, default_value_t = ListFormat::Text)]
    format: ListFormat,
    /// Write the report into this file; the command's own output is never mixed with it.
    #[arg(short, long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    output: Option<PathBuf>,
    /// Below each finding, print evidence, an example, what was excluded, cost, fix and how to undo the fix.
    #[arg(long)]
    details: bool,
    /// Run the command as this user, a name or a number: tfo-cli needs root, the command often does not.
    #[arg(long, value_name = "USER")]
    user: Option<String>,
    /// The command and its arguments.
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true)]
    command: Vec<OsString>,
}

/// The checked options of `tfo-cli run`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunConfig {
    /// Format of the report.
    pub format: ListFormat,
    /// Where it goes; stderr where absent.
    pub output: Option<PathBuf>,
    /// Text with details.
    pub details: bool,
    /// Who runs the command.
    pub user: Option<String>,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

impl RunArgs {
    /// There is nothing to check that the command line did not.
    pub fn resolve(self) -> RunConfig {
        RunConfig {
            format: self.format,
            output: self.output,
            details: self.details,
            user: self.user,
            command: self.command,
        }
    }
}

/// The exit code of a wrong command line: that of `run` must not be taken for the command's.
pub(super) fn usage_code<'a>(mut arguments: impl Iterator<Item = &'a OsString>) -> u8 {
    if arguments.nth(1).is_some_and(|word| word == "run") {
        exit::RUN_FAILED
    } else {
        exit::USAGE
    }
}
