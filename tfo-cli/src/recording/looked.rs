//! The further facts of a recording, about deferred connects, sysctls and MPTCP. Those that were not read are absent.

use serde::{Deserialize, Serialize};

use crate::model::diagnosis::looked::{Deferred, Looked, MptcpListener, Seen};

/// The facts that a recording keeps. Each may be absent, because other versions record fewer or more of them.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    deferred: Option<Vec<Deferred>>,
    sysctls: Option<Vec<(u32, u32)>>,
    mptcp: Option<Vec<MptcpListener>>,
}

impl Stored {
    /// The facts that were read.
    pub fn of(looked: &Looked) -> Self {
        Self {
            deferred: looked.deferred.clone().ok(),
            sysctls: looked.sysctls.clone().ok(),
            mptcp: looked.mptcp.clone().ok(),
        }
    }

    /// The facts, for the diagnosis; those that are absent count as not read.
    pub fn looked(self) -> Looked {
        let missing = Looked::default();
        Looked {
            deferred: known(self.deferred, missing.deferred),
            sysctls: known(self.sysctls, missing.sysctls),
            mptcp: known(self.mptcp, missing.mptcp),
            ..missing
        }
    }
}

fn known<T>(part: Option<T>, otherwise: Seen<T>) -> Seen<T> {
    part.map_or(otherwise, Ok)
}
