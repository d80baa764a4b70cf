//! What a session knows of its host besides connections: facts for the diagnosis.

use tfo_common::layout::Feature;

use super::Session;
use crate::{
    kernel::{counters, iterate::Pass, policy, sys},
    model::diagnosis::host_facts::{HostFact, HostFacts, Lifetimes, MptcpListener, UnsafeWrite},
};

impl Session {
    /// What the programs noted of connections that ended late.
    pub(super) fn lifetimes(&self) -> HostFact<Lifetimes> {
        let rows = counters::lived(&self.maps).map_err(|_| "the ends of connections could not be read")?;
        Ok(Lifetimes {
            least_us: u64::from(self.long_lived_ms) * 1_000,
            rows,
        })
    }

    /// Whether the programs of a policy look at what rides in SYNs: the records have what they saw.
    pub(super) fn carried(&mut self) -> HostFact<Vec<UnsafeWrite>> {
        let bpffs = self.bpffs.clone();
        match self
            .keeper
            .ask(move |_| policy::loaded(&bpffs).ok().flatten())
            .flatten()
        {
            Some(loaded) if loaded.is_current() => Ok(Vec::new()),
            Some(_) => Err("the policy in force is one of another build: `tfo-cli policy reload`"),
            None => HostFacts::default().unsafe_writes,
        }
    }

    /// Keeps what a walk over the sockets found besides listeners.
    pub(super) fn look_at(&mut self, pass: &Pass) {
        let sysctls = pass.namespaces.iter();
        self.host_facts.sysctls = Ok(sysctls
            .filter_map(|(inode, value)| Some((*inode, (*value)?)))
            .collect());
        if !self
            .degradations
            .iter()
            .any(|one| one.name == Feature::Deferred.name())
        {
            // Only the thread that keeps rights sees whose sockets these are.
            let (mut waiting, records) = (std::mem::take(&mut self.waiting), pass.deferred.clone());
            let now_ns = sys::monotonic_ns();
            let found = self.keeper.ask(move |_| {
                let found = waiting.update(&records, now_ns);
                (waiting, found)
            });
            if let Some((waiting, found)) = found {
                self.waiting = waiting;
                self.host_facts.deferred = Ok(found);
            }
        }
        if !self
            .degradations
            .iter()
            .any(|one| one.name == Feature::Mptcp.name())
        {
            self.host_facts.mptcp = Ok(pass.listeners.iter().filter_map(MptcpListener::of).collect());
        }
    }
}
