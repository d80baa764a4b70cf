//! A host out of single connections: flows go in as the ring would bring them, the table is added up from them as the
//! kernel would.

use std::collections::HashMap;

use tfo_common::{
    DestKey, DestStats, FlowEvent, Outcome, Role, TfoOption,
    event::{Record, event_flags},
};

use crate::model::{
    Model, Snapshot,
    diagnosis::{Facts, Finding, Id, Report, diagnose},
    fake,
    feed::Reading,
};

/// One second.
pub const SECOND: u64 = 1_000_000_000;

/// The host.
#[derive(Clone, Debug)]
pub struct Case {
    events: Vec<FlowEvent>,
    plain_retrans: u64,
    window_s: u64,
    keep_flows: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            plain_retrans: 0,
            window_s: 60,
            keep_flows: true,
        }
    }
}

impl Case {
    /// One connection of [`fake::flow`], begun at this second, changed as told.
    #[must_use]
    pub fn one(mut self, second: u64, outcome: Outcome, change: impl FnOnce(&mut FlowEvent)) -> Self {
        let mut event = fake::flow(outcome);
        event.id = self.events.len() as u64 + 1;
        let took = event.end_ns - event.start_ns;
        event.start_ns = SECOND * (1 + second);
        event.end_ns = event.start_ns + took;
        event.local_port = 40_000 + u16::try_from(self.events.len() % 20_000).unwrap_or(0);
        change(&mut event);
        self.events.push(event);
        self
    }

    /// So many of them, one per second from this one on.
    #[must_use]
    pub fn many(mut self, from: u64, count: u64, outcome: Outcome, change: impl Fn(&mut FlowEvent)) -> Self {
        for second in from..from + count {
            self = self.one(second, outcome, &change);
        }
        self
    }

    /// So many, one per second from the first second on.
    #[must_use]
    pub fn with(self, count: u64, outcome: Outcome) -> Self {
        self.many(0, count, outcome, |_| {})
    }

    /// Plain connections, and how many of them needed a retransmission. They have no flow records.
    #[must_use]
    pub fn plain(mut self, count: u64, retransmitted: u64) -> Self {
        for _ in 0..count {
            self = self.one(0, Outcome::Plain, |_| {});
        }
        self.plain_retrans += retransmitted;
        self
    }

    /// How long was watched.
    #[must_use]
    pub fn window(mut self, seconds: u64) -> Self {
        self.window_s = seconds;
        self
    }

    /// The ring lost every record; the table has all of it.
    #[must_use]
    pub fn without_flows(mut self) -> Self {
        self.keep_flows = false;
        self
    }

    /// The model that saw all of it.
    pub fn model(&self) -> Model {
        let mut model = Model::default();
        model.read(Reading {
            at_ns: SECOND,
            ..Reading::default()
        });
        let mut rows: HashMap<DestKey, DestStats> = HashMap::new();
        for event in &self.events {
            if self.keep_flows && event.outcome != Outcome::Plain as u8 {
                model.fold(&Record::Flow(*event));
            }
            count(rows.entry(key(event)).or_insert(DestStats::ZERO), event);
        }
        let mut left = self.plain_retrans;
        for stats in rows.values_mut() {
            let here = left.min(stats.outcomes[Outcome::Plain as usize]);
            stats.plain_retrans = here;
            left -= here;
        }
        let mut dests: Vec<_> = rows.into_iter().collect();
        dests.sort_by_key(|(key, _)| (key.role, key.remote, key.port, key.cgroup_id));
        model.read(Reading {
            at_ns: SECOND * (1 + self.window_s),
            dests,
            ..Reading::default()
        });
        model.name(
            1,
            Some(crate::model::cgroup::parse("/system.slice/checkout.service")),
        );
        model
    }

    /// What is found.
    pub fn report(&self) -> Report {
        let snapshot: Snapshot = self.model().snapshot();
        diagnose(&Facts::new(&snapshot))
    }

    /// The names of what is found.
    pub fn ids(&self) -> Vec<&'static str> {
        self.report()
            .findings
            .iter()
            .map(|finding| finding.id.name())
            .collect()
    }

    /// The finding of this name; there must be one.
    pub fn finding(&self, id: Id) -> Finding {
        let report = self.report();
        let found = report.findings.iter().find(|finding| finding.id == id);
        found
            .unwrap_or_else(|| panic!("{} is missing: {:?}", id.name(), self.ids()))
            .clone()
    }
}

fn key(event: &FlowEvent) -> DestKey {
    let role = Role::from_code(event.role).expect("a role");
    DestKey {
        cgroup_id: event.cgroup_id,
        remote: if role == Role::Server {
            let mut block = event.remote;
            block[3] = 0;
            block
        } else {
            event.remote
        },
        port: if role == Role::Server {
            event.local_port
        } else {
            event.remote_port
        },
        role: event.role,
        family: event.family,
        pad: 0,
    }
}

fn count(stats: &mut DestStats, event: &FlowEvent) {
    stats.outcomes[usize::from(event.outcome)] += 1;
    stats.syn_bytes += u64::from(event.syn_data_len);
    stats.syn_bytes_acked += u64::from(event.syn_data_acked);
    stats.saved_us += u64::from(event.saved_us);
    stats.lost_us += u64::from(event.lost_us);
    stats.rtt_sum_us += u64::from(event.rtt_us);
    stats.rtt_count += 1;
    stats.cookies += u64::from(event.flags & event_flags::COOKIE_RECEIVED != 0);
    stats.last_ns = stats.last_ns.max(event.end_ns);
}

/// A SYN that asks for a cookie instead of carrying data.
pub fn request(event: &mut FlowEvent) {
    event.option = TfoOption::Request as u8;
    (event.syn_data_len, event.syn_data_acked) = (0, 0);
}
