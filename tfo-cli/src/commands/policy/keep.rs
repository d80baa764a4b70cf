//! `policy watch --keep FILE`: adds the rules and guards that the file lists for cgroups that have appeared. A service that
//! restarts gets a new cgroup, and the rules of the old one go with that. Nothing is changed or removed.

use std::{collections::HashSet, fs, path::PathBuf, time::SystemTime};

use super::{change, file, log};
use crate::{
    exit::Failure,
    policy::{Change, Enforcement, Interfaces, file::File},
};

/// A file whose rules and guards are added for new cgroups.
pub struct Keeper {
    path: PathBuf,
    interfaces: Interfaces,
    file: File,
    /// Size and time of the last change of the file when it was read.
    stamp: Option<(u64, SystemTime)>,
    /// Ids of the cgroups that have had their rules added: a rule of theirs that expires or is removed is not added again.
    served: HashSet<u64>,
    /// The error of the last round, so that it is logged once.
    failed: Option<String>,
}

impl Keeper {
    /// Reads the file. `interfaces` are those on which the option is stripped.
    pub fn new(path: PathBuf, interfaces: Interfaces) -> Result<Self, Failure> {
        Ok(Self {
            file: file::read(&path)?,
            stamp: stamp(&path),
            path,
            interfaces,
            served: HashSet::new(),
            failed: None,
        })
    }

    /// Adds the rules and guards of new cgroups. An error is logged, and the next round tries again.
    pub fn add_new(&mut self, store: &mut dyn Enforcement) -> Result<(), Failure> {
        self.read_again()?;
        let failed = self.add_missing(store).err();
        let is_news = failed.as_ref().map(|error| &error.message) != self.failed.as_ref();
        if let Some(error) = failed.as_ref().filter(|_| is_news) {
            log::failed(error)?;
        }
        self.failed = failed.map(|error| error.message);
        Ok(())
    }

    fn add_missing(&mut self, store: &mut dyn Enforcement) -> Result<(), Failure> {
        let wanted = file::resolve(&self.path, &self.file, store.cgroups())?.policy;
        let is_new = |id: u64| !self.served.contains(&id);
        let cgroups = wanted.rules.iter().map(|spec| spec.cgroup.id);
        let cgroups: HashSet<u64> = cgroups
            .chain(wanted.guards.iter().map(|spec| spec.cgroup.id))
            .collect();
        if !cgroups.iter().copied().any(is_new) {
            self.served = cgroups;
            return Ok(());
        }
        let rules = store.rules()?;
        let there: HashSet<_> = rules.iter().map(|old| old.spec.key()).collect();
        let guards = store.guards()?;
        let mut changes = Vec::new();
        for spec in &wanted.rules {
            if is_new(spec.cgroup.id) && !there.contains(&spec.key()) {
                changes.push(Change::Add(spec.clone()));
            }
        }
        for spec in &wanted.guards {
            let is_there = || guards.iter().any(|old| old.spec.cgroup.id == spec.cgroup.id);
            if is_new(spec.cgroup.id) && !is_there() {
                changes.push(Change::Guard(spec.clone()));
            }
        }
        change(store, &changes, &self.interfaces)?;
        self.served = cgroups;
        Ok(())
    }

    /// Reads the file again when it has changed. When it cannot be read, that is logged once, and the old contents stay.
    fn read_again(&mut self) -> Result<(), Failure> {
        let stamp = stamp(&self.path);
        if stamp == self.stamp {
            return Ok(());
        }
        self.stamp = stamp;
        match file::read(&self.path) {
            Ok(file) => self.file = file,
            Err(error) => log::failed(&error)?,
        }
        Ok(())
    }
}

fn stamp(path: &std::path::Path) -> Option<(u64, SystemTime)> {
    let found = fs::metadata(path).ok()?;
    Some((found.len(), found.modified().ok()?))
}
