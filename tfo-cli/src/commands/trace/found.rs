//! `trace --summary`: a model beside the trace, judged at its end.

use std::sync::Arc;

use tfo_common::event::Record;

use super::reader::Last;
use crate::{
    model::{Model, Snapshot, networks::Networks, source::CgroupName, source::Reading},
    recording::Tick,
};

/// What was seen so far.
#[derive(Debug, Default)]
pub struct Found {
    model: Model,
}

impl Found {
    /// Nothing yet, in networks that are called so.
    pub fn new(networks: Arc<Networks>) -> Self {
        let mut found = Self::default();
        found.model.set_networks(networks);
        found
    }

    /// Takes what a batch brought.
    pub fn take(&mut self, records: &[Record], names: &[(u64, Option<CgroupName>)]) {
        for (id, name) in names {
            self.model.name(*id, name.clone());
        }
        for record in records {
            self.model.fold(record);
        }
    }

    /// Takes the counters of a recording's tick.
    pub fn tick(&mut self, tick: &Tick) {
        if tick.reading.at_ns > 0 {
            self.model.read(tick.reading.clone());
        }
        if let Some(host) = &tick.host {
            self.model.read_host(host.clone());
        }
        if let Some(listeners) = &tick.listeners {
            self.model.read_listeners(listeners.clone());
        }
        if let Some(host_facts) = &tick.host_facts {
            self.model.note_host_facts(host_facts.clone());
        }
    }

    /// Takes the counters of a live trace, first and last.
    pub fn end(&mut self, last: Last) {
        self.model.read(Reading {
            at_ns: last.began_ns,
            ..Reading::default()
        });
        self.model.read(last.reading);
        for (id, name) in last.names {
            self.model.name(id, name);
        }
        if let Some(host) = last.host {
            self.model.read_host(host);
        }
        if let Some(listeners) = last.listeners {
            self.model.read_listeners(listeners);
        }
    }

    /// The end: what there is, judged.
    pub fn judged(mut self, wall_offset_ns: i64) -> Snapshot {
        self.model.describe(Vec::new(), &[], wall_offset_ns);
        self.model.diagnose();
        self.model.snapshot()
    }
}
