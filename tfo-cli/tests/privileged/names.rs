//! Names of cgroups: the first record of a new cgroup has its name, and a filter by names misses no record, with all
//! capabilities and without the one to open files by handle.

use std::process::Command;

use anyhow::{Result, ensure};
use tfo_lab::lab::Lab;

use crate::support::{
    BINARY, needs_kernel,
    round::{PER_ROUND, Pair, round},
    sandbox::Sandbox,
    tool::Tool,
};

/// Ways to start the program.
const WAYS: [&[&str]; 2] = [
    &[],
    &["setpriv", "--bounding-set=-dac_read_search", "--inh-caps=-all"],
];

#[test]
fn cgroups_born_one_after_the_other_all_have_names() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    for (number, way) in WAYS.iter().enumerate() {
        for filter in [None, Some(format!("cgroup:born-{number}"))] {
            let mut words: Vec<String> = way.iter().map(|word| (*word).to_owned()).collect();
            words.extend(
                [BINARY, "trace", "--all", "--role", "client", "--format", "json"].map(str::to_owned),
            );
            words.extend([
                "--cgroup".to_owned(),
                sandbox.path().to_string_lossy().into_owned(),
            ]);
            words.extend(
                filter
                    .iter()
                    .flat_map(|filter| ["--filter".to_owned(), filter.clone()]),
            );
            let trace = Tool::attached_by(Command::new(&words[0]).args(&words[1..]))?;
            let kind = u8::from(filter.is_some());
            let cgroups = ["a", "b", "c"].map(|last| format!("born-{number}-{kind}-{last}"));
            for cgroup in &cgroups {
                sandbox.within(cgroup, || round(&lab, &pair))?;
            }
            let (flows, summary) = trace.stop()?.complete_records()?;
            let nameless = flows.iter().filter(|flow| flow.cgroup.is_none()).count();
            // Without a filter nothing waits for a name; with one, everything does.
            ensure!(
                flows.len() == 3 * PER_ROUND && (nameless == 0 || filter.is_none() && number == 1),
                "{words:?}: {nameless} of {} have no name: {summary:?}",
                flows.len()
            );
            for cgroup in &cgroups {
                let path = format!("{}/{cgroup}", sandbox.name()?);
                let there = flows
                    .iter()
                    .filter(|flow| flow.cgroup.as_deref() == Some(&*path))
                    .count();
                ensure!(
                    there == PER_ROUND || filter.is_none() && number == 1,
                    "{words:?}: {there} records of {path}"
                );
            }
        }
    }
    Ok(())
}

/// As in a container: what it calls the root of the hierarchy is the sandbox.
#[test]
fn a_part_of_the_hierarchy_is_called_one() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let script = "mount=$(findmnt -nro TARGET -t cgroup2 | head -n 1) && umount --lazy \"$mount\" \
                  && mount -t cgroup2 none \"$mount\" && exec \"$@\"";
    let mut inside = Command::new("unshare");
    inside.args(["--cgroup", "--mount", "sh", "-c", script, "sh", BINARY]);
    inside.args(["trace", "--all", "--format", "json"]);
    let trace = Tool::attached_by(&mut inside)?;
    sandbox.within("inner", || round(&lab, &pair))?;
    let ended = trace.stop()?;
    let said = ended.stderr.join("\n");
    let (flows, _) = ended.complete_records()?;
    ensure!(said.contains("degraded: cgroup-namespace: "), "{said}");
    let inner = flows
        .iter()
        .filter(|flow| flow.cgroup.as_deref() == Some("/inner"));
    ensure!(inner.count() == PER_ROUND, "{flows:?}");
    // With the whole hierarchy there is nothing to say.
    let said = Tool::attached_by(Command::new(BINARY).arg("trace"))?
        .stop()?
        .stderr
        .join("\n");
    ensure!(!said.contains("cgroup-namespace"), "{said}");
    Ok(())
}
