//! The one value that the programs go by ([`InForce`]). Who changes it holds the lock of the pins.

use std::path::Path;

use aya::maps::{Array, MapData};
use tfo_common::policy::{self, InForce};

use super::{Error, store::open_map};

/// What it is called in messages.
const WHAT: &str = "what is in force";

/// Its map.
pub struct Forced(Array<MapData, [u32; InForce::WORDS]>);

impl Forced {
    /// Opens it.
    pub fn open(directory: &Path) -> Result<Self, Error> {
        open_map(directory, policy::IN_FORCE).map(Self)
    }

    /// What it says now.
    pub fn read(&self) -> Result<InForce, Error> {
        let words = self.0.get(&0, 0);
        words
            .map(InForce::of_words)
            .map_err(|error| Error::map("read", WHAT.into(), &error))
    }

    /// Changes it. Nobody else does while the directory is locked.
    pub fn change(&mut self, change: impl FnOnce(&mut InForce)) -> Result<(), Error> {
        let mut force = self.read()?;
        change(&mut force);
        self.0
            .set(0, force.words(), 0)
            .map_err(|error| Error::map("set", WHAT.into(), &error))
    }
}
