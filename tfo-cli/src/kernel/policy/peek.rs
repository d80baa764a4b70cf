//! Reads the policy in force without the lock and without changes, as the dashboard does every few seconds.

use std::{io, iter, path::Path};

use aya::maps::{HashMap, MapData, MapError};
use tfo_common::{
    DestKey,
    guard::{GuardKey, GuardState, Phase, kind},
    policy,
};

use super::{
    Error, codec,
    guards::{configs, destination},
    pins,
    store::{self, open_map, open_rules},
};
use crate::policy::{InForce, Loaded, guard::Destination};

type RawKey = [u8; size_of::<GuardKey>()];
type RawState = [u8; size_of::<GuardState>()];

/// The rules and guards in force. `path` gives the path of a cgroup id, `None` when the cgroup is gone.
pub fn in_force(directory: &Path, mut path: impl FnMut(u64) -> Option<String>) -> Result<InForce, Error> {
    if !is_in_force(directory)? {
        return Ok(InForce::default());
    }
    let rules = open_rules(directory)?.1.list(&mut path)?;
    let guards = open_map(directory, policy::GUARDS)?;
    Ok(InForce {
        rules,
        guards: configs(&guards, path)?,
    })
}

/// Whose programs decide; `None` where none do.
pub fn loaded(directory: &Path) -> Result<Option<Loaded>, Error> {
    if !is_in_force(directory)? {
        return Ok(None);
    }
    store::loaded(&open_rules(directory)?.0).map(Some)
}

/// The state that the guard of the cgroup `guard` has of one destination, or of the network behind one of these local
/// addresses where that is open; `None` when no connection has failed.
///
/// It costs two lookups, and two more for each local address, for each network namespace in which something has failed,
/// however many destinations there are.
/// They do not count as use of the LRU map's entries (`htab_lru_map_lookup_elem_sys`, kernel/bpf/hashtab.c).
///
/// Where several states apply, an open one goes before a closed one, then that of the destination before that of the
/// network, and then that of the service before that of all services.
pub fn guard_state(
    directory: &Path,
    guard: u64,
    dest: &DestKey,
    locals: &[[u8; 16]],
) -> Result<Option<Destination>, Error> {
    if !is_in_force(directory)? {
        return Ok(None);
    }
    let states: HashMap<MapData, RawKey, RawState> = open_map(directory, policy::STATES)?;
    let nets: HashMap<MapData, u64, u32> = open_map(directory, policy::NETS)?;
    let mut found: Vec<Destination> = Vec::new();
    for net in nets.keys() {
        let net = net.map_err(|error| Error::map("read", "network namespaces".into(), &error))?;
        for own in [dest.cgroup_id, 0] {
            let this = GuardKey {
                cgroup: guard,
                own,
                net,
                addr: dest.remote,
                port: dest.port,
                family: dest.family,
                kind: kind::DESTINATION,
                pad: [0; 4],
            };
            let networks = locals.iter().map(|local| GuardKey {
                addr: *local,
                port: 0,
                kind: kind::NETWORK,
                ..this
            });
            for key in iter::once(this).chain(networks) {
                match states.get(&codec::bytes(&key), 0) {
                    Ok(raw) => found.push(destination(&key, codec::value(&raw))),
                    Err(MapError::KeyNotFound) => {}
                    Err(error) => return Err(Error::map("read", "guard states".into(), &error)),
                }
            }
        }
    }
    // What a network knows while it is closed says nothing about this destination.
    found.retain(|one| !one.is_network || one.phase() != Phase::Closed);
    found.sort_by_key(|one| (one.phase() == Phase::Closed, one.is_network, one.own_id.is_none()));
    Ok(found.first().copied())
}

/// Whether a policy is in force: its link is pinned last and removed first.
fn is_in_force(directory: &Path) -> Result<bool, Error> {
    let link = directory.join(pins::LINK_EGRESS);
    match std::fs::symlink_metadata(&link) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Error::io("look at", link.display().to_string())(error)),
    }
}
