//! The seam between commands and whatever keeps a policy in force: the pinned maps of the kernel (`kernel::policy`), or
//! the memory of a test.

use std::path::Path;

use tfo_common::policy::Stat;

use super::{
    CgroupRef, Change, Installed, InstalledGuard, Interfaces, Scope, StripReport, guard::Destination,
};
use crate::exit::Failure;

/// What a command is going to do with a policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The policy is read; what killed commands left behind is repaired or removed first.
    Repair,
    /// The same, and it will be changed: its place is made where there is none, so that nobody else gets in between.
    Change,
    /// Everything is removed, also what this version cannot read.
    Flush,
}

/// What opening a policy removed, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// A half-made set that a killed command had left.
    pub half_made: bool,
    /// Rules whose time was over.
    pub expired: Vec<Installed>,
    /// Rules whose cgroup is gone.
    pub orphans: Vec<Installed>,
    /// Guards whose cgroup is gone.
    pub orphan_guards: Vec<InstalledGuard>,
    /// What changed on interfaces by itself.
    pub interfaces: StripReport,
}

/// Whose programs decide. All builds that can read each other's maps are told apart by their programs alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Of the programs in force ([`tfo_common::policy::build_of`]).
    pub build: u64,
    /// Of those inside this binary.
    pub this_build: u64,
}

impl Loaded {
    /// Whether the programs in force are those of this binary.
    pub fn is_current(self) -> bool {
        self.build == self.this_build
    }
}

/// Why a policy cannot be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .failure.message)]
pub struct EnforcementError {
    /// What a command can do about it.
    pub kind: ErrorKind,
    /// What the user is told.
    pub failure: Failure,
}

/// Errors that some commands do not end with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another command holds the lock.
    Busy,
    /// There is no such cgroup, now: a service may start.
    NoCgroup,
    /// Everything else.
    Other,
}

impl From<EnforcementError> for Failure {
    fn from(error: EnforcementError) -> Self {
        error.failure
    }
}

/// The place of a policy, in force or not.
pub trait Policies {
    /// Locks the policy, opens what is there and tidies it.
    fn open(&self, access: Access) -> Result<Box<dyn Enforcement>, EnforcementError>;
    /// The directory it is pinned in.
    fn directory(&self) -> &Path;
}

/// The cgroups of a host, as they were when they were read.
pub trait Cgroups {
    /// Path of a cgroup below the cgroup2 mount; `None` when it is gone.
    fn path(&self, id: u64) -> Option<String>;
    /// A process of a cgroup, or of one below it: to find the network namespace of a service.
    fn process(&self, id: u64) -> Option<u32>;
    /// The cgroup a scope means.
    fn find(&self, scope: &Scope) -> Result<CgroupRef, EnforcementError>;
}

/// A policy that is open: nobody else changes it meanwhile.
pub trait Enforcement {
    /// What opening it removed.
    fn removed(&self) -> &Removed;
    /// The cgroups of this host.
    fn cgroups(&self) -> &dyn Cgroups;
    /// Whether there is anything at all, be it of another version.
    fn is_there(&self) -> Result<bool, EnforcementError>;
    /// Whether anything is in force.
    fn is_in_force(&self) -> bool;
    /// Rules in force, by number.
    fn rules(&self) -> Result<Vec<Installed>, EnforcementError>;
    /// Guards in force, by path.
    fn guards(&self) -> Result<Vec<InstalledGuard>, EnforcementError>;
    /// What guards know of destinations.
    fn destinations(&self) -> Result<Vec<Destination>, EnforcementError>;
    /// Counters by [`Stat`], all zero when nothing is in force.
    fn stats(&self) -> [u64; Stat::COUNT];
    /// Whose programs decide; `None` where nothing is in force.
    fn loaded(&self) -> Result<Option<Loaded>, EnforcementError>;
    /// Puts this build's programs in the place of those in force, without a gap. `false` where nothing had to be done.
    fn reload(&mut self) -> Result<bool, EnforcementError>;
    /// Makes changes, in order. When one fails the rest is not made; those before it stay, and `done` has been told of
    /// each. `by` is who asked.
    fn change(
        &mut self,
        changes: &[Change],
        interfaces: &Interfaces,
        by: &str,
        done: &mut dyn FnMut(&Change),
    ) -> Result<StripReport, EnforcementError>;
    /// Removes everything. Whatever this stops at, the next command goes on.
    fn flush(&mut self) -> Result<(), EnforcementError>;
}
