//! One connection as the exchange it was.

use super::super::number;
use crate::model::{Flow, ladder};

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// Since the first one.
    pub at: String,
    /// From the client to the server.
    pub to_server: bool,
    /// It arrived.
    pub arrived: bool,
    /// What it was.
    pub what: String,
}

impl Rung {
    /// Which way it went, in words.
    pub fn way(&self) -> &'static str {
        match (self.to_server, self.arrived) {
            (true, true) => "client to server",
            (true, false) => "client to server, lost",
            (false, true) => "server to client",
            (false, false) => "server to client, lost",
        }
    }

    /// The same as an arrow.
    pub fn arrow(&self) -> &'static str {
        match (self.to_server, self.arrived) {
            (true, true) => "-->",
            (true, false) => "--x",
            (false, true) => "<--",
            (false, false) => "x--",
        }
    }
}

/// The packets and what they mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ladder {
    /// First to last.
    pub rungs: Vec<Rung>,
    /// In one sentence.
    pub meaning: &'static str,
}

impl Ladder {
    /// That of a flow.
    pub fn new(flow: &Flow) -> Self {
        Self {
            rungs: ladder::steps(flow)
                .into_iter()
                .map(|step| Rung {
                    at: number::duration(step.at_us),
                    to_server: step.to_server,
                    arrived: step.arrived,
                    what: step.what,
                })
                .collect(),
            meaning: ladder::sentence(flow.role(), flow.outcome()),
        }
    }
}
