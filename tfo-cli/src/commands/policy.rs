//! `tfo-cli policy`: looks cgroups up, plans, changes, and says what was changed.

mod file;
mod keep;
pub mod log;
mod watch;

use std::path::Path;

use crate::{
    args::{AddConfig, FileConfig, ListFormat, PolicyConfig, PolicyWhat},
    exit::{self, Failure},
    kernel::{
        self,
        policy::{Access, Error, Store},
    },
    output::{self, policy_json, policy_text},
    policy::{Change, Interfaces, Plan, RuleSpec},
};

/// Runs the command.
pub fn run(config: &PolicyConfig) -> Result<u8, Failure> {
    match &config.what {
        PolicyWhat::Add(add) => add_rule(&config.bpffs, add),
        PolicyWhat::List(format) => list(&config.bpffs, *format),
        PolicyWhat::Remove(ids) => remove(&config.bpffs, ids),
        PolicyWhat::Flush => flush(&config.bpffs),
        PolicyWhat::Plan(file) => plan(&config.bpffs, file),
        PolicyWhat::Apply(file, interfaces) => apply(&config.bpffs, file, interfaces),
        PolicyWhat::Watch(watch) => watch::run(&config.bpffs, watch),
    }
}

/// Opens the policy and says what that removed.
pub fn open(bpffs: &Path, access: Access) -> Result<Store, Failure> {
    let store = Store::open(bpffs, access).map_err(|error| failure(&error))?;
    log::removed(store.removed())?;
    Ok(store)
}

/// An error of the kernel side as the user sees it.
pub fn failure(error: &Error) -> Failure {
    let failure = Failure::new(error.exit_code(), error);
    match error.hint() {
        Some(hint) => failure.hint(hint),
        None => failure,
    }
}

/// Makes changes somebody asked for and says which were made.
pub fn change(store: &mut Store, changes: &[Change], interfaces: &Interfaces) -> Result<(), Failure> {
    change_for(None, store, changes, interfaces)
}

/// The same, where a file may have asked.
fn change_for(
    file: Option<&Path>,
    store: &mut Store,
    changes: &[Change],
    interfaces: &Interfaces,
) -> Result<(), Failure> {
    let mut made = Vec::new();
    let result = store.change(changes, interfaces, &log::who(), |change| {
        made.push(change.clone());
    });
    // After a failure to attach nothing is in force, whatever was written.
    if store.is_in_force() || result.is_ok() {
        log::changed(&made, file)?;
    }
    let report = result.map_err(|error| failure(&error))?;
    log::interfaces(&report)?;
    Ok(())
}

fn add_rule(bpffs: &Path, add: &AddConfig) -> Result<u8, Failure> {
    let mut store = open(bpffs, Access::Look)?;
    let cgroup = store
        .cgroups()
        .find(&add.scope)
        .map_err(|error| failure(&error))?;
    let spec = RuleSpec {
        cgroup: cgroup.clone(),
        dst: add.dst,
        ports: add.ports.clone(),
        action: add.action,
        ttl: add.ttl,
        note: add.note.clone(),
    };
    let installed = store.rules().map_err(|error| failure(&error))?;
    let plan = Plan::add(spec, &installed).map_err(|old| {
        let why = format!("rule {} is there already: {}", old.id, old.spec);
        Failure::usage("--dst", add.dst, why)
            .hint("remove it first, or give one rule all the ports it is for")
    })?;
    change(&mut store, &plan.changes, &add.interfaces)?;
    log::notes(&plan.notes)?;
    if add.action.strips_option() && add.interfaces.netns.is_none() {
        log::elsewhere(store.cgroups(), &cgroup)?;
    }
    Ok(exit::DONE)
}

fn list(bpffs: &Path, format: ListFormat) -> Result<u8, Failure> {
    let store = open(bpffs, Access::Look)?;
    let rules = store.rules().map_err(|error| failure(&error))?;
    let stats = store.stats();
    let places = &store.removed().interfaces.places;
    let now = kernel::now();
    output::print(&match format {
        ListFormat::Text => policy_text::rules(&rules, places, &stats, now),
        ListFormat::Json => policy_json::rules(&rules, places, &stats, now)?,
    })?;
    Ok(exit::DONE)
}

fn remove(bpffs: &Path, ids: &[u32]) -> Result<u8, Failure> {
    let mut store = open(bpffs, Access::Look)?;
    let installed = store.rules().map_err(|error| failure(&error))?;
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
    change(&mut store, &changes, &Interfaces::default())?;
    Ok(exit::DONE)
}

fn flush(bpffs: &Path) -> Result<u8, Failure> {
    let mut store = open(bpffs, Access::Flush)?;
    let is_there = store.is_there().map_err(|error| failure(&error))?;
    if !is_there && !store.removed().half_made {
        return log::nothing(bpffs).map(|()| exit::DONE);
    }
    // Of another version's policy nothing can be told but that it is gone.
    let rules = store.rules().unwrap_or_default();
    let guards = store.guards().unwrap_or_default();
    store.flush().map_err(|error| failure(&error))?;
    let removed = rules.into_iter().map(Change::Remove);
    let removed: Vec<Change> = removed.chain(guards.into_iter().map(Change::Unguard)).collect();
    log::changed(&removed, None)?;
    log::flushed(bpffs)?;
    Ok(exit::DONE)
}

fn plan(bpffs: &Path, file: &FileConfig) -> Result<u8, Failure> {
    let (_, plan) = file::plan(bpffs, file)?;
    show(&plan, file.format)?;
    Ok(exit::DONE)
}

fn apply(bpffs: &Path, file: &FileConfig, interfaces: &Interfaces) -> Result<u8, Failure> {
    let (mut store, plan) = file::plan(bpffs, file)?;
    change_for(Some(&file.path), &mut store, &plan.changes, interfaces)?;
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
