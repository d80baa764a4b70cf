//! `tfo-cli policy`: looks cgroups up, plans, changes, and says what was changed.

mod file;
mod keep;
pub mod log;
mod watch;

use std::path::Path;

use crate::{
    args::{FileConfig, ListFormat, PolicyConfig, PolicyWhat},
    exit::{self, Failure},
    kernel::{self, policy::Pinned},
    output::{self, policy_json, policy_text},
    policy::{Access, CgroupSelector, Change, Enforcement, Interfaces, Plan, Policies, RuleSpec},
};

/// Runs the command.
pub fn run(config: &PolicyConfig) -> Result<u8, Failure> {
    run_on(&Pinned::new(&*config.bpffs), &config.what)
}

fn run_on(policies: &dyn Policies, what: &PolicyWhat) -> Result<u8, Failure> {
    match what {
        PolicyWhat::Add(rule, interfaces) => add_rule(policies, rule, interfaces),
        PolicyWhat::List(format) => list(policies, *format),
        PolicyWhat::Remove(ids) => remove(policies, ids),
        PolicyWhat::Flush => flush(policies),
        PolicyWhat::Reload => reload(policies),
        PolicyWhat::Plan(file) => plan(policies, file),
        PolicyWhat::Apply(file, interfaces) => apply(policies, file, interfaces),
        PolicyWhat::Watch(watch) => watch::run(policies, watch),
    }
}

/// Opens the policy and says what that removed.
pub fn open(policies: &dyn Policies, access: Access) -> Result<Box<dyn Enforcement>, Failure> {
    let store = policies.open(access)?;
    log::removed(store.removed())?;
    if access != Access::Flush
        && let Some(loaded) = store.loaded()?
    {
        log::build(loaded)?;
    }
    Ok(store)
}

/// Makes changes somebody asked for and says which were made.
pub fn change(
    store: &mut dyn Enforcement,
    changes: &[Change],
    interfaces: &Interfaces,
) -> Result<(), Failure> {
    change_for(None, store, changes, interfaces)
}

/// The same, where a file may have asked.
fn change_for(
    file: Option<&Path>,
    store: &mut dyn Enforcement,
    changes: &[Change],
    interfaces: &Interfaces,
) -> Result<(), Failure> {
    let mut made = Vec::new();
    let result = store.change(changes, interfaces, &log::who(), &mut |change| {
        made.push(change.clone());
    });
    // After a failure to attach nothing is in force, whatever was written.
    if store.is_in_force() || result.is_ok() {
        log::changed(&made, file)?;
    }
    let report = result?;
    log::interfaces(&report)?;
    Ok(())
}

fn add_rule(
    policies: &dyn Policies,
    rule: &RuleSpec<CgroupSelector>,
    interfaces: &Interfaces,
) -> Result<u8, Failure> {
    let mut store = open(policies, Access::Change)?;
    let cgroup = store.cgroups().find(&rule.cgroup)?;
    let spec = rule.with_cgroup(cgroup.clone());
    let installed = store.rules()?;
    let plan = Plan::add(spec, &installed).map_err(|old| {
        let why = format!("rule {} is there already: {}", old.id, old.spec);
        Failure::usage("--dst", rule.dst, why)
            .hint("remove it first, or give one rule all the ports it is for")
    })?;
    change(&mut *store, &plan.changes, interfaces)?;
    log::notes(&plan.notes)?;
    if rule.action.strips_option() && interfaces.netns.is_none() {
        log::elsewhere(store.cgroups(), &cgroup)?;
    }
    Ok(exit::DONE)
}

fn list(policies: &dyn Policies, format: ListFormat) -> Result<u8, Failure> {
    let store = open(policies, Access::Repair)?;
    let rules = store.rules()?;
    let stats = store.stats();
    let places = &store.removed().interfaces.places;
    let now = kernel::now();
    output::print(&match format {
        ListFormat::Text => policy_text::rules(&rules, places, &stats, now),
        ListFormat::Json => policy_json::rules(&rules, places, &stats, store.loaded()?, now)?,
    })?;
    Ok(exit::DONE)
}

fn remove(policies: &dyn Policies, ids: &[u32]) -> Result<u8, Failure> {
    let mut store = open(policies, Access::Repair)?;
    let installed = store.rules()?;
    let mut changes = Vec::new();
    for id in ids {
        let Some(rule) = installed.iter().find(|rule| rule.id == *id) else {
            return Err(Failure::new(exit::FAILED, format!("rule {id}: there is none"))
                .hint("see `tfo-cli policy list`"));
        };
        let change = Change::Remove(rule.clone());
        if !changes.contains(&change) {
            changes.push(change);
        }
    }
    change(&mut *store, &changes, &Interfaces::default())?;
    Ok(exit::DONE)
}

fn flush(policies: &dyn Policies) -> Result<u8, Failure> {
    let mut store = open(policies, Access::Flush)?;
    let is_there = store.is_there()?;
    if !is_there && !store.removed().half_made {
        return log::nothing(policies.directory()).map(|()| exit::DONE);
    }
    // Of another version's policy nothing can be told but that it is gone.
    let rules = store.rules().unwrap_or_default();
    let guards = store.guards().unwrap_or_default();
    store.flush()?;
    let removed = rules.into_iter().map(Change::Remove);
    let removed: Vec<Change> = removed.chain(guards.into_iter().map(Change::Unguard)).collect();
    log::changed(&removed, None)?;
    log::flushed(policies.directory())?;
    Ok(exit::DONE)
}

fn reload(policies: &dyn Policies) -> Result<u8, Failure> {
    let mut store = policies.open(Access::Repair)?;
    log::removed(store.removed())?;
    let before = store.loaded()?;
    store.reload()?;
    match before {
        Some(loaded) => log::reloaded(loaded)?,
        None => log::nothing(policies.directory())?,
    }
    Ok(exit::DONE)
}

fn plan(policies: &dyn Policies, file: &FileConfig) -> Result<u8, Failure> {
    let (_, plan) = file::plan(policies, file, Access::Repair)?;
    show(&plan, file.format)?;
    Ok(exit::DONE)
}

fn apply(policies: &dyn Policies, file: &FileConfig, interfaces: &Interfaces) -> Result<u8, Failure> {
    let (mut store, plan) = file::plan(policies, file, Access::Change)?;
    change_for(Some(&file.path), &mut *store, &plan.changes, interfaces)?;
    log::applied(&file.path, &plan)?;
    log::notes(&plan.notes)?;
    if file.format == ListFormat::Json {
        show(&plan, file.format)?;
    }
    Ok(exit::DONE)
}

fn show(plan: &Plan, format: ListFormat) -> Result<(), Failure> {
    output::print(&match format {
        ListFormat::Text => policy_text::plan(plan),
        ListFormat::Json => policy_json::plan(plan)?,
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
