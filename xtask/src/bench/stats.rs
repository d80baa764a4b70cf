//! What the kernel counts about BPF programs, and the switch that makes it count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use anyhow::{Context as _, Result};

use super::temporary::TemporaryChange;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// `kernel.bpf_stats_enabled=1` for as long as this exists; then what it was before.
pub struct StatsOn {
    _set: TemporaryChange,
}

impl StatsOn {
    pub fn enable() -> Result<Self> {
        let before = fs::read_to_string(SWITCH).with_context(|| format!("cannot read {SWITCH}"))?;
        let set = TemporaryChange::make(
            "echo 1 > \"$1\"",
            "echo \"$2\" > \"$1\"",
            &[SWITCH, before.trim()],
        )?;
        Ok(Self { _set: set })
    }
}

/// Run time and number of runs of programs.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct RunTime {
    pub nanoseconds: u64,
    pub runs: u64,
    pub programs: usize,
}

impl RunTime {
    /// Summed over every program that a process holds a file descriptor of.
    pub fn of_process(pid: u32) -> Result<Self> {
        let directory = format!("/proc/{pid}/fdinfo");
        let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
        // A descriptor may close while we look; a program may have several descriptors.
        let infos = entries
            .flatten()
            .filter_map(|entry| fs::read_to_string(entry.path()).ok());
        let programs: BTreeMap<u64, (u64, u64)> = infos.filter_map(|info| program(&info)).collect();
        Ok(Self {
            nanoseconds: programs.values().map(|(nanoseconds, _)| nanoseconds).sum(),
            runs: programs.values().map(|(_, runs)| runs).sum(),
            programs: programs.len(),
        })
    }
}

/// Ids of the programs that a process holds a descriptor of.
pub fn programs_of(pid: u32) -> Result<Vec<u64>> {
    let directory = format!("/proc/{pid}/fdinfo");
    let entries = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    let infos = entries
        .flatten()
        .filter_map(|entry| fs::read_to_string(entry.path()).ok());
    let ids: BTreeSet<u64> = infos
        .filter_map(|info| program(&info))
        .map(|(id, _)| id)
        .collect();
    Ok(ids.into_iter().collect())
}

/// (id, (run time in ns, runs)) from the fdinfo of a program's descriptor; a link's has an id, but no run time.
fn program(fdinfo: &str) -> Option<(u64, (u64, u64))> {
    let field = |name: &str| {
        fdinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':')?.trim().parse().ok())
    };
    Some((field("prog_id")?, (field("run_time_ns")?, field("run_cnt")?)))
}

/// Resident memory of a process in KiB.
pub fn resident_kib(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    resident(&status).with_context(|| format!("{path} has no line VmRSS"))
}

fn resident(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    value.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Nanoseconds on a CPU, over all threads of a process.
pub fn cpu_nanoseconds(pid: u32) -> Result<u64> {
    let directory = format!("/proc/{pid}/task");
    let tasks = fs::read_dir(&directory).with_context(|| format!("cannot read {directory}"))?;
    let schedstats = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok());
    Ok(schedstats
        .filter_map(|text| text.split_whitespace().next()?.parse::<u64>().ok())
        .sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_programs_descriptor() {
        let info = "pos:\t0\nflags:\t02000002\nprog_type:\t5\nprog_jited:\t1\nprog_tag:\tab12\nmemlock:\t4096\n\
            prog_id:\t130\nrun_time_ns:\t5121\nrun_cnt:\t17\nrecursion_misses:\t0\n";
        assert_eq!(program(info), Some((130, (5121, 17))));
    }

    #[test]
    fn links_maps_and_files_are_no_programs() {
        assert_eq!(
            program("link_type:\tperf\nlink_id:\t89\nprog_tag:\tab\nprog_id:\t130\n"),
            None
        );
        assert_eq!(program("map_type:\t2\nmap_id:\t7\n"), None);
        assert_eq!(program("pos:\t0\nflags:\t0100000\n"), None);
    }

    #[test]
    fn reads_resident_memory() {
        assert_eq!(
            resident("VmHWM:\t  9000 kB\nVmRSS:\t    8123 kB\nThreads:\t3\n"),
            Some(8123)
        );
        assert_eq!(resident("Name:\tx\n"), None);
    }

    #[test]
    fn own_process_has_memory_and_time() {
        let pid = std::process::id();
        assert!(resident_kib(pid).unwrap() > 0);
        assert!(cpu_nanoseconds(pid).is_ok());
        assert_eq!(RunTime::of_process(pid).unwrap().programs, 0);
    }
}
