//! Everything at once, for as long as `TFO_SOAK_SECONDS` says: mixed traffic, namespaces and cgroups that come and
//! go, copies of the tool that are killed, a policy that changes and whose commands are killed, a full ring and a
//! full table of destinations. One `trace` watches it all; at the end its totals are the kernel's, exactly, nothing
//! is left, and it has neither grown once it is full nor kept descriptors. Needs root; run with `cargo xtask soak`.
//!
//! The target has its own harness because the process enters a mount namespace of its own first, and only a process
//! without threads can: what is pinned there goes with it.

#![expect(clippy::print_stdout, reason = "a test program says what it found")]

mod copies;
#[path = "../policy/policy.rs"]
#[expect(dead_code, reason = "the tests of enforcement use the rest of it")]
mod policy;
mod rules;
mod soak;
mod support;
mod traffic;
mod witness;

use std::{process::ExitCode, time::Duration};

use anyhow::{Context, Result};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};

const NAME: &str = "soak::everything_at_once";

fn main() -> ExitCode {
    if std::env::args().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    let why_not = support::why_not()
        .map(str::to_owned)
        .or_else(|| enter().err().map(|error| format!("{error:#}")));
    if let Some(reason) = why_not {
        println!("skipped: {reason}\n\ntest result: ok. 0 passed; 0 failed; 1 ignored");
        return ExitCode::SUCCESS;
    }
    let result = time().and_then(soak::run);
    let cleared = policy::clear();
    policy::give_numbers_back();
    match result.and_then(|report| cleared.map(|()| report)) {
        Ok(report) => {
            println!("soak: {report}");
            println!("test {NAME} ... ok\n\ntest result: ok. 1 passed; 0 failed");
            ExitCode::SUCCESS
        }
        Err(error) => {
            println!("test {NAME} ... FAILED\n  {error:#}\n\ntest result: FAILED. 0 passed; 1 failed");
            ExitCode::FAILURE
        }
    }
}

/// A quarter of a minute where nobody says: each kind of round once.
fn time() -> Result<Duration> {
    const SHORT: u64 = 15;
    let seconds = match std::env::var("TFO_SOAK_SECONDS") {
        Ok(text) => text.parse().context("TFO_SOAK_SECONDS")?,
        Err(_) => SHORT,
    };
    Ok(Duration::from_secs(seconds))
}

/// A mount namespace with a bpffs of its own at the usual place, and numbers of rules of its own.
fn enter() -> Result<()> {
    unshare(CloneFlags::CLONE_NEWNS).context("a mount namespace")?;
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).context("making mounts private")?;
    mount(Some("bpf"), "/sys/fs/bpf", Some("bpf"), MsFlags::empty(), none).context("mounting a bpffs")?;
    policy::own_numbers()
}
