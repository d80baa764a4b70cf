//! A host out of single connections: flows go in as the ring would bring them, the table is added up from them as the
//! kernel would.

use std::collections::HashMap;

use tfo_common::{
    DestKey, DestStats, FlowEvent, Outcome, Role, TfoOption,
    event::{Record, event_flags},
    listener::ListenerRecord,
};

use crate::model::{
    Model, Snapshot,
    diagnosis::{Facts, Finding, HostFacts, Id, Report, diagnose},
    fake,
    source::{Host, Reading},
};

/// Network namespace of the fakes.
pub const NETNS: u32 = 4_026_531_840;

/// One second.
pub const SECOND: u64 = 1_000_000_000;

/// The host.
#[derive(Clone, Debug)]
pub struct Case {
    events: Vec<FlowEvent>,
    /// Readings: how many of the events they follow.
    readings: Vec<usize>,
    window_s: u64,
    keep_flows: bool,
    host: Host,
    listeners: Vec<ListenerRecord>,
    host_facts: HostFacts,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            events: Vec::new(),
            readings: Vec::new(),
            window_s: 60,
            keep_flows: true,
            host: Host {
                netns: NETNS,
                tcp_fastopen: Some(3),
                blackhole_timeout_sec: Some(0),
                kernel: "6.12.48".into(),
                ..Host::default()
            },
            listeners: Vec::new(),
            host_facts: HostFacts::default(),
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
        if matches!(outcome, Outcome::Reset | Outcome::Failed) {
            event.flags |= event_flags::NOT_ESTABLISHED;
        }
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
        for n in 0..count {
            let again = u32::from(n < retransmitted);
            self = self.one(0, Outcome::Plain, |event| event.syn_retrans = again);
        }
        self
    }

    /// The counters are read here.
    #[must_use]
    pub fn read(mut self) -> Self {
        self.readings.push(self.events.len());
        self
    }

    /// Settings of the host.
    #[must_use]
    pub fn host(mut self, change: impl FnOnce(&mut Host)) -> Self {
        change(&mut self.host);
        self
    }

    /// A listening socket on port 443.
    #[must_use]
    pub fn listener(mut self, change: impl FnOnce(&mut ListenerRecord)) -> Self {
        let mut listener = ListenerRecord {
            cgroup_id: 1,
            netns: NETNS,
            tfo_max_qlen: 256,
            max_backlog: 128,
            local_port: 443,
            family: 4,
            ..ListenerRecord::default()
        };
        change(&mut listener);
        self.listeners.push(listener);
        self
    }

    /// What else was looked at.
    #[must_use]
    pub fn host_facts(mut self, change: impl FnOnce(&mut HostFacts)) -> Self {
        change(&mut self.host_facts);
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
        let reading = |rows: &HashMap<DestKey, DestStats>, at_ns| {
            let mut dests: Vec<_> = rows.iter().map(|(key, stats)| (*key, stats.into())).collect();
            dests.sort_by_key(|(key, _)| (key.role, key.remote, key.port, key.cgroup_id));
            Reading {
                at_ns,
                dests,
                ..Reading::default()
            }
        };
        for (index, event) in self.events.iter().enumerate() {
            for _ in self.readings.iter().filter(|at| **at == index) {
                model.read(reading(&rows, 2 * SECOND));
            }
            if self.keep_flows && event.outcome != Outcome::Plain as u8 {
                model.fold(&Record::Flow(*event));
            }
            count(rows.entry(key(event)).or_insert(DestStats::ZERO), event);
        }
        model.read(reading(&rows, SECOND * (1 + self.window_s)));
        model.read_host(self.host.clone());
        model.read_listeners(self.listeners.clone());
        model.note_host_facts(self.host_facts.clone());
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
    stats.plain_retrans += u64::from(event.outcome == Outcome::Plain as u8 && event.syn_retrans > 0);
    stats.last_ns = stats.last_ns.max(event.end_ns);
}

/// This host is the server, on port 443; who connects has another port each time.
pub fn server(event: &mut FlowEvent) {
    event.role = Role::Server as u8;
    (event.local_port, event.remote_port) = (443, event.local_port);
    (event.tgid, event.comm) = (0, [0; 16]);
}

/// The SYN-ACK brought a cookie.
pub fn cookie(event: &mut FlowEvent) {
    event.flags |= event_flags::COOKIE_RECEIVED;
}

/// A SYN that asks for a cookie instead of carrying data.
pub fn request(event: &mut FlowEvent) {
    event.option = TfoOption::Request as u8;
    (event.syn_data_len, event.syn_data_acked) = (0, 0);
}
