//! The maps user space reads, taken out of the loaded object.

use std::sync::atomic::Ordering;

use aya::{
    Ebpf,
    maps::{Map, MapData, PerCpuArray, PerCpuHashMap, ProgramArray},
};
use tfo_common::{CrossCheck, flags::Control, limits, maps};

use super::{
    Error, blocks::Blocks, direct::Arrays, duplicates::Duplicates, first_bytes::FirstBytes, mapped::Mapped,
    records::Records,
};

/// Handles of the maps.
pub struct Maps {
    /// Records of flows.
    pub records: Records,
    /// What is remembered of them to find those of a SYN that came twice.
    pub duplicates: Duplicates,
    /// Totals of handshakes that have no record in a block.
    pub totals: PerCpuArray<MapData, u64>,
    /// Losses and bookkeeping.
    pub losses: PerCpuArray<MapData, u64>,
    /// Cross-check counters by namespace.
    pub netns: PerCpuHashMap<MapData, u32, [u64; CrossCheck::COUNT]>,
    /// Destination table.
    pub dests: MapData,
    /// SYN facts in flight.
    pub requests: MapData,
    /// Connections that ended late, by destination.
    pub lived: MapData,
    /// What became of SYNs, by listener.
    pub arrivals: MapData,
    /// How many of them there are of each kind, mapped into memory.
    pub waiting: Mapped,
    /// Times to first byte, mapped into memory.
    pub first_bytes: FirstBytes,
    /// Switches.
    pub control: Switches,
    /// The parts of the `sock_ops` program: emptied by the kernel when its last descriptor is closed.
    pub parts: ProgramArray<MapData>,
}

impl Maps {
    /// Takes them out of the object; their programs keep them alive as well.
    pub fn take(ebpf: &mut Ebpf, arrays: &Arrays) -> Result<Self, Error> {
        Ok(Self {
            records: Records::new(
                typed(ebpf, maps::EVENTS)?,
                typed(ebpf, maps::EVENTS_ODD)?,
                mapped(ebpf, maps::RECORDS, Blocks::map)?,
            ),
            duplicates: Duplicates::default(),
            totals: typed(ebpf, maps::TOTALS)?,
            losses: typed(ebpf, maps::LOSSES)?,
            netns: typed(ebpf, maps::NETNS)?,
            dests: lru(ebpf, maps::DESTS)?,
            requests: lru(ebpf, maps::REQUESTS)?,
            lived: hash(ebpf, maps::LIVED)?,
            arrivals: lru(ebpf, maps::ARRIVALS)?,
            waiting: direct(arrays, maps::WAITING_NUMBER, |data| {
                Mapped::new(data, limits::REQUEST_KINDS * size_of::<u32>())
            })?,
            first_bytes: direct(arrays, maps::FIRST_BYTES_NUMBER, FirstBytes::map)?,
            control: direct(arrays, maps::CONTROL_NUMBER, |data| {
                Mapped::new(data, Control::ROOM as usize * size_of::<u32>()).map(Switches)
            })?,
            parts: typed(ebpf, maps::PARTS)?,
        })
    }
}

/// What the programs look at while they run ([`Control`]), mapped into memory: each number is written by itself.
pub struct Switches(Mapped);

impl Switches {
    /// What a switch says.
    pub fn get(&self, which: Control) -> u32 {
        let switch = self.0.half_word(which as usize);
        switch.map_or(0, |switch| switch.load(Ordering::Relaxed))
    }

    /// Sets a switch.
    pub fn set(&self, which: Control, value: u32) {
        if let Some(switch) = self.0.half_word(which as usize) {
            switch.store(value, Ordering::Relaxed);
        }
    }
}

fn take(ebpf: &mut Ebpf, name: &str) -> Result<Map, Error> {
    ebpf.take_map(name).ok_or_else(|| Error::Load {
        why: format!("the object has no map {name}"),
    })
}

fn typed<T: TryFrom<Map, Error = aya::maps::MapError>>(ebpf: &mut Ebpf, name: &str) -> Result<T, Error> {
    T::try_from(take(ebpf, name)?).map_err(|error| Error::Load {
        why: format!("map {name}: {error}"),
    })
}

/// Maps that are read with raw batch look-ups.
fn lru(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Error> {
    match take(ebpf, name)? {
        Map::LruHashMap(data) => Ok(data),
        _ => Err(Error::Load {
            why: format!("map {name} is not an LRU hash"),
        }),
    }
}

/// The same for one that drops nothing.
fn hash(ebpf: &mut Ebpf, name: &str) -> Result<MapData, Error> {
    match take(ebpf, name)? {
        Map::HashMap(data) => Ok(data),
        _ => Err(Error::Load {
            why: format!("map {name} is not a hash"),
        }),
    }
}

/// An array that programs have the address of, mapped into memory.
fn direct<T>(
    arrays: &Arrays,
    number: u32,
    map: impl FnOnce(MapData) -> std::io::Result<T>,
) -> Result<T, Error> {
    let name = maps::DIRECT.get(number as usize).map_or("", |array| array.name);
    in_memory(name, arrays.open(number).and_then(map))
}

/// An array that is mapped into memory.
fn mapped<T>(
    ebpf: &mut Ebpf,
    name: &'static str,
    map: impl FnOnce(MapData) -> std::io::Result<T>,
) -> Result<T, Error> {
    let Map::Array(data) = take(ebpf, name)? else {
        return Err(Error::Load {
            why: format!("map {name} is not an array"),
        });
    };
    in_memory(name, map(data))
}

/// Names the array that could not be mapped.
fn in_memory<T>(name: &str, mapped: std::io::Result<T>) -> Result<T, Error> {
    mapped.map_err(|source| Error::Io {
        operation: "map into memory",
        object: name.into(),
        source,
    })
}
