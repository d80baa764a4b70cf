//! The modules that tests share: the tool as a child process, its records, and a cgroup for a test.

pub mod flow;
pub mod foreign;
pub mod found;
pub mod ground;
pub mod kernel;
pub mod object;
pub mod once;
pub mod round;
pub mod sandbox;
pub mod schema;
pub mod tcpdump;
pub mod tool;

pub use self::ground::{BINARY, DEADLINE, NO_CONFIG, no_problems, wait_until, why_not};

/// Ends the test early, with the reason, where it cannot run.
macro_rules! needs_kernel {
    () => {
        if let Some(reason) = crate::support::why_not() {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
}
pub(crate) use needs_kernel;

/// The same where a program is not installed.
macro_rules! needs_programs {
    ($($program:literal),+) => {
        if let Some(missing) = [$($program),+].into_iter().find(|name| !tfo_lab::command::is_installed(name)) {
            println!("skipped: needs `{missing}`");
            return Ok(());
        }
    };
}
pub(crate) use needs_programs;

/// The same where only the lab is needed: nothing is attached.
macro_rules! needs_lab {
    () => {
        if let Some(reason) = tfo_lab::lab::why_not() {
            println!("skipped: {reason}");
            return Ok(());
        }
    };
}
pub(crate) use needs_lab;
