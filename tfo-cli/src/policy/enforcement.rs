//! The traits through which commands read and change a policy. Behind them are the pinned maps of the kernel
//! (`kernel::policy`) or, in tests, a policy in memory (`policy::fake`).

use std::path::Path;

use tfo_common::policy::Stat;

use super::{
    CgroupRef, CgroupSelector, Change, Installed, InstalledGuard, Interfaces, StripReport, guard::Destination,
};
use crate::exit::Failure;

/// What a command opens a policy for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To read or change it. What killed commands left behind is repaired or removed first.
    Repair,
    /// To change it. In addition, the pin directory is created where there is none, so that it can be locked.
    Change,
    /// To remove all of it, also what this version cannot read.
    Flush,
}

/// What opening a policy removed, for the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Whether a killed command had left a policy that was not complete.
    pub half_made: bool,
    /// Rules that had expired.
    pub expired: Vec<Installed>,
    /// Rules whose cgroup is gone.
    pub orphans: Vec<Installed>,
    /// Guards whose cgroup is gone.
    pub orphan_guards: Vec<InstalledGuard>,
    /// What changed on interfaces without a command: some went away, others came up.
    pub interfaces: StripReport,
}

/// The build of the programs in force, and of those inside this binary. Builds with the same format of maps differ only
/// in their programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// Build of the programs in force ([`tfo_common::policy::build_of`]).
    pub build: u64,
    /// Build of the programs inside this binary.
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
    /// The kind of error, for commands that go on after some.
    pub kind: ErrorKind,
    /// The message to the user, with exit code and hint.
    pub failure: Failure,
}

/// Kinds of errors that commands tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Another command holds the lock.
    Busy,
    /// There is no such cgroup at present; a service that starts later may have one.
    NoCgroup,
    /// Everything else.
    Other,
}

impl From<EnforcementError> for Failure {
    fn from(error: EnforcementError) -> Self {
        error.failure
    }
}

/// The place where a policy is kept, whether one is in force or not.
pub trait Policies {
    /// Locks the policy, opens it and removes what is expired or orphaned.
    fn open(&self, access: Access) -> Result<Box<dyn Enforcement>, EnforcementError>;
    /// The directory that the policy is pinned in.
    fn directory(&self) -> &Path;
}

/// The cgroups of a host, as of the instant they were read.
pub trait Cgroups {
    /// Path of a cgroup below the cgroup2 mount; `None` when it is gone.
    fn path(&self, id: u64) -> Option<String>;
    /// The id of a process in a cgroup or in one below it, through which the network namespace of a service is found;
    /// `None` when there is no process.
    fn process(&self, id: u64) -> Option<u32>;
    /// The cgroup that a selector names.
    fn find(&self, selector: &CgroupSelector) -> Result<CgroupRef, EnforcementError>;
}

/// A policy that is open and locked: no other command changes it meanwhile.
pub trait Enforcement {
    /// What was removed when it was opened.
    fn removed(&self) -> &Removed;
    /// The cgroups of this host.
    fn cgroups(&self) -> &dyn Cgroups;
    /// Whether anything is pinned, also by another version.
    fn is_there(&self) -> Result<bool, EnforcementError>;
    /// Whether a policy is in force.
    fn is_in_force(&self) -> bool;
    /// The rules in force, sorted by number.
    fn rules(&self) -> Result<Vec<Installed>, EnforcementError>;
    /// The guards in force, sorted by path.
    fn guards(&self) -> Result<Vec<InstalledGuard>, EnforcementError>;
    /// The states that guards keep of destinations.
    fn destinations(&self) -> Result<Vec<Destination>, EnforcementError>;
    /// Counters by [`Stat`]; all are 0 when nothing is in force.
    fn stats(&self) -> [u64; Stat::COUNT];
    /// The build of the programs in force; `None` when no policy is.
    fn loaded(&self) -> Result<Option<Loaded>, EnforcementError>;
    /// Replaces the programs in force by those of this binary, without a gap; false when they are the same already.
    fn reload(&mut self) -> Result<bool, EnforcementError>;
    /// Makes changes in order, for the user `by`, and calls `done` after each. When one fails, those before it stay and
    /// those after it are not made. `interfaces` says where the option is stripped, if a change needs that.
    fn change(
        &mut self,
        changes: &[Change],
        interfaces: &Interfaces,
        by: &str,
        done: &mut dyn FnMut(&Change),
    ) -> Result<StripReport, EnforcementError>;
    /// Removes the whole policy. Where this stops at an error, the next command goes on.
    fn flush(&mut self) -> Result<(), EnforcementError>;
}
