//! Stand-ins for the kernel side: records, a scripted [`Source`] and whole scenarios. For tests, the bundled
//! demo and the benchmark; not part of the interface.

mod scenario;

use std::{collections::VecDeque, net::IpAddr, time::Duration};

use tfo_common::{
    DestKey, FirstByteEvent, FlowEvent, Outcome, Role,
    event::{EventKind, Record, event_flags},
    flags::Shed,
    listener::ListenerRecord,
};

pub use self::scenario::Scenario;
use super::overhead;
use super::source::{CgroupName, Degradation, Host, Lookup, Reading, Source};
use crate::fingerprint::{Fingerprint, Salt, Secret};

/// 2026-01-02T03:04:05Z in ns: wall clock of kernel time zero in every fake.
pub const EPOCH_NS: i64 = 1_767_323_045_000_000_000;

/// A client flow that ended so: curl (4321) in cgroup 1, 192.0.2.1:40000 -> 198.51.100.7:443, 120 bytes.
pub fn flow(outcome: Outcome) -> FlowEvent {
    let mut comm = [0; 16];
    comm[..4].copy_from_slice(b"curl");
    let timeout = matches!(outcome, Outcome::SynTimeout | Outcome::AcceptedLate);
    let accepted = matches!(outcome, Outcome::Accepted | Outcome::AcceptedLate);
    let lost_us = if timeout { 1_024_000 } else { 0 };
    FlowEvent {
        kind: EventKind::Flow as u8,
        role: Role::Client as u8,
        outcome: outcome as u8,
        family: 4,
        option: if matches!(outcome, Outcome::Plain | Outcome::Paused) {
            0
        } else {
            2
        },
        option_kind: if matches!(outcome, Outcome::Plain | Outcome::Paused) {
            0
        } else {
            34
        },
        flags: if outcome.is_plain() {
            0
        } else {
            event_flags::REQUESTED
        },
        policy: u8::from(outcome == Outcome::Denied),
        id: 1,
        start_ns: 1_000_000_000,
        end_ns: 1_000_000_000 + 1_000 * (u64::from(lost_us) + 1_500),
        cgroup_id: 1,
        local: padded([192, 0, 2, 1]),
        remote: padded([198, 51, 100, 7]),
        local_port: 40_000,
        remote_port: 443,
        netns: 4_026_531_840,
        tgid: 4_321,
        syn_data_len: if outcome.is_plain() { 0 } else { 120 },
        syn_data_acked: if accepted { 120 } else { 0 },
        syn_retrans: u32::from(timeout),
        handshake_us: lost_us + 1_500,
        rtt_us: 1_500,
        ttfb_us: lost_us + 2_100,
        saved_us: if outcome == Outcome::Accepted { 1_500 } else { 0 },
        lost_us,
        offered: 120,
        comm,
    }
}

/// The record that brings the time to first byte of a flow.
pub fn first_byte(id: u64, ttfb_us: u32) -> Record {
    Record::FirstByte(FirstByteEvent {
        kind: EventKind::FirstByte as u8,
        pad: [0; 3],
        ttfb_us,
        id,
    })
}

/// Key of destination number `n`: client, cgroup 1, port 443, an address out of 10.0.0.0/8.
pub fn dest_key(n: u32) -> DestKey {
    let [_, b, c, d] = n.to_be_bytes();
    DestKey {
        cgroup_id: 1,
        remote: padded([10, b, c, d]),
        port: 443,
        role: Role::Client as u8,
        family: 4,
        pad: 0,
    }
}

/// An IPv4 address as the kernel side stores it.
pub fn padded(v4: [u8; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..4].copy_from_slice(&v4);
    bytes
}

/// A source that plays a script: one batch of records per `wait`, one reading per `read`, the last one again
/// and again.
#[derive(Debug, Default)]
pub struct FakeSource {
    /// What the next calls of `drain` hand over, one batch each.
    pub batches: VecDeque<Vec<Record>>,
    /// What the next calls of `read` return.
    pub readings: VecDeque<Reading>,
    /// What `host` returns.
    pub host: Host,
    /// What `cgroup` knows.
    pub cgroups: Vec<(u64, CgroupName)>,
    /// Cgroups that have to be asked for so many times before there is an answer.
    pub unborn: Vec<(u64, u32)>,
    /// What `listeners` returns.
    pub listeners: Vec<ListenerRecord>,
    /// What `degradations` returns.
    pub degradations: Vec<Degradation>,
    /// What was given up, one step after the other.
    pub shed: Vec<Shed>,
    /// Cookies that `cookie` finds, one after the other.
    pub cookies: VecDeque<u64>,
    /// How long `wait` really sleeps.
    pub pause: Duration,
}

impl Source for FakeSource {
    fn cookie(&mut self, _: u32, _: IpAddr, _: IpAddr, salt: &Salt) -> Option<Fingerprint> {
        let cookie = self.cookies.pop_front()?;
        Some(salt.fingerprint(Secret::Cookie, &cookie.to_be_bytes()))
    }

    fn wait(&mut self, timeout: Duration) -> anyhow::Result<()> {
        std::thread::sleep(self.pause.min(timeout));
        Ok(())
    }

    fn drain(&mut self, sink: &mut dyn FnMut(&Record)) -> usize {
        let batch = self.batches.pop_front().unwrap_or_default();
        batch.iter().for_each(sink);
        batch.len()
    }

    fn read(&mut self, dests: bool) -> anyhow::Result<Reading> {
        let mut reading = match self.readings.len() {
            0 => Reading::default(),
            1 => self.readings[0].clone(),
            _ => self.readings.pop_front().unwrap_or_default(),
        };
        if !dests {
            reading.dests.clear();
        }
        Ok(reading)
    }

    fn host(&mut self, _all: bool) -> anyhow::Result<Host> {
        Ok(self.host.clone())
    }

    fn cgroup(&mut self, id: u64) -> Lookup<CgroupName> {
        if let Some(left) = self
            .unborn
            .iter_mut()
            .find(|(unborn, left)| *unborn == id && *left > 0)
        {
            left.1 -= 1;
            return Lookup::NotYet;
        }
        let known = self.cgroups.iter().find(|(known, _)| *known == id);
        known.map_or(Lookup::Gone, |(_, name)| Lookup::Known(name.clone()))
    }

    fn listeners(&mut self) -> anyhow::Result<Vec<ListenerRecord>> {
        Ok(self.listeners.clone())
    }

    fn shed(&mut self, step: Shed, why: &str) -> anyhow::Result<()> {
        self.shed.push(step);
        self.degradations
            .retain(|one| overhead::step_of(one.name).is_none());
        self.degradations
            .extend(overhead::degradation(step).map(|name| Degradation {
                name,
                why: why.to_owned(),
            }));
        Ok(())
    }

    fn degradations(&self) -> &[Degradation] {
        &self.degradations
    }

    fn attached(&self) -> Vec<String> {
        vec![
            "tfo_sock_ops on /sys/fs/cgroup".into(),
            "tfo_rcv_reset on tp_btf/tcp_receive_reset".into(),
        ]
    }

    fn wall_offset_ns(&self) -> i64 {
        EPOCH_NS
    }
}
