//! A policy in memory, for tests of commands. It keeps changes from one opening to the next, has the cgroups that the
//! test gives it, and fails where the test says so.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tfo_common::policy::{Hits, Stat};

use super::{
    Access, CgroupRef, CgroupSelector, Cgroups, Change, Enforcement, EnforcementError, ErrorKind, Installed,
    InstalledGuard, Interfaces, Loaded, Policies, Removed, StripReport, guard::Destination,
};
use crate::exit::{self, Failure};

/// The contents of the policy, and how it behaves.
#[derive(Clone, Debug, Default)]
pub struct Kept {
    /// Path by cgroup id.
    pub cgroups: BTreeMap<u64, String>,
    /// Id of a process, by cgroup id.
    pub processes: BTreeMap<u64, u32>,
    /// Rules in force.
    pub rules: Vec<Installed>,
    /// Guards in force.
    pub guards: Vec<InstalledGuard>,
    /// States of destinations.
    pub destinations: Vec<Destination>,
    /// Whether opening fails because another command holds the lock.
    pub is_busy: bool,
    /// Index of the change that fails, from 0.
    pub fails_at: Option<usize>,
    /// The interfaces that each call of `change` was given.
    pub interfaces: Vec<Interfaces>,
    /// Build of the programs in force; that of this binary is 0.
    pub build: u64,
}

/// A place for a policy in memory. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FakePolicies(Arc<Mutex<Kept>>);

impl FakePolicies {
    /// A host with these cgroups and no policy.
    pub fn with_cgroups<const N: usize>(cgroups: [(u64, &str); N]) -> Self {
        let fake = Self::default();
        fake.kept().cgroups = cgroups.map(|(id, path)| (id, path.to_owned())).into();
        fake
    }

    /// The contents, for a test to read or to change while no command runs.
    pub fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rules in force, as lists print them.
    pub fn rules(&self) -> Vec<String> {
        let kept = self.kept();
        kept.rules.iter().map(|rule| rule.spec.to_string()).collect()
    }
}

fn error(kind: ErrorKind, code: u8, message: &str) -> EnforcementError {
    EnforcementError {
        kind,
        failure: Failure::new(code, message),
    }
}

impl Policies for FakePolicies {
    fn open(&self, access: Access) -> Result<Box<dyn Enforcement>, EnforcementError> {
        let mut kept = self.kept();
        if kept.is_busy {
            return Err(error(ErrorKind::Busy, exit::FAILED, "lock: busy"));
        }
        let mut removed = Removed::default();
        if access != Access::Flush {
            let cgroups = kept.cgroups.clone();
            let is_gone = |cgroup: &CgroupRef| !cgroups.contains_key(&cgroup.id);
            let orphans = kept.rules.extract_if(.., |rule| is_gone(&rule.spec.cgroup));
            removed.orphans = orphans.collect();
            let orphans = kept.guards.extract_if(.., |guard| is_gone(&guard.spec.cgroup));
            removed.orphan_guards = orphans.collect();
        }
        Ok(Box::new(FakeEnforcement {
            cgroups: FakeCgroups {
                paths: kept.cgroups.clone(),
                processes: kept.processes.clone(),
            },
            place: self.clone(),
            removed,
        }))
    }

    fn directory(&self) -> &Path {
        Path::new("/fake")
    }
}

struct FakeCgroups {
    paths: BTreeMap<u64, String>,
    processes: BTreeMap<u64, u32>,
}

impl Cgroups for FakeCgroups {
    fn path(&self, id: u64) -> Option<String> {
        self.paths.get(&id).cloned()
    }

    fn process(&self, id: u64) -> Option<u32> {
        self.processes.get(&id).copied()
    }

