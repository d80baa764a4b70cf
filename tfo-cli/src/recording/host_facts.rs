//! The further facts of a recording, about deferred connects, sysctls and MPTCP. Those that were not read are absent.

use serde::{Deserialize, Serialize};

use crate::model::diagnosis::host_facts::{Deferred, HostFact, HostFacts, MptcpListener};

/// The facts that a recording keeps. Each may be absent, because other versions record fewer or more of them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    deferred: Option<Vec<Deferred>>,
    sysctls: Option<Vec<(u32, u32)>>,
    mptcp: Option<Vec<MptcpListener>>,
    /// Whether SYNs with data were compared with those accepted before.
    duplicates: bool,
}

impl Stored {
    /// The facts that were read.
    pub fn of(host_facts: &HostFacts) -> Self {
        Self {
            deferred: host_facts.deferred.clone().ok(),
            sysctls: host_facts.sysctls.clone().ok(),
            mptcp: host_facts.mptcp.clone().ok(),
            duplicates: host_facts.duplicates.is_ok(),
        }
    }

    /// The facts, for the diagnosis; those that are absent count as not read.
    pub fn host_facts(self) -> HostFacts {
        let missing = HostFacts::default();
        HostFacts {
            deferred: known(self.deferred, missing.deferred),
            sysctls: known(self.sysctls, missing.sysctls),
            mptcp: known(self.mptcp, missing.mptcp),
            duplicates: known(self.duplicates.then_some(()), missing.duplicates),
            ..missing
        }
    }
}

fn known<T>(part: Option<T>, otherwise: HostFact<T>) -> HostFact<T> {
    part.map_or(otherwise, Ok)
}
