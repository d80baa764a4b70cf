//! The place that a policy has for a program of an observer ([`policy::AFTER`]): it takes back what the observer has left on
//! sockets, should that be killed while the policy goes on.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    path::PathBuf,
};

use aya::{
    maps::{MapData, ProgramArray},
    programs::{ProgramError, ProgramFd, SockOps},
};
use tfo_common::policy;

use super::{super::sys, Error, store::open_data};

/// The only element.
const PLACE: u32 = 0;

/// The program, while its observer lives.
#[derive(Debug)]
pub struct GiveBack {
    program: ProgramFd,
    id: u32,
    /// Where a policy would be pinned.
    directory: PathBuf,
}

impl GiveBack {
    /// Of a loaded program.
    pub fn new(program: &SockOps, directory: PathBuf) -> Result<Self, ProgramError> {
        Ok(Self {
            program: program.fd()?.try_clone()?,
            id: program.info()?.id(),
            directory,
        })
    }

    /// Leaves it with the policy in force. Where another copy's is, that stays, unless this one is `newest`: flags that both
    /// want are on a socket already when the newer one comes by, so those are the older one's as long as it lives.
    pub fn hand_over(&self, newest: bool) -> Result<(), Error> {
        let map = open_data(&self.directory, policy::AFTER)?;
        match held(map.fd().as_fd()) {
            Some(id) if id == self.id || !newest => return Ok(()),
            _ => {}
        }
        let failed = |error: aya::maps::MapError| Error::map("fill", policy::AFTER.into(), &error);
        let mut place =
            ProgramArray::<MapData>::try_from(aya::maps::Map::from_map_data(map).map_err(failed)?)
                .map_err(failed)?;
        place.set(PLACE, &self.program, 0).map_err(failed)
    }

    /// Takes it away again, where it is still there: nothing is left for it to do.
    pub fn withdraw(&self) {
        let Ok(map) = open_data(&self.directory, policy::AFTER) else {
            return;
        };
        let map = map.fd().as_fd();
        if held(map) == Some(self.id) {
            // Gone since then: then another one's has taken its place, or the policy has ended.
            let _ = sys::map_delete(map, &PLACE.to_ne_bytes());
        }
    }
}

/// Number of the program that is there.
fn held(map: BorrowedFd<'_>) -> Option<u32> {
    let mut id = [0; 4];
    let found = sys::map_lookup(map, &PLACE.to_ne_bytes(), &mut id);
    found.ok().map(|()| u32::from_ne_bytes(id))
}
