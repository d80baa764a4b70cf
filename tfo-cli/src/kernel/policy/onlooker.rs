//! Tells a policy in force that an observer is there ([`InForce::observed`](tfo_common::policy::InForce::observed)): what SYNs carry
//! is looked at for observers alone.

use std::path::PathBuf;

use super::{Error, bpffs::Directory, forced::Forced, store::open_rules};

/// An observer, as policies know it.
#[derive(Clone, Debug)]
pub struct Onlooker {
    /// Where a policy would be pinned.
    directory: PathBuf,
}

impl Onlooker {
    /// Of the policy that is pinned here, whenever there is one.
    pub const fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Says so. To be repeated: policies come and go, and while somebody changes one it is left alone.
    pub fn arrive(&self) -> Result<(), Error> {
        self.say(1)
    }

    /// Takes it back. What an observer that was killed has left costs a look at each SYN until the next one leaves.
    pub fn leave(&self) -> Result<(), Error> {
        self.say(0)
    }

    fn say(&self, observed: u32) -> Result<(), Error> {
        // The most frequent case by far, for which no lock is needed.
        if Forced::open(&self.directory)?.read()?.observed == observed {
            return Ok(());
        }
        let locked = Directory::lock_now(&self.directory)?;
        // One of another format has its words elsewhere.
        open_rules(locked.path())?;
        Forced::open(locked.path())?.change(|force| force.observed = observed)
    }
}
