//! Guards and their states of destinations, in the kernel's maps.

use std::{os::fd::AsFd as _, time::Duration};

use aya::maps::{HashMap, MapData};
use tfo_common::guard::{GuardConfig, GuardKey, GuardState, Phase, kind};

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

/// The maps of the guards.
pub struct Guards {
    /// Settings of guards, by cgroup id.
    configs: HashMap<MapData, u64, RawConfig>,
    /// States of destinations, by [`GuardKey`].
    states: MapData,
    /// The other maps with keys of [`GuardKey`].
    others: Vec<MapData>,
}

impl Guards {
    /// Works on these maps; `others` are further ones with keys of [`GuardKey`].
    pub fn new(configs: HashMap<MapData, u64, RawConfig>, states: MapData, others: Vec<MapData>) -> Self {
        Self {
            configs,
            states,
            others,
        }
    }

    /// Every guard, sorted by path. `path` gives the path of a cgroup id, `None` when the cgroup is gone.
    pub fn list(&self, path: impl FnMut(u64) -> Option<String>) -> Result<Vec<InstalledGuard>, Error> {
        configs(&self.configs, path)
    }

    /// Adds a guard, or replaces the one of this cgroup.
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

    /// Removes a guard, then its states; returns how many of the latter were taken out.
    pub fn remove(&mut self, guard: &InstalledGuard) -> Result<u64, Error> {
        let mut removed = 0;
        let id = guard.spec.cgroup.id;
        // A command that was killed may have removed it already.
        let _ = self.configs.remove(&id);
        for (place, map) in std::iter::once(&self.states).chain(&self.others).enumerate() {
            let value_len = map
                .info()
                .map_err(|error| Error::map("read", "guard states".into(), &error))?
                .value_size() as usize;
            for key in keys(map, value_len)? {
                if codec::value::<_, GuardKey>(&key).cgroup == id {
                    // The LRU map may have dropped the entry meanwhile.
                    let is_removed = sys::map_delete(map.fd().as_fd(), &key).is_ok();
                    removed += u64::from(is_removed && place == 0);
                }
            }
        }
        Ok(removed)
    }

    /// Number of states there are.
    pub fn states(&self) -> Result<u64, Error> {
        Ok(entries(&self.states, size_of::<GuardState>())?.count as u64)
    }

    /// Destinations with a failure, the one whose state changed last first.
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
            // The state of all services together says nothing to the user before it has opened: until then it only
            // collects which services have failed.
            .filter(|one| one.own_id.is_some() || one.phase() != Phase::Closed || one.state.opened > 0)
            .collect();
        list.sort_by_key(|one| (std::cmp::Reverse(one.state.changed_ns), one.addr, one.port));
        Ok(list)
    }
}

/// The state of a key, as `policy` knows it.
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

/// Every guard of the map, sorted by path. `path` gives the path of a cgroup id, `None` when the cgroup is gone.
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
    let info = map
        .info()
        .map_err(|error| Error::map("read", "guard states".into(), &error))?;
    sys::map_entries(
        map.fd().as_fd(),
        size_of::<GuardKey>(),
        value_len,
        info.max_entries() as usize,
    )
    .map_err(Error::io("read", "guard states"))
}

fn keys(map: &MapData, value_len: usize) -> Result<Vec<[u8; size_of::<GuardKey>()]>, Error> {
    let found = entries(map, value_len)?;
    let chunks = found.keys.chunks_exact(size_of::<GuardKey>());
    Ok(chunks.filter_map(|key| key.try_into().ok()).collect())
}
