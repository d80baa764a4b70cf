//! The tool changes nothing: settings, cgroups and namespaces of the host are the same before, while and after it runs.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use tfo_lab::{command, lab::Lab};

use crate::support::{
    needs_kernel, no_problems,
    round::{Pair, round},
    sandbox::Sandbox,
};

/// Settings a tool like this might be tempted to change.
const SETTINGS: [&str; 4] = [
    "/proc/sys/net/ipv4",
    "/proc/sys/net/core",
    "/proc/sys/kernel",
    "/proc/sys/net/ipv6",
];
/// Settings whose value is a measurement, or another one at every reading.
const RESTLESS: [&str; 5] = ["random", "ns_last_pid", "nr", "pty", "sched_domain"];

/// Parts of the names of labs and of the tests' own cgroups.
const LABS: [&str; 4] = ["tfo-lab", "tfo-test-", "tfo-client", "tfo-server"];

/// Everything there is to compare, by name.
fn host() -> Result<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    for directory in SETTINGS {
        settings(Path::new(directory), &mut found);
    }
    ensure!(
        found.contains_key("/proc/sys/net/ipv4/tcp_fastopen") && found.len() > 300,
        "{} settings",
        found.len()
    );
    let mount = command::run("findmnt", &["-nro", "TARGET", "-t", "cgroup2"])?;
    let mount = mount.lines().next().context("no cgroup2 mount")?.to_owned();
    for (what, program, args) in [
        ("cgroups", "find", &[mount.as_str(), "-type", "d"][..]),
        ("namespaces", "ip", &["netns", "list"]),
        ("pinned objects", "find", &["/sys/fs/bpf"]),
        ("rules", "nft", &["--stateless", "list", "ruleset"]),
        ("routes", "ip", &["route", "show", "table", "all"]),
    ] {
        let listed = listing(program, args);
        // Labs come and go, those of other tests too; the tool has no business with such names.
        let lines = listed
            .lines()
            .filter(|line| !LABS.iter().any(|part| line.contains(part)))
            // The time a router's route has left.
            .map(|line| line.split(" expires ").next().unwrap_or(line));
        found.insert(what.to_owned(), lines.collect::<Vec<_>>().join("\n"));
    }
    Ok(found)
}

/// What a program prints; nothing where it is missing. `find` fails when a directory goes while it looks.
fn listing(program: &str, args: &[&str]) -> String {
    let mut tries = (0..3).map(|_| command::run(program, args).ok());
    tries.find_map(|listed| listed).unwrap_or_default()
}

fn settings(directory: &Path, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            settings(&path, found);
        } else if let Ok(value) = fs::read_to_string(&path) {
            let name = path.to_string_lossy().into_owned();
            if !RESTLESS.iter().any(|part| name.contains(part)) {
                found.insert(name, value);
            }
        }
    }
}

#[test]
fn the_host_stays_as_it_is() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let before = host()?;
    let trace = sandbox.trace(&["--all"])?;
    let top = sandbox.tool("top", &["--once", "--interval", "100ms"])?;
    round(&lab, &pair)?;
    let during = host()?;
    trace.stop()?.complete_records()?;
    top.ended()?;
    let after = host()?;
    let mut problems = Vec::new();
    for (when, now) in [("while it runs", &during), ("after it ended", &after)] {
        for name in before.keys().chain(now.keys()) {
            if before.get(name) != now.get(name) {
                problems.push(format!(
                    "{name}, {when}: {:?}, before: {:?}",
                    now.get(name),
                    before.get(name)
                ));
            }
        }
    }
    no_problems(&problems)
}
