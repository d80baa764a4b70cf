//! A small test runner with libtest's arguments and output: names, filters and `--list`.

use std::{
    panic,
    process::{self, ExitCode},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

use crate::{policy, support};

/// How long a test may take: ten times as long as any takes on an idle machine.
const TIME_LIMIT: Duration = Duration::from_mins(6);

/// A name and what it runs.
pub type Test = (&'static str, fn() -> Result<()>);

/// Runs the tests the command line selects.
pub fn run(tests: &[Test]) -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let exact = args.iter().any(|arg| arg == "--exact");
    let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let selected: Vec<&Test> = tests
        .iter()
        .filter(|(name, _)| {
            let fits = |filter: &&String| {
                if exact {
                    name == filter
                } else {
                    name.contains(filter.as_str())
                }
            };
            filters.is_empty() || filters.iter().any(fits)
        })
        .collect();
    if args.iter().any(|arg| arg == "--list") {
        for (name, _) in selected {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", selected.len());
    if let Some(reason) = why_not() {
        println!("skipped: {reason}");
        println!(
            "\ntest result: ok. 0 passed; 0 failed; {} ignored",
            selected.len()
        );
        return ExitCode::SUCCESS;
    }
    let mut failed = Vec::new();
    for (name, test) in &selected {
        let begun = Instant::now();
        // Numbers begin at 1 in each.
        let _ = std::fs::remove_file(policy::LAST_RULE);
        let _watched = watchdog(name);
        let result = panic::catch_unwind(*test).unwrap_or_else(|_| Err(anyhow::anyhow!("it panicked")));
        // A test that failed half-way must not spoil the next one.
        let cleared = policy::clear();
        match result.and(cleared) {
            Ok(()) => println!("test {name} ... ok ({:.1} s)", begun.elapsed().as_secs_f64()),
            Err(error) => {
                println!("test {name} ... FAILED\n  {error:#}");
                failed.push(name);
            }
        }
    }
    policy::give_numbers_back();
    let verdict = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {verdict}. {} passed; {} failed",
        selected.len() - failed.len(),
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Ends the program with the name of a test that hangs. Whoever holds the result ends the watch by dropping it.
fn watchdog(name: &'static str) -> Sender<()> {
    let (ends, ended) = mpsc::channel();
    thread::spawn(move || {
        if ended.recv_timeout(TIME_LIMIT) == Err(RecvTimeoutError::Timeout) {
            println!(
                "test {name} ... FAILED\n  it hangs: {TIME_LIMIT:?} have passed\n\ntest result: FAILED. 0 passed; 1 failed"
            );
            process::exit(1);
        }
    });
    ends
}

/// Why nothing can be enforced here, or `None`. Enters the mount namespace when it can.
fn why_not() -> Option<String> {
    match support::why_not() {
        Some(reason) => Some(reason.to_owned()),
        None => enter().err().map(|error| format!("{error:#}")),
    }
}

/// A mount namespace with a bpffs of its own at the usual place, and numbers of rules of its own.
fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).context("mounting a bpffs")?;
    policy::own_numbers()
}
