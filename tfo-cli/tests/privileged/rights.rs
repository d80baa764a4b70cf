//! Rights: observing works with three capabilities, what is missing is named, and what is not needed any more is given up.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};
use tfo_lab::lab::Lab;

use crate::support::{
    needs_kernel, no_problems,
    once::{self, Copy},
    round::{self, Pair, round},
    sandbox::Sandbox,
    tool::Tool,
};

/// Bits of capabilities (include/uapi/linux/capability.h).
const DAC_READ_SEARCH: u32 = 2;
const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const BPF: u32 = 39;

/// Nobody, with `CAP_BPF`, `CAP_PERFMON` and `CAP_NET_ADMIN` and nothing else. Older programs know the first two by number.
pub fn with_three(program: &Copy, args: &[&str]) -> Command {
    const THREE: &str = "-all,+cap_39,+cap_38,+net_admin";
    let mut command = Command::new("setpriv");
    command.args([
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--no-new-privs",
    ]);
    for set in ["--bounding-set", "--inh-caps", "--ambient-caps"] {
        command.arg(format!("{set}={THREE}"));
    }
    command.arg(program.path()).args(args);
    command
}

/// Effective capabilities of each thread, by its name.
fn threads(process: u32) -> Result<BTreeMap<String, u64>> {
    let tasks = Path::new("/proc").join(process.to_string()).join("task");
    let mut found = BTreeMap::new();
    for task in fs::read_dir(&tasks).context("its threads")?.flatten() {
        let status = fs::read_to_string(task.path().join("status")).context("a thread")?;
        let value = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim().to_owned()).unwrap_or_default()
        };
        let rights =
            u64::from_str_radix(&value("CapEff:"), 16)? | u64::from_str_radix(&value("CapPrm:"), 16)?;
        *found.entry(value("Name:")).or_default() |= rights;
    }
    Ok(found)
}

#[test]
fn three_capabilities_are_enough_to_observe() -> Result<()> {
    needs_kernel!();
    let (sandbox, copy, lab) = (Sandbox::enter()?, Copy::make()?, Lab::up_unique()?);
    let cgroup = sandbox.path().to_string_lossy().into_owned();
    let trace = Tool::attached_by(&mut with_three(
        &copy,
        &["trace", "--all", "--format", "json", "--cgroup", &cgroup],
    ))?;
    // Listeners of other namespaces that were there before are not primed: these are not.
    let pair = Pair::start(&lab, 0)?;
    let made = sandbox.within("three", || round(&lab, &pair))?;
    let ended = trace.stop()?;
    let said = ended.stderr.join("\n");
    let (flows, _) = ended.complete_records()?;
    let mut problems = round::differences(&lab, &made, &flows)?;
    for name in ["other-namespaces", "other-processes", "cgroup-names"] {
        if !said.contains(&format!("degraded: {name}: ")) {
            problems.push(format!("{name} is not named: {said}"));
        }
    }
    no_problems(&problems)?;
    let args = [
        "top",
        "--once",
        "--interval",
        "100ms",
        "--format",
        "json",
        "--cgroup",
        &cgroup,
    ];
    let top = once::once(&mut with_three(&copy, &args))?.ended(0)?;
    ensure!(top.stdout.contains("other-namespaces"), "{top:?}");
    Ok(())
}

#[test]
fn rights_are_given_up_after_attaching() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("release")?;
    let numbers: Vec<u32> = release.split(['.', '-']).flat_map(str::parse).take(2).collect();
    // Before 5.19 maps cannot be read without it.
    let reading = if numbers >= vec![5, 19] { 0 } else { 1 << BPF };
    let keeper = 1u64 << SYS_ADMIN | 1 << SYS_PTRACE | 1 << DAC_READ_SEARCH | 1 << BPF;
    let (lab, trace) = (Lab::up_unique()?, sandbox.trace(&["--all"])?);
    let pair = Pair::start(&lab, 0)?;
    round(&lab, &pair)?;
    // It reads by now: what it does first, it has done.
    trace.wait_for_lines(2 * round::PER_ROUND)?;
    let threads = threads(trace.id())?;
    ensure!(threads.len() >= 4, "{threads:x?}");
    for (name, rights) in &threads {
        let allowed = if name == "keeper" { keeper } else { reading };
        ensure!(
            rights & !allowed == 0,
            "{name} still has {rights:x}: {threads:x?}"
        );
    }
    ensure!(
        threads
            .get("keeper")
            .is_some_and(|rights| rights >> SYS_ADMIN & 1 == 1),
        "nobody can enter namespaces: {threads:x?}"
    );
    trace.stop()?.complete_records()?;
    Ok(())
}
