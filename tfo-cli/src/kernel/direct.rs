//! Arrays that programs reach by their address ([`tfo_common::direct`]): made before the object is loaded, in which their descriptors
//! are written.

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
};

use aya::maps::MapData;
use tfo_common::direct::{Direct, Made};

use super::{Error, sys};

/// Arrays of an object, with how many entries each of them has. They have to stay open until its programs are loaded.
pub struct Arrays(pub Vec<(OwnedFd, u32)>);

impl Arrays {
    /// Makes them.
    pub fn make(arrays: &[Direct]) -> Result<Self, Error> {
        let made = arrays.iter().map(|array| {
            make(array).map_err(|source| Error::Io {
                operation: "make",
                object: format!("the map {}", array.name),
                source,
            })
        });
        made.collect::<Result<_, _>>().map(Self)
    }

    /// What is written in the object.
    pub fn made(&self) -> Vec<Made> {
        let made = |(array, entries): &(OwnedFd, u32)| Made {
            descriptor: array.as_raw_fd(),
            entries: *entries,
        };
        self.0.iter().map(made).collect()
    }

    /// The array with this number, once more.
    pub fn open(&self, number: u32) -> io::Result<MapData> {
        let (array, _) = self
            .0
            .get(number as usize)
            .ok_or_else(|| io::Error::other("there is no array with this number"))?;
        MapData::from_fd(array.try_clone()?).map_err(io::Error::other)
    }
}

/// Makes an array of as many entries as the kernel takes; how many those are.
pub fn make(array: &Direct) -> io::Result<(OwnedFd, u32)> {
    let mut entries = array.entries;
    loop {
        match sys::array_create(array.name, array.entry * entries as usize, array.is_mapped) {
            Err(error) if error.raw_os_error() == Some(libc::E2BIG) && entries > 1 => entries /= 2,
            made => return made.map(|made| (made, entries)),
        }
    }
}
