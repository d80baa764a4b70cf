//! Work on a CPU of one's choice.

use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

/// The CPUs this process may use.
pub fn cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0)).context("CPUs: asking which may be used")?;
    let all = (0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false));
    Ok(all.collect())
}

/// Runs `work` on this CPU, in the namespace of the caller.
pub fn on_cpu<T: Send>(cpu: usize, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let there = scope.spawn(move || {
            stay_on(cpu)?;
            work()
        });
        there
            .join()
            .map_err(|_| anyhow!("CPU {cpu}: its thread panicked"))?
    })
}

/// Keeps the calling thread on this CPU from now on.
pub fn stay_on(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu).with_context(|| format!("CPU {cpu}"))?;
    sched_setaffinity(Pid::from_raw(0), &set).with_context(|| format!("CPU {cpu}: moving there"))
}
