//! What else was looked at, as a recording keeps it: what nobody looked at is not there.

use serde::{Deserialize, Serialize};

use crate::model::diagnosis::looked::{Deferred, Looked, MptcpListener, Seen};

/// The parts a recording keeps. Every one may be absent: older and later versions have fewer and more.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Stored {
    deferred: Option<Vec<Deferred>>,
    sysctls: Option<Vec<(u32, u32)>>,
    mptcp: Option<Vec<MptcpListener>>,
}

impl Stored {
    /// Those of what was looked at.
    pub fn of(looked: &Looked) -> Self {
        Self {
            deferred: looked.deferred.clone().ok(),
            sysctls: looked.sysctls.clone().ok(),
            mptcp: looked.mptcp.clone().ok(),
        }
    }

    /// What was looked at.
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