    fn find(&self, selector: &CgroupSelector) -> Result<CgroupRef, EnforcementError> {
        let fits = |path: &str| match selector {
            CgroupSelector::Path(wanted) => Path::new(path) == wanted,
            CgroupSelector::Unit(name) => path.ends_with(&format!("/{name}.service")),
            CgroupSelector::Container(id) => path.contains(&**id),
        };
        let found = self.paths.iter().find(|(_, path)| fits(path));
        let (id, path) = found.ok_or_else(|| {
            let message = format!("{selector}: there is no such cgroup");
            error(ErrorKind::NoCgroup, exit::USAGE, &message)
        })?;
        Ok(CgroupRef {
            path: path.clone(),
            id: *id,
        })
    }
}

struct FakeEnforcement {
    place: FakePolicies,
    cgroups: FakeCgroups,
    removed: Removed,
}

impl Enforcement for FakeEnforcement {
    fn removed(&self) -> &Removed {
        &self.removed
    }

    fn cgroups(&self) -> &dyn Cgroups {
        &self.cgroups
    }

    fn is_there(&self) -> Result<bool, EnforcementError> {
        Ok(self.is_in_force())
    }

    fn is_in_force(&self) -> bool {
        let kept = self.place.kept();
        !kept.rules.is_empty() || !kept.guards.is_empty()
    }

    fn rules(&self) -> Result<Vec<Installed>, EnforcementError> {
        Ok(self.place.kept().rules.clone())
    }

    fn guards(&self) -> Result<Vec<InstalledGuard>, EnforcementError> {
        Ok(self.place.kept().guards.clone())
    }

    fn destinations(&self) -> Result<Vec<Destination>, EnforcementError> {
        Ok(self.place.kept().destinations.clone())
    }

    fn stats(&self) -> [u64; Stat::COUNT] {
        [0; Stat::COUNT]
    }

    fn loaded(&self) -> Result<Option<Loaded>, EnforcementError> {
        let build = self.place.kept().build;
        Ok(self.is_in_force().then_some(Loaded { build, this_build: 0 }))
    }

    fn reload(&mut self) -> Result<bool, EnforcementError> {
        let is_old = self.loaded()?.is_some_and(|loaded| !loaded.is_current());
        self.place.kept().build = 0;
        Ok(is_old)
    }

    fn change(
        &mut self,
        changes: &[Change],
        interfaces: &Interfaces,
        by: &str,
        done: &mut dyn FnMut(&Change),
    ) -> Result<StripReport, EnforcementError> {
        let mut kept = self.place.kept();
        kept.interfaces.push(interfaces.clone());
        for (number, change) in changes.iter().enumerate() {
            if kept.fails_at == Some(number) {
                return Err(error(ErrorKind::Other, exit::FAILED, "made to fail"));
            }
            match change {
                Change::Add(spec) => {
                    let id = 1 + kept.rules.iter().map(|rule| rule.id).max().unwrap_or(0);
                    kept.rules.push(Installed {
                        spec: spec.clone(),
                        id,
                        created_ns: 0,
                        expires_ns: 0,
                        by: by.to_owned(),
                        hits: Hits::default(),
                    });
                }
                Change::Replace(old, spec) => {
                    let there = kept.rules.iter_mut().filter(|rule| rule.id == old.id);
                    there.for_each(|rule| rule.spec = spec.clone());
                }
                Change::Remove(old) => kept.rules.retain(|rule| rule.id != old.id),
                Change::Guard(spec) => {
                    kept.guards.retain(|guard| guard.spec.cgroup != spec.cgroup);
                    kept.guards.push(InstalledGuard {
                        spec: spec.clone(),
                        created_ns: 0,
                        by: by.to_owned(),
                    });
                }
                Change::Unguard(old) => kept.guards.retain(|guard| guard.spec != old.spec),
            }
            done(change);
        }
        Ok(StripReport::default())
    }

    fn flush(&mut self) -> Result<(), EnforcementError> {
        let mut kept = self.place.kept();
        kept.rules.clear();
        kept.guards.clear();
        Ok(())
    }
}
