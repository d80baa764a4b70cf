//! Guards and what they know, in the kernel's maps.

use std::{os::fd::AsFd as _, time::Duration};

use aya::maps::{HashMap, MapData};
use tfo_common::{
    guard::{GuardConfig, GuardKey, GuardState, Phase, kind},
    policy::MAX_STATES,
};

use super::{
    super::sys,
    Error, codec,
    rules::{Stamp, nanos},
};
use crate::{
    addr,
    policy::{
        CgroupRef, GuardSpec, InstalledGuard,
        guard::{Destination, Settings},
    },
};

type RawConfig = [u8; size_of::<GuardConfig>()];

/// The maps.
pub struct Guards {
    configs: HashMap<MapData, u64, RawConfig>,
    states: MapData,
    /// Everything else that is kept by destination.
    others: Vec<MapData>,
}

impl Guards {
    /// Takes the maps.
    pub fn new(configs: HashMap<MapData, u64, RawConfig>, states: MapData, others: Vec<MapData>) -> Self {
        Self {
            configs,
            states,
            others,
        }
    }

    /// Every guard, by path.
    pub fn list(&self, path: impl FnMut(u64) -> Option<String>) -> Result<Vec<InstalledGuard>, Error> {
        configs(&self.configs, path)
    }

    /// Writes a guard, in place of the one that is there.
    pub fn set(&mut self, spec: &GuardSpec, stamp: Stamp<'_>) -> Result<(), Error> {
        let settings = spec.settings;
        let config = GuardConfig {
            backoff_ns: nanos(settings.backoff),
            max_backoff_ns: nanos(settings.max_backoff),
            created_ns: stamp.wall_ns,
            failures: settings.failures,
            of: settings.of,
            escalate: u8::from(settings.escalate),
            pad: [0; 5],
            by: codec::text(stamp.by),
            cgroup: codec::tail(&spec.cgroup.path),
        };
        self.configs
            .insert(spec.cgroup.id, codec::bytes(&config), 0)
            .map_err(|error| Error::map("set", spec.to_string(), &error))
    }

    /// Removes a guard, then what it knew.
    pub fn remove(&mut self, guard: &InstalledGuard) -> Result<(), Error> {
        let id = guard.spec.cgroup.id;
        // It may be gone already.
        let _ = self.configs.remove(&id);
        for map in std::iter::once(&self.states).chain(&self.others) {
            let value_len = map
                .info()
                .map_err(|error| Error::map("read", "guard states".into(), &error))?
                .value_size() as usize;
            for key in keys(map, value_len)? {
                if codec::value::<_, GuardKey>(&key).cgroup == id {
                    // An LRU map may have dropped it meanwhile.
                    let _ = sys::map_delete(map.fd().as_fd(), &key);
                }
            }
        }
        Ok(())
    }

    /// Destinations with a failure, the latest change first.
    pub fn destinations(&self) -> Result<Vec<Destination>, Error> {
        let entries = entries(&self.states, size_of::<GuardState>())?;
        let keys = entries.keys.chunks_exact(size_of::<GuardKey>());
        let mut list: Vec<Destination> = keys
            .zip(entries.values.chunks_exact(size_of::<GuardState>()))
            .filter_map(|(key, state)| {
                // SAFETY: structures of integers take every bit pattern.
                let (key, state) =
                    unsafe { (sys::value::<GuardKey>(key)?, sys::value::<GuardState>(state)?) };
                Some(destination(&key, state))
            })
            // Of everybody nothing is kept but who saw it, until it opens.
            .filter(|one| one.own_id.is_some() || one.phase() != Phase::Closed || one.state.opened > 0)
            .collect();
        list.sort_by_key(|one| (std::cmp::Reverse(one.state.changed_ns), one.addr, one.port));
        Ok(list)
    }
}

/// What is known of a key.
pub fn destination(key: &GuardKey, state: GuardState) -> Destination {
    Destination {
        cgroup_id: key.cgroup,
        own_id: (key.own != 0).then_some(key.own),
        net: key.net,
        is_network: key.kind == kind::NETWORK,
        addr: addr::ip(&key.addr, key.family),
        port: key.port,
        state,
    }
}

/// Every guard of the map, by path.
pub fn configs(
    map: &HashMap<MapData, u64, RawConfig>,
    mut path: impl FnMut(u64) -> Option<String>,
) -> Result<Vec<InstalledGuard>, Error> {
    let mut list = Vec::new();
    for entry in map {
        let (id, raw) = entry.map_err(|error| Error::map("read", "guards".into(), &error))?;
        let config: GuardConfig = codec::value(&raw);
        list.push(InstalledGuard {
            spec: GuardSpec {
                cgroup: CgroupRef {
                    path: path(id).unwrap_or_else(|| codec::read(&config.cgroup).into_owned()),
                    id,
                },
                settings: Settings {
                    failures: config.failures,
                    of: config.of,
                    backoff: Duration::from_nanos(config.backoff_ns),
                    max_backoff: Duration::from_nanos(config.max_backoff_ns),
                    escalate: config.escalate == 1,
                },
            },
            created_ns: config.created_ns,
            by: codec::read(&config.by).into_owned(),
        });
    }
    list.sort_by(|left, right| left.spec.cgroup.cmp(&right.spec.cgroup));
    Ok(list)
}

fn entries(map: &MapData, value_len: usize) -> Result<sys::Entries, Error> {
    sys::map_entries(
        map.fd().as_fd(),
        size_of::<GuardKey>(),
        value_len,
        MAX_STATES as usize,
    )
    .map_err(Error::io("read", "guard states"))
}

fn keys(map: &MapData, value_len: usize) -> Result<Vec<[u8; size_of::<GuardKey>()]>, Error> {
    let found = entries(map, value_len)?;
    let chunks = found.keys.chunks_exact(size_of::<GuardKey>());
    Ok(chunks.filter_map(|key| key.try_into().ok()).collect())
}
