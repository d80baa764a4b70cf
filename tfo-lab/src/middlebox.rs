//! Middleboxes that interfere with TCP Fast Open, emulated by nftables inside the lab's namespaces.
//!
//! Packets are caught where they arrive, so that an observer at the sending end sees them leave: SYNs in the server's
//! namespace, SYN-ACKs in the client's.
//!
//! Every [`Middlebox`] owns one nft table, so effects can be combined and removed one by one;
//! dropping it removes the table.

mod rules;

use std::{
    net::IpAddr,
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context, Result};

use crate::{command, lab::Lab, netns::Namespace};

/// What a middlebox does to packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// SYNs with data are dropped.
    DropSynData,
    /// SYNs with the TFO option, 34 or 254, are dropped.
    DropTfoSyn,
    /// SYNs are dropped, so that no handshake completes.
    DropSyn,
    /// SYN-ACKs are dropped until the client has sent its SYN again. If only the first one were, the server's timer could
    /// send another just before that of the client expires, and the client would not notice the loss.
    DropEarlySynAcks,
    /// Everything that the client sends after its SYN is dropped, so that connections stay half-open.
    DropAfterSyn,
    /// RSTs from the server are dropped.
    DropServerReset,
    /// This many of 1000 packets to the server are dropped.
    Loss(u16),
    /// SYNs lose option 34, and 254 too if `experimental`.
    StripSyn {
        /// Whether option 254 goes as well.
        experimental: bool,
    },
    /// SYN-ACKs lose option 34, and 254 too if `experimental`.
    StripSynAck {
        /// Whether option 254 goes as well.
        experimental: bool,
    },
    /// SYNs with payload are answered by RST.
    ResetSynData,
    /// SYNs with the TFO option are answered by RST.
    ResetTfoSyn,
    /// SYNs with the TFO option are dropped, and from then on the first SYN of every connection of that client. IPv4 only.
    Grudge,
}

/// An effect and the connections it applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// What happens to their packets.
    pub effect: Effect,
    /// Server address.
    pub server: IpAddr,
    /// Server port; `None` means every port of that address.
    pub port: Option<u16>,
    /// Client address; `None` means every client.
    pub client: Option<IpAddr>,
}

impl Rule {
    /// `effect` on everything between clients and `server`.
    pub fn new(effect: Effect, server: IpAddr) -> Self {
        Self {
            effect,
            server,
            port: None,
            client: None,
        }
    }

    /// The same for one port only.
    #[must_use]
    pub fn port(self, port: u16) -> Self {
        Self {
            port: Some(port),
            ..self
        }
    }

    /// The same for one client address only.
    #[must_use]
    pub fn client(self, client: IpAddr) -> Self {
        Self {
            client: Some(client),
            ..self
        }
    }
}

/// Where in a namespace packets are caught.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Where they arrive, before the stack of the namespace sees them.
    Arrival,
    /// Where they leave the stack, as a local firewall does.
    Output,
}

/// An installed rule; removed when dropped.
#[derive(Debug)]
pub struct Middlebox {
    namespace: Namespace,
    table: String,
}

impl Middlebox {
    /// Puts `rule` on the path.
    pub fn on_path(lab: &Lab, rule: &Rule) -> Result<Self> {
        match rule.effect {
            Effect::DropEarlySynAcks | Effect::StripSynAck { .. } => {
                Self::install(lab.client(), rule, Place::Arrival)
            }
            // The server's own stack answers segments to the responder by RST; these must not leave.
            Effect::DropServerReset => Self::install(lab.server(), rule, Place::Output),
            _ => Self::install(lab.server(), rule, Place::Arrival),
        }
    }

    /// Makes the client's own firewall drop the packets that `rule`, one that drops, selects.
    pub fn on_client(lab: &Lab, rule: &Rule) -> Result<Self> {
        Self::install(lab.client(), rule, Place::Output)
    }

    /// Catches the packets that `rule` selects where they arrive in `namespace`, whose address is the rule's server: for
    /// connections that do not begin at the lab's client.
    pub fn before(namespace: &Namespace, rule: &Rule) -> Result<Self> {
        Self::install(namespace, rule, Place::Arrival)
    }

    fn install(namespace: &Namespace, rule: &Rule, place: Place) -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let table = format!("tfo_lab_{}_{number}", std::process::id());
        let ruleset = rules::ruleset(&table, rule, place);
        namespace
            .run(|| command::run_with_input("nft", &["-f", "-"], &ruleset))
            .with_context(|| format!("middlebox: installing {rule:?} in {}", namespace.label()))?;
        Ok(Self {
            namespace: namespace.clone(),
            table,
        })
    }

    /// How many packets the rule has acted on.
    pub fn hits(&self) -> Result<u64> {
        let listing = self
            .namespace
            .command("nft", &["list", "table", "inet", &self.table])?;
        let words: Vec<&str> = listing.split_whitespace().collect();
        let counts = words.windows(2).filter(|pair| pair[0] == "packets");
        Ok(counts.filter_map(|pair| pair[1].parse::<u64>().ok()).sum())
    }
}

impl Drop for Middlebox {
    fn drop(&mut self) {
        // When this fails, the namespace is gone, and the table with it.
        let _ = self
            .namespace
            .command("nft", &["delete", "table", "inet", &self.table]);
    }
}
