//! What is known beyond flows, tables and the host's settings. Each part says for itself whether anybody looked: who
//! did fills it in ([`crate::model::Model::note_host_facts`]), and a diagnosis without its part is not made.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use tfo_common::{DestKey, dest::Lived, listener::ListenerRecord};

use super::registry::Id;
use crate::addr;

/// A fact, or why nobody knows it.
pub type HostFact<T> = Result<T, &'static str>;

/// Everything that may have been looked at.
#[derive(Clone, Debug, PartialEq)]
pub struct HostFacts {
    /// Sockets whose connect is put off until the first write (`inet_sk(sk)->defer_connect`).
    pub deferred: HostFact<Vec<Deferred>>,
    /// `net.ipv4.tcp_fastopen` of network namespaces other than the tool's own: inode, value.
    pub sysctls: HostFact<Vec<(u32, u32)>>,
    /// MPTCP listeners.
    pub mptcp: HostFact<Vec<MptcpListener>>,
    /// How long connections lived.
    pub lifetimes: HostFact<Lifetimes>,
    /// That SYNs with data are compared with those accepted before: records say which were
    /// ([`crate::model::Flow::is_duplicate`]).
    pub duplicates: HostFact<()>,
    /// That somebody looked at what rode in SYNs, and what a capture counted: requests that must not be done twice. What a
    /// policy saw is in the records ([`crate::model::Flow::carried`]).
    pub unsafe_writes: HostFact<Vec<UnsafeWrite>>,
    /// Fast Open keys, as salted fingerprints.
    pub keys: HostFact<Vec<KeyInUse>>,
    /// What drops SYN data on this host: firewall rule, qdisc or program, in words.
    pub droppers: HostFact<Vec<String>>,
}

impl Default for HostFacts {
    fn default() -> Self {
        Self {
            deferred: Err("sockets in SYN_SENT were not listed"),
            sysctls: Err("the settings of other network namespaces were not read"),
            mptcp: Err("MPTCP sockets were not listed"),
            lifetimes: Err("the ends of connections were not watched"),
            duplicates: Err("initial sequence numbers of accepted SYNs were not compared"),
            unsafe_writes: Err(
                "no policy is in force, whose programs see what rides in SYNs under its rules and guards",
            ),
            keys: Err("the Fast Open keys were not read: --salt WORD tells their fingerprints"),
            droppers: Err("firewall rules and qdiscs were not read"),
        }
    }
}

impl HostFacts {
    /// Diagnoses for which a part is missing, with the reason.
    pub fn missing(&self) -> Vec<(Id, &'static str)> {
        [
            (Id::DeferredNeverSent, self.deferred.as_ref().err()),
            (Id::NamespaceSysctlMismatch, self.sysctls.as_ref().err()),
            (Id::MptcpListener, self.mptcp.as_ref().err()),
            (Id::LongLived, self.lifetimes.as_ref().err()),
            (Id::DuplicateSynData, self.duplicates.as_ref().err()),
            (Id::NotIdempotent, self.unsafe_writes.as_ref().err()),
            (Id::KeyInUse, self.keys.as_ref().err()),
        ]
        .into_iter()
        .filter_map(|(id, why)| Some((id, *why?)))
        .collect()
    }
}

/// A socket whose connect is put off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deferred {
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Where it would connect to.
    pub remote: SocketAddr,
    /// Its process, where known.
    pub pid: Option<u32>,
    /// Name of the process; whatever its owner made it.
    pub comm: Option<String>,
    /// Since it was first seen, us: between two walks over the sockets less than it waits.
    pub age_us: u64,
}

/// An MPTCP socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MptcpListener {
    /// cgroup v2 id; 0 where unknown.
    pub cgroup_id: u64,
    /// Network namespace inode.
    pub netns: u32,
    /// Address it is bound to; `None` for any.
    pub local: Option<IpAddr>,
    /// Its port.
    pub port: u16,
    /// Limit of its Fast Open queue; 0 is off.
    pub tfo_max_qlen: u32,
}

impl MptcpListener {
    /// That of a record, if it is one.
    pub fn of(record: &ListenerRecord) -> Option<Self> {
        let local = addr::ip(&record.local, record.family);
        (record.mptcp != 0).then_some(Self {
            cgroup_id: record.cgroup_id,
            netns: record.netns,
            local: Some(local).filter(|local| !local.is_unspecified()),
            port: record.local_port,
            tfo_max_qlen: record.tfo_max_qlen,
        })
    }
}

/// Connections with Fast Open that ended late.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lifetimes {
    /// Age from which on they are counted, us.
    pub least_us: u64,
    /// By destination.
    pub rows: Vec<Lifetime>,
}

/// Those of a client's row of the destination table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    /// Which row.
    pub key: DestKey,
    /// How many they are, how long they lived, what they carried.
    pub lived: Lived,
}

/// Requests in SYNs that must not be done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnsafeWrite {
    /// Which row of the destination table.
    pub key: DestKey,
    /// What they look like: `POST`, `PUT`.
    pub what: &'static str,
    /// How many.
    pub count: u64,
}

/// The keys of a network namespace or a listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyInUse {
    /// Network namespace inode.
    pub netns: u32,
    /// The listener that has keys of its own.
    pub port: Option<u16>,
    /// Salted fingerprint of the primary key.
    pub primary: String,
    /// That of the backup key.
    pub backup: Option<String>,
}
