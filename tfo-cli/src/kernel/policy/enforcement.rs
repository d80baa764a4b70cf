//! The traits of `policy::enforcement` for the policy that is pinned in the kernel.

use std::path::{Path, PathBuf};

use tfo_common::policy::Stat;

use super::{Cgroups, Error, Store};
use crate::{
    exit::Failure,
    policy::{
        self, Access, CgroupRef, CgroupSelector, Change, Enforcement, EnforcementError, ErrorKind, Installed,
        InstalledGuard, Interfaces, Loaded, Policies, Removed, StripReport, guard::Destination,
    },
};

/// The place of the pinned policy: a directory of a bpffs.
#[derive(Clone, Debug)]
pub struct Pinned(PathBuf);

impl Pinned {
    /// The policy that is or will be pinned in this directory. Nothing is opened yet.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }
}

impl Policies for Pinned {
    fn open(&self, access: Access) -> Result<Box<dyn Enforcement>, EnforcementError> {
        Ok(Box::new(Store::open(&self.0, access)?))
    }

    fn directory(&self) -> &Path {
        &self.0
    }
}

impl From<Error> for EnforcementError {
    fn from(error: Error) -> Self {
        let kind = match error {
            Error::Busy { .. } => ErrorKind::Busy,
            Error::NoCgroup { .. } => ErrorKind::NoCgroup,
            _ => ErrorKind::Other,
        };
        let failure = Failure::new(error.exit_code(), &error);
        let failure = match error.hint() {
            Some(hint) => failure.hint(hint),
            None => failure,
        };
        Self { kind, failure }
    }
}

impl policy::Cgroups for Cgroups {
    fn path(&self, id: u64) -> Option<String> {
        Cgroups::path(self, id)
    }

    fn process(&self, id: u64) -> Option<u32> {
        Cgroups::process(self, id)
    }

    fn find(&self, selector: &CgroupSelector) -> Result<CgroupRef, EnforcementError> {
        Ok(Cgroups::find(self, selector)?)
    }
}

impl Enforcement for Store {
    fn removed(&self) -> &Removed {
        Store::removed(self)
    }

    fn cgroups(&self) -> &dyn policy::Cgroups {
        Store::cgroups(self)
    }

    fn is_there(&self) -> Result<bool, EnforcementError> {
        Ok(Store::is_there(self)?)
    }

    fn is_in_force(&self) -> bool {
        Store::is_in_force(self)
    }

    fn rules(&self) -> Result<Vec<Installed>, EnforcementError> {
        Ok(Store::rules(self)?)
    }

    fn guards(&self) -> Result<Vec<InstalledGuard>, EnforcementError> {
        Ok(Store::guards(self)?)
    }

    fn destinations(&self) -> Result<Vec<Destination>, EnforcementError> {
        Ok(Store::destinations(self)?)
    }

    fn stats(&self) -> [u64; Stat::COUNT] {
        Store::stats(self)
    }

    fn loaded(&self) -> Result<Option<Loaded>, EnforcementError> {
        Ok(Store::loaded(self)?)
    }

    fn reload(&mut self) -> Result<bool, EnforcementError> {
        Ok(Store::reload(self)?)
    }

    fn change(
        &mut self,
        changes: &[Change],
        interfaces: &Interfaces,
        by: &str,
        done: &mut dyn FnMut(&Change),
    ) -> Result<StripReport, EnforcementError> {
        Ok(Store::change(self, changes, interfaces, by, done)?)
    }

    fn flush(&mut self) -> Result<(), EnforcementError> {
        Ok(Store::flush(self)?)
    }
}
