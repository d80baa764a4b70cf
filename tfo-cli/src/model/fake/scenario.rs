//! A host with a healthy service, a path that eats SYN data, servers whose keys differ, a listener without
//! Fast Open and IPv6: what the lab produces, without a kernel.

use std::net::SocketAddr;

use tfo_common::{
    CrossCheck, DestKey, DestStats, FlowEvent, Loss, Outcome, Role,
    counters::NetnsCounters,
    dest::Lived,
    event::Record,
    listener::ListenerRecord,
    time::{UNSEEN_US, bucket},
};

use super::{EPOCH_NS, FakeSource, dest_key, flow, padded};
use crate::model::{
    Model, cgroup,
    diagnosis::host_facts::{Deferred, HostFacts, Lifetime, Lifetimes},
    packed::Packed,
    source::{Degradation, Host, Mib, Reading},
};

const NETNS: u32 = 4_026_531_840;

/// A scripted host that moves on one second at a time.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    seconds: u64,
    dests: Vec<(DestKey, DestStats)>,
    extra: u32,
    losses: bool,
    next_id: u64,
}

struct Peer {
    cgroup_id: u64,
    remote: &'static str,
    port: u16,
    role: Role,
    comm: &'static str,
    /// Outcomes of one second, with how many.
    mix: &'static [(Outcome, u64)],
    rtt_us: u32,
}

const PEERS: [Peer; 6] = [
    Peer {
        cgroup_id: 1,
        remote: "198.51.100.7",
        port: 443,
        role: Role::Client,
        comm: "curl",
        mix: &[(Outcome::SynTimeout, 3), (Outcome::Plain, 1)],
        rtt_us: 1_800,
    },
    Peer {
        cgroup_id: 1,
        remote: "203.0.113.20",
        port: 443,
        role: Role::Client,
        comm: "curl",
        mix: &[
            (Outcome::Accepted, 9),
            (Outcome::CookieGranted, 1),
            (Outcome::Plain, 2),
        ],
        rtt_us: 900,
    },
    Peer {
        cgroup_id: 2,
        remote: "203.0.113.80",
        port: 8_443,
        role: Role::Client,
        comm: "haproxy",
        mix: &[(Outcome::Accepted, 2), (Outcome::CookieRejected, 2)],
        rtt_us: 400,
    },
    Peer {
        cgroup_id: 2,
        remote: "2001:db8:85a3::8a2e:370:7334",
        port: 443,
        role: Role::Client,
        comm: "haproxy",
        mix: &[(Outcome::Accepted, 4)],
        rtt_us: 12_000,
    },
    Peer {
        cgroup_id: 3,
        remote: "192.0.2.0",
        port: 80,
        role: Role::Server,
        comm: "",
        mix: &[
            (Outcome::Accepted, 6),
            (Outcome::QueueOverflow, 1),
            (Outcome::Plain, 5),
        ],
        rtt_us: 700,
    },
    Peer {
        cgroup_id: 4,
        remote: "2001:db8:1::",
        port: 853,
        role: Role::Server,
        comm: "",
        mix: &[(Outcome::NotEnabled, 2)],
        rtt_us: 2_500,
    },
];

impl Scenario {
    /// A host with that many destinations besides the six that have a story.
    #[must_use]
    pub fn with_extra(mut self, extra: u32) -> Self {
        self.extra = extra;
        self
    }

    /// A host that loses records and lacks features.
    #[must_use]
    pub fn with_losses(mut self) -> Self {
        self.losses = true;
        self
    }

    /// Moves on by one second: the records of that second and the reading at its end.
    pub fn step(&mut self) -> (Vec<Record>, Reading) {
        self.seconds += 1;
        let mut records = Vec::new();
        for peer in &PEERS {
            let mut key = dest_key(0);
            let (remote, family) = crate::addr::bytes(peer.remote.parse().expect("a good address"));
            key = DestKey {
                cgroup_id: peer.cgroup_id,
                remote,
                family,
                port: peer.port,
                role: peer.role as u8,
                ..key
            };
            for (outcome, count) in peer.mix {
                for _ in 0..*count {
                    self.next_id += 1;
                    let event = self.event(peer, &key, *outcome);
                    self.count(key, &event);
                    if !outcome.is_plain() {
                        records.push(Record::Flow(event));
                    }
                }
            }
        }
        (records, self.reading())
    }

