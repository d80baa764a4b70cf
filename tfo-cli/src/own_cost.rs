//! What this process uses, and how much CPU the host has.

use std::fs;

use nix::time::{ClockId, clock_gettime};

use crate::model::cost::ProcessUse;

/// CPU time and memory so far; `None` where `/proc` is not mounted.
pub fn read() -> Option<ProcessUse> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    Some(ProcessUse {
        cpu_us: cpu_ns() / 1_000,
        rss_bytes: rss_bytes(&status)?,
    })
}

/// CPU time of every thread of this process so far, in the kernel and outside, ns. `/proc/self/stat` has it in ticks of
/// 10 ms, which is more than a limit of half a percent leaves for a second.
pub fn cpu_ns() -> u64 {
    let used = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID);
    used.map_or(0, |used| {
        let part = |number: i64| u64::try_from(number).unwrap_or(0);
        part(used.tv_sec()) * 1_000_000_000 + part(used.tv_nsec())
    })
}

/// CPUs of the host that are on, whichever of them this process may use; 1 where `/proc` is not mounted.
pub fn host_cpus() -> u32 {
    fs::read_to_string("/proc/stat").map_or(1, |stat| cpus(&stat))
}

/// Lines `cpu0`, `cpu1`, ... of proc(5).
fn cpus(stat: &str) -> u32 {
    let is_cpu = |line: &&str| {
        let number = line.strip_prefix("cpu");
        number.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    let count = stat.lines().filter(is_cpu).count();
    u32::try_from(count).unwrap_or(u32::MAX).max(1)
}

fn rss_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_writes_is_read() {
        assert_eq!(rss_bytes("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2 << 20));
        assert_eq!(rss_bytes(""), None);
        assert_eq!(cpus("cpu  1 2 3\ncpu0 1 2\ncpu11 1 2\nintr 5\n"), 2);
        assert_eq!(cpus(""), 1);
        assert!(read().is_some() && host_cpus() >= 1);
    }

    #[test]
    fn cpu_time_is_finer_than_a_tick() {
        let before = cpu_ns();
        while cpu_ns() == before {}
        assert!(before > 0);
    }
}
