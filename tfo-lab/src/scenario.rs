//! Named scenarios: real traffic for every outcome, with the record that an observer must make of it.
//!
//! A scenario prepares what it needs, such as a cookie, a middlebox or a second key. Then it makes its connections and
//! returns them with what both ends should have seen on the wire. Connections that only prepare the scenario are in the
//! result, too, marked `priming`, because an observer sees them as well.

mod client_side;
mod expect;
mod params;
mod server_side;
mod stage;
mod variants;

use std::{collections::BTreeMap, str::FromStr};

use anyhow::{Result, anyhow};
pub use expect::{Connection, OptionSent, View};
pub use params::Params;
use serde::Serialize;
use stage::Stage;

use crate::{
    lab::Lab,
    mib::{Delta, Mib},
};

/// Declares the enum, its names and one-line explanations in one place.
macro_rules! scenarios {
    ($($variant:ident, $name:literal, $help:literal, $run:path;)*) => {
        /// A named scenario.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Scenario {
            $(#[doc = $help] $variant,)*
        }

        impl Scenario {
            /// Every scenario: the outcomes of a client, those of a server, and variants.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name, in kebab case.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What happens, in one line.
            pub fn help(self) -> &'static str {
                match self { $(Self::$variant => $help,)* }
            }

            fn play(self, stage: &mut Stage<'_>) -> Result<()> {
                match self { $(Self::$variant => $run(stage),)* }
            }
        }
    };
}

scenarios! {
    Accepted, "accepted", "SYN data taken whole", client_side::accepted;
    AcceptedLate, "accepted-late", "SYN data taken, but the SYN-ACK is lost once", client_side::accepted_late;
    PartlyAccepted, "partly-accepted", "the SYN-ACK acks half of the SYN data", client_side::partly_accepted;
    CookieGranted, "cookie-granted", "first contact: a cookie is asked for and granted", client_side::cookie_granted;
    CookieRefused, "cookie-refused", "first contact with a listener without TFO", client_side::cookie_refused;
    CookieOnly, "cookie-only", "cookie in the SYN, no data", client_side::cookie_only;
    DataRefused, "data-refused", "cookie known, but this port's listener has no TFO", client_side::data_refused;
    CookieRejected, "cookie-rejected", "cookie from a server with another key", client_side::cookie_rejected;
    SynTimeout, "syn-timeout", "the path drops SYNs with data", client_side::syn_timeout;
    Reset, "reset", "the path answers SYNs with data by RST", client_side::reset;
    Failed, "failed", "no SYN gets through", client_side::failed;
    Paused, "paused", "the kernel's blackhole pause is on", client_side::paused;
    LocalDrop, "local-drop", "the client's own firewall drops SYNs with data", client_side::local_drop;
    Plain, "plain", "no TFO asked for", client_side::plain;
    QueueOverflow, "queue-overflow", "the listener's TFO queue is full", server_side::queue_overflow;
    NotEnabled, "not-enabled", "the server namespace's sysctl has server TFO off", server_side::not_enabled;
    OptionStripped, "option-stripped", "the path takes the option out of the SYN, leaving the data", server_side::option_stripped;
    Syncookie, "syncookie", "the server answers under SYN cookies", server_side::syncookie;
    BackupKey, "backup-key", "cookie of the backup key: data taken, new cookie granted", server_side::backup_key;
    ExperimentalSynAck, "experimental-synack", "option 34 stripped from SYN-ACKs: the client moves on to 254", variants::experimental_synack;
    ExperimentalSyn, "experimental-syn", "option 34 stripped from SYNs: the client moves on to 254", variants::experimental_syn;
    Cookieless, "cookieless", "data without cookie, both sockets allow it", variants::cookieless;
    CookielessSysctl, "cookieless-sysctl", "data without cookie, both sysctls allow it", variants::cookieless_sysctl;
    CookielessRefused, "cookieless-refused", "data without cookie to a server that wants one", variants::cookieless_refused;
    FullSegment, "full-segment", "exactly as much data as a SYN can carry", variants::full_segment;
    LargePayload, "large-payload", "more data than a SYN can carry", variants::large_payload;
    RequestTimeout, "request-timeout", "the path drops every SYN with the option, cookie requests too", variants::request_timeout;
    RequestLate, "request-late", "cookie request whose SYN-ACK is lost once", variants::request_late;
    RequestReset, "request-reset", "the path answers SYNs with the option by RST", variants::request_reset;
    PlainLate, "plain-late", "no TFO asked for, the SYN-ACK is lost once", variants::plain_late;
}

/// What a scenario did and what an observer should have seen.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// The scenario's name.
    pub scenario: &'static str,
    /// How it was run.
    pub params: Params,
    /// Inode of the client's namespace.
    pub client_netns: u64,
    /// Inode of the server's namespace.
    pub server_netns: u64,
    /// Every connection made, in order.
    pub connections: Vec<Connection>,
    /// Counters that changed in the client's namespace.
    pub client_mib: Delta,
    /// Counters that changed in the server's namespace.
    pub server_mib: Delta,
}

impl Scenario {
    /// Runs the scenario. It needs the lab for itself, because scenarios change its settings while they run.
    pub fn run(self, lab: &mut Lab, params: Params) -> Result<Run> {
        let explain = |error: anyhow::Error| error.context(format!("scenario {} ({params})", self.name()));
        self.run_unexplained(lab, params).map_err(explain)
    }

    fn run_unexplained(self, lab: &Lab, params: Params) -> Result<Run> {
        lab.client().flush_tcp_metrics()?;
        let before = (Mib::read(lab.client())?, Mib::read(lab.server())?);
        let mut stage = Stage::new(lab, params);
        self.play(&mut stage)?;
        Ok(Run {
            scenario: self.name(),
            params,
            client_netns: lab.client().inode()?,
            server_netns: lab.server().inode()?,
            connections: stage.into_connections(),
            client_mib: Mib::read(lab.client())?.since(&before.0),
            server_mib: Mib::read(lab.server())?.since(&before.1),
        })
    }
}

impl Run {
    /// The connections the scenario is about.
    pub fn measured(&self) -> impl Iterator<Item = &Connection> {
        self.connections.iter().filter(|connection| !connection.priming)
    }

    /// By how much each `TCPFastOpen*` counter must have grown, in the client's and in the server's namespace: computed from
    /// the expected records (docs/kernel-facts.md section 3).
    pub fn expected_counters(&self) -> [BTreeMap<&'static str, u64>; 2] {
        let (mut client, mut server) = (BTreeMap::new(), BTreeMap::new());
        for connection in &self.connections {
            for counter in connection.client.client_counters() {
                *client.entry(counter).or_default() += 1;
            }
            for counter in connection.server.iter().flat_map(View::server_counters) {
                *server.entry(counter).or_default() += 1;
            }
        }
        if self.scenario == Scenario::Paused.name() {
            client.insert("TCPFastOpenBlackhole", 1);
        }
        [client, server]
    }
}

impl FromStr for Scenario {
    type Err = anyhow::Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|scenario| scenario.name() == name);
        found
            .copied()
            .ok_or_else(|| anyhow!("scenario {name:?}: not known; `tfo-lab list` names them all"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_parse_back() {
        for scenario in Scenario::ALL {
            assert_eq!(scenario.name().parse::<Scenario>().unwrap(), *scenario);
        }
        assert!("no-such".parse::<Scenario>().is_err());
    }
}