    fn event(&self, peer: &Peer, key: &DestKey, outcome: Outcome) -> FlowEvent {
        let mut event = flow(outcome);
        event.id = self.next_id;
        event.role = peer.role as u8;
        event.family = key.family;
        event.remote = key.remote;
        event.cgroup_id = peer.cgroup_id;
        event.comm = [0; 16];
        event.comm[..peer.comm.len()].copy_from_slice(peer.comm.as_bytes());
        event.tgid = if peer.comm.is_empty() {
            0
        } else {
            1_000 + u32::try_from(peer.cgroup_id).unwrap_or(0)
        };
        event.local = if key.family == 4 {
            padded([192, 0, 2, 1])
        } else {
            [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
        };
        let high = 40_000 + u16::try_from(self.next_id % 20_000).unwrap_or(0);
        (event.local_port, event.remote_port) = if peer.role == Role::Client {
            (high, peer.port)
        } else {
            (peer.port, high)
        };
        event.rtt_us = peer.rtt_us;
        event.handshake_us = event.lost_us + peer.rtt_us;
        event.ttfb_us = if peer.role == Role::Server {
            UNSEEN_US
        } else {
            event.handshake_us + peer.rtt_us / 2
        };
        event.saved_us = if outcome == Outcome::Accepted {
            peer.rtt_us
        } else {
            0
        };
        event.end_ns = self.seconds * 1_000_000_000 - 1_000_000 * (200 - self.next_id % 200);
        event.start_ns = event.end_ns.saturating_sub(u64::from(event.handshake_us) * 1_000);
        event
    }

    fn count(&mut self, key: DestKey, event: &FlowEvent) {
        let place = self
            .dests
            .iter()
            .position(|(known, _)| *known == key)
            .unwrap_or_else(|| {
                self.dests.push((key, DestStats::ZERO));
                self.dests.len() - 1
            });
        let plain = event.outcome == Outcome::Plain as u8;
        let stats = &mut self.dests[place].1;
        stats.outcomes[usize::from(event.outcome)] += 1;
        stats.syn_bytes += u64::from(event.syn_data_len);
        stats.syn_bytes_acked += u64::from(event.syn_data_acked);
        stats.saved_us += u64::from(event.saved_us);
        stats.lost_us += u64::from(event.lost_us);
        stats.rtt_sum_us += u64::from(event.rtt_us);
        stats.rtt_count += 1;
        stats.last_ns = event.end_ns;
        let (handshake, ttfb) = if plain {
            (&mut stats.handshake_plain, &mut stats.ttfb_plain)
        } else {
            (&mut stats.handshake_tfo, &mut stats.ttfb_tfo)
        };
        // Times differ a little from connection to connection.
        let jitter = u32::try_from(self.next_id % 7).unwrap_or(0) * event.rtt_us / 8;
        handshake[bucket(event.handshake_us + jitter)] += 1;
        ttfb[bucket(event.handshake_us + event.rtt_us / 2 + jitter)] += u32::from(event.ttfb_us != UNSEEN_US);
    }

    /// The whole table. Quiet destinations are worked out instead of kept: in the benchmark the memory of this
    /// host should not be counted as that of the program.
    fn dests(&self) -> Vec<(DestKey, Packed)> {
        let mut dests = Vec::with_capacity(self.dests.len() + self.extra as usize);
        dests.extend(self.dests.iter().map(|(key, stats)| (*key, stats.into())));
        dests
            .extend((0..self.extra).map(|n| (dest_key(n + 1), Packed::from(&quiet(n.into(), self.seconds)))));
        dests
    }

    fn reading(&self) -> Reading {
        let mut reading = Reading {
            at_ns: self.seconds * 1_000_000_000,
            dests: self.dests(),
            dests_capacity: tfo_common::limits::DESTS,
            ..Reading::default()
        };
        reading.netns = vec![(NETNS, cross_check(&reading.dests))];
        for (key, stats) in &reading.dests {
            let totals = &mut reading.totals[usize::from(key.role)];
            totals
                .iter_mut()
                .zip(stats.outcomes)
                .for_each(|(total, count)| *total += u64::from(count));
        }
        let tfo = |totals: &[u64; Outcome::COUNT]| totals[1..].iter().sum::<u64>();
        reading.events = reading.totals.iter().map(tfo).sum();
        if self.losses {
            reading.losses[Loss::RingFull as usize] = 1_204;
            reading.losses[Loss::Unprimed as usize] = 3;
        }
        reading
    }

    /// Settings and counters of the host; the kernel saw one connection more than we did.
    pub fn host(&self) -> Host {
        let ours = cross_check(&self.dests()).counts;
        let count = |entry: CrossCheck| Some(1_000 + ours[entry as usize]);
        let unseen = u64::from(self.seconds > 1);
        Host {
            name: "edge-7".into(),
            kernel: "6.12.48-cloud-amd64".into(),
            netns: NETNS,
            tcp_fastopen: Some(0x3),
            blackhole_timeout_sec: Some(0),
            mib: vec![(
                NETNS,
                Mib {
                    active: count(CrossCheck::Active),
                    active_fail: count(CrossCheck::ActiveFail).map(|count| count + unseen),
                    passive: count(CrossCheck::Passive),
                    passive_fail: Some(0),
                    listen_overflow: count(CrossCheck::ListenOverflow),
                    cookie_reqd: Some(0),
                    blackhole: Some(0),
                    passive_alt_key: Some(0),
                },
            )],
        }
    }

    /// What this host cannot do.
    pub fn degradations(&self) -> Vec<Degradation> {
        if !self.losses {
            return Vec::new();
        }
        vec![Degradation {
            name: "no-iter-tcp-netns",
            why: "this kernel lists listeners of the tool's own network namespace only; handshakes of older \
                  listeners elsewhere are not classified"
                .into(),
        }]
    }

    /// Cgroups with their paths.
    pub fn cgroups() -> Vec<(u64, crate::model::source::CgroupName)> {
        let id = "3f2a91c07be4d1558a0b6c2d9e8f7a6b5c4d3e2f1a0b9c8d7e6f5a4b3c2d1e0f";
        let paths = [
            (1, "/system.slice/checkout.service".to_owned()),
            (2, format!("/system.slice/docker-{id}.scope")),
            (3, "/system.slice/nginx.service".to_owned()),
            (4, "/system.slice/unbound.service".to_owned()),
        ];
        paths
            .into_iter()
            .map(|(id, path)| (id, cgroup::parse(&path)))
            .collect()
    }

    /// Listening sockets, in all the states one can be in.
    pub fn listeners() -> Vec<ListenerRecord> {
        let listener = |cgroup_id, local_port, family, tfo_qlen, tfo_max_qlen| ListenerRecord {
            cgroup_id,
            netns: NETNS,
            tfo_qlen,
            tfo_max_qlen,
            max_backlog: 511,
            local_port,
            family,
            tcp_fastopen: 3,
            ..ListenerRecord::default()
        };
        vec![
            ListenerRecord {
                arrivals: [120, 4, 9],
                ..listener(3, 80, 4, 16, 16)
            },
            ListenerRecord {
                arrivals: [2_000, 1, 0],
                ..listener(3, 443, 6, 2, 256)
            },
            listener(4, 853, 6, 0, 0),
            // A container: new namespaces have the server side off.
            ListenerRecord {
                netns: NETNS + 1,
                tcp_fastopen: 1,
                arrivals: [0, 7, 0],
                ..listener(2, 8_080, 4, 0, 128)
            },
        ]
    }

    /// What else was looked at.
    pub fn host_facts() -> HostFacts {
        HostFacts {
            deferred: Ok(vec![Deferred {
                cgroup_id: 2,
                remote: SocketAddr::from(([192, 0, 2, 25], 25)),
                pid: Some(77),
                comm: Some("mailer".to_owned()),
                age_us: 400_000,
            }]),
            sysctls: Ok(vec![(NETNS, 3), (NETNS + 1, 1)]),
            mptcp: Ok(Vec::new()),
            duplicates: Ok(()),
            lifetimes: Ok(Lifetimes {
                least_us: 60_000_000,
                rows: vec![Lifetime {
                    key: dest_key(1),
                    lived: Lived {
                        ended: 3,
                        lived_us: 200_000_000,
                        bytes: 4_000,
                    },
                }],
            }),
            ..HostFacts::default()
        }
    }

    /// A model after that many seconds.
    pub fn model(mut self, seconds: u64) -> Model {
        let mut model = Model::default();
        for _ in 0..seconds {
            let (records, reading) = self.step();
            for record in &records {
                model.fold(record);
            }
            model.read(reading);
            model.read_host(self.host());
        }
        model.read_listeners(Self::listeners());
        for (id, name) in Self::cgroups() {
            model.name(id, Some(name));
        }
        let attached = vec![
            "tfo_sock_ops on /sys/fs/cgroup".into(),
            "tfo_rcv_reset on tp_btf/tcp_receive_reset".into(),
        ];
        model.describe(attached, &self.degradations(), EPOCH_NS);
        model.diagnose();
        model
    }

    /// A source that plays that many seconds.
    pub fn source(mut self, seconds: u64) -> FakeSource {
        let mut source = FakeSource {
            cgroups: Self::cgroups(),
            listeners: Self::listeners(),
            ..FakeSource::default()
        };
        for _ in 0..seconds {
            let (records, reading) = self.step();
            source.batches.push_back(records);
            source.readings.push_back(reading);
        }
        source.host = self.host();
        source.degradations = self.degradations();
        source
    }
}

/// A destination that moves in one second out of eight, after the first one.
fn quiet(n: u64, seconds: u64) -> DestStats {
    let mut stats = DestStats::ZERO;
    for second in 1..=seconds {
        if second == 1 || (n + second).is_multiple_of(8) {
            let refused = n.is_multiple_of(100);
            let outcome = if refused {
                Outcome::DataRefused
            } else {
                Outcome::Accepted
            };
            stats.outcomes[outcome as usize] += 1;
            stats.syn_bytes += 100;
            stats.saved_us += if refused { 0 } else { 500 };
            stats.rtt_sum_us += 500;
            stats.rtt_count += 1;
            stats.handshake_tfo[bucket(500)] += 1;
            stats.ttfb_tfo[bucket(900)] += 1;
            stats.last_ns = second * 1_000_000_000;
        }
    }
    stats
}

fn cross_check(dests: &[(DestKey, Packed)]) -> NetnsCounters {
    let sum = |role: Role, wanted: &[Outcome]| -> u64 {
        let rows = dests.iter().filter(|(key, _)| key.role == role as u8);
        rows.flat_map(|(_, stats)| {
            wanted
                .iter()
                .map(|outcome| u64::from(stats.outcomes[*outcome as usize]))
        })
        .sum()
    };
    let mut counters = NetnsCounters::default();
    let refused = [Outcome::SynTimeout, Outcome::CookieRejected, Outcome::DataRefused];
    counters.counts[CrossCheck::Active as usize] = sum(Role::Client, &[Outcome::Accepted]);
    counters.counts[CrossCheck::ActiveFail as usize] = sum(Role::Client, &refused);
    counters.counts[CrossCheck::Passive as usize] = sum(Role::Server, &[Outcome::Accepted]);
    counters.counts[CrossCheck::ListenOverflow as usize] = sum(Role::Server, &[Outcome::QueueOverflow]);
    counters
}
