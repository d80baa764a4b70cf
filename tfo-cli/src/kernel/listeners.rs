//! Every listening TCP and MPTCP socket of every network namespace: /proc tells address and Fast Open queue, `sock_diag(7)`
//! service and protocol, /proc/PID/fd the processes, and an iterator (`iter/tcp`) how full the queue is.

mod diag;
mod holders;
mod lengths;
mod proc_tcp;
mod settings;

use std::{fs, io};

pub use self::{
    holders::{holders, with_holders},
    lengths::with_lengths,
    settings::settings,
};
use super::{cgroup_names::Names, places::Places};
use crate::{
    inspect::{
        listeners::Listener,
        places::{Netns, Unseen},
    },
    model::cgroup,
};

/// Listeners by namespace and address, without processes and lengths.
pub fn all(places: &Places) -> (Vec<Listener>, Unseen) {
    let (found, unseen) = places.each(|place| here(&place.netns));
    let mut names = super::cgroup::mount_point().ok().map(Names::new);
    let mut listeners = Vec::new();
    for (mut listener, cgroup_id) in found.into_iter().flat_map(|(_, found)| found) {
        let path = names.as_mut().and_then(|names| names.path(cgroup_id).known());
        listener.cgroup = path.map(|path| cgroup::parse(&path));
        listeners.push(listener);
    }
    listeners.sort_by_key(|one| (one.netns.inode, one.address.port(), one.address, one.inode));
    (listeners, unseen)
}

/// Those of the namespace of this thread, with the id of their cgroup (0 where unknown).
fn here(netns: &Netns) -> io::Result<Vec<(Listener, u64)>> {
    let settings = settings();
    let mut found = Vec::new();
    for (file, family) in [("tcp", libc::AF_INET), ("tcp6", libc::AF_INET6)] {
        // /proc/net follows the thread only through thread-self. Without IPv6 there is no tcp6.
        let table = match fs::read_to_string(format!("/proc/thread-self/net/{file}")) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        // What sock_diag adds is nice to have: the kernel may lack it (CONFIG_INET_DIAG).
        let known = diag::listeners(family).unwrap_or_default();
        for row in proc_tcp::listeners(&table) {
            let diag = known.iter().find(|one| one.inode == row.inode);
            let listener = Listener {
                netns: netns.clone(),
                address: row.address,
                is_dual_stack: diag.and_then(|one| one.is_v6_only).map(|only| !only),
                inode: row.inode,
                uid: row.uid,
                limit: row.limit,
                length: None,
                is_mptcp: diag.map(|one| one.is_mptcp),
                cgroup: None,
                holders: Vec::new(),
                settings,
            };
            found.push((listener, diag.map_or(0, |one| one.cgroup_id)));
        }
    }
    Ok(found)
}
