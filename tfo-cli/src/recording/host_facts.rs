//! The further facts of a recording, about deferred connects, sysctls, MPTCP, duplicates and lifetimes. Those that were not read are absent.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use tfo_common::{DestKey, Role, dest::Lived};

use crate::{
    addr,
    model::diagnosis::host_facts::{Deferred, HostFact, HostFacts, Lifetime, Lifetimes, MptcpListener},
};

/// The facts that a recording keeps. Each may be absent, because other versions record fewer or more of them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    deferred: Option<Vec<Deferred>>,
    sysctls: Option<Vec<(u32, u32)>>,
    mptcp: Option<Vec<MptcpListener>>,
    /// Whether SYNs with data were compared with those accepted before.
    duplicates: bool,
    /// Whether a policy looked at what rode in SYNs.
    unsafe_writes: bool,
    lifetimes: Option<StoredLifetimes>,
}

/// Connections of clients that ended late.
#[derive(Debug, Serialize, Deserialize)]
struct StoredLifetimes {
    least_us: u64,
    rows: Vec<StoredLifetime>,
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredLifetime {
    cgroup_id: u64,
    remote: SocketAddr,
    ended: u64,
    lived_us: u64,
    bytes: u64,
}

impl StoredLifetimes {
    fn of(lifetimes: &Lifetimes) -> Self {
        let rows = lifetimes.rows.iter().map(|one| StoredLifetime {
            cgroup_id: one.key.cgroup_id,
            remote: SocketAddr::new(addr::ip(&one.key.remote, one.key.family), one.key.port),
            ended: one.lived.ended,
            lived_us: one.lived.lived_us,
            bytes: one.lived.bytes,
        });
        Self {
            least_us: lifetimes.least_us,
            rows: rows.collect(),
        }
    }

    fn lifetimes(self) -> Lifetimes {
        let rows = self.rows.into_iter().map(|one| {
            let (remote, family) = addr::bytes(one.remote.ip());
            Lifetime {
                key: DestKey {
                    cgroup_id: one.cgroup_id,
                    remote,
                    port: one.remote.port(),
                    role: Role::Client as u8,
                    family,
                    pad: 0,
                },
                lived: Lived {
                    ended: one.ended,
                    lived_us: one.lived_us,
                    bytes: one.bytes,
                },
            }
        });
        Lifetimes {
            least_us: self.least_us,
            rows: rows.collect(),
        }
    }
}

impl Stored {
    /// The facts that were read.
    pub fn of(host_facts: &HostFacts) -> Self {
        Self {
            deferred: host_facts.deferred.clone().ok(),
            sysctls: host_facts.sysctls.clone().ok(),
            mptcp: host_facts.mptcp.clone().ok(),
            duplicates: host_facts.duplicates.is_ok(),
            unsafe_writes: host_facts.unsafe_writes.is_ok(),
            lifetimes: host_facts.lifetimes.as_ref().ok().map(StoredLifetimes::of),
        }
    }

    /// The facts, for the diagnosis; those that are absent count as not read.
    pub fn host_facts(self) -> HostFacts {
        let missing = HostFacts::default();
        HostFacts {
            deferred: known(self.deferred, missing.deferred),
            sysctls: known(self.sysctls, missing.sysctls),
            mptcp: known(self.mptcp, missing.mptcp),
            lifetimes: known(self.lifetimes.map(StoredLifetimes::lifetimes), missing.lifetimes),
            duplicates: known(self.duplicates.then_some(()), missing.duplicates),
            // The records say which.
            unsafe_writes: known(self.unsafe_writes.then(Vec::new), missing.unsafe_writes),
            ..missing
        }
    }
}

fn known<T>(part: Option<T>, otherwise: HostFact<T>) -> HostFact<T> {
    part.map_or(otherwise, Ok)
}
