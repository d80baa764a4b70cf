//! What the diagnoses look at: one instant of the model, sorted by row, and what else was looked at.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use tfo_common::{DestKey, Outcome, Role, listener::ListenerRecord};

use super::{host_facts::HostFacts, plain_baselines::PlainBaseline, registry::Id, threshold};
use crate::{
    addr,
    model::{DestRow, Flow, Snapshot, names::Names, source::Host},
};

/// One instant, ready to be judged.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The destination table.
    pub rows: &'a [DestRow],
    /// Settings and counters of the host.
    pub host: &'a Host,
    /// What cgroup ids are called.
    pub names: &'a Names,
    /// How long was watched, ns.
    pub window_ns: u64,
    /// Listening sockets.
    pub listeners: &'a [ListenerRecord],
    /// What else was looked at.
    pub host_facts: &'a HostFacts,
    /// Flows that are still known, oldest first.
    pub all_flows: &'a [Flow],
    snapshot: &'a Snapshot,
    by_row: HashMap<DestKey, Vec<&'a Flow>>,
    by_service: BTreeMap<(u64, u16), Service<'a>>,
    by_remote: HashMap<IpAddr, Baseline>,
    judged: usize,
}

/// A service that listens on a port, all its clients together.
#[derive(Clone, Debug, Default)]
pub struct Service<'a> {
    /// Its rows of the destination table.
    pub rows: Vec<&'a DestRow>,
    /// Its flows that are still known, oldest first.
    pub flows: Vec<&'a Flow>,
}

impl Service<'_> {
    /// Handshakes that ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.rows.iter().map(|row| row.count(outcome)).sum()
    }

    /// Handshakes with Fast Open.
    pub fn attempts(&self) -> u64 {
        self.rows.iter().map(|row| row.attempts()).sum()
    }

    /// Keys of its rows.
    pub fn keys(&self) -> Vec<DestKey> {
        self.rows.iter().map(|row| row.key).collect()
    }

    /// Its latest flow that ended so.
    pub fn latest(&self, outcome: Outcome) -> Option<&Flow> {
        let mut flows = self.flows.iter().rev();
        flows.find(|flow| flow.outcome() == outcome).copied()
    }

    /// Mean round-trip time of its rows, each as often as it was taken, us; 0 where unknown.
    pub fn rtt_us(&self) -> u64 {
        let rows = self.rows.iter();
        let (sum, count) = rows.fold((0u64, 0u64), |(sum, count), row| {
            let times = u64::from(row.rtt_count);
            (
                sum.saturating_add(row.rtt_us().unwrap_or(0).saturating_mul(times)),
                count + times,
            )
        });
        sum.checked_div(count).unwrap_or(0)
    }

    /// Whether the latest attempts all ended otherwise.
    pub fn is_over(&self, outcome: Outcome) -> bool {
        is_over(&self.flows, |flow| flow.outcome() == outcome)
    }
}

/// Whether the latest attempts all went without the fault. `flows` are in the order in which they ended.
pub fn is_over(flows: &[&Flow], fault: impl Fn(&Flow) -> bool) -> bool {
    let later = flows
        .iter()
        .rev()
        .filter(|flow| !flow.outcome().is_plain())
        .take_while(|flow| !fault(flow));
    flows.iter().any(|flow| fault(flow)) && later.count() >= threshold::OVER_AFTER
}

/// How SYNs without Fast Open fare on the way to an address, from all services and to all ports: those of plain
/// connections, and the bare ones the kernel sends after one with Fast Open went unanswered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Baseline {
    /// Plain handshakes.
    pub plain: u64,
    /// Those of them whose SYN had to be sent again.
    pub plain_retrans: u64,
    /// Bare SYNs after an unanswered one, of the flows that are still known.
    pub bare: u64,
    /// Those of them that went unanswered as well.
    pub bare_lost: u64,
}

impl Baseline {
    /// SYNs there are to compare with.
    pub fn sent(&self) -> u64 {
        self.plain + self.bare
    }

    /// Those of them that went unanswered.
    pub fn lost(&self) -> u64 {
        self.plain_retrans + self.bare_lost
    }

    /// Share of SYNs without Fast Open that are lost here: what was seen, but never less than what is assumed until
    /// enough was seen.
    pub fn loss(&self) -> f64 {
        let (lost, sent) = (self.lost() as f64, self.sent() as f64);
        let assumed =
            (lost + threshold::ASSUMED_LOSS * threshold::ASSUMED_WEIGHT) / (sent + threshold::ASSUMED_WEIGHT);
        if self.sent() == 0 {
            assumed
        } else {
            assumed.max(lost / sent)
        }
    }

    /// Whether there are enough of them to compare with.
    pub fn is_enough(&self) -> bool {
        self.sent() >= threshold::BASELINE_LEAST
    }
}

impl<'a> Facts<'a> {
    /// The facts of a snapshot.
    pub fn new(snapshot: &'a Snapshot) -> Self {
        let mut by_row: HashMap<DestKey, Vec<&Flow>> = HashMap::new();
        let mut by_remote: HashMap<IpAddr, Baseline> = HashMap::new();
        let mut by_service: BTreeMap<(u64, u16), Service<'a>> = BTreeMap::new();
        for row in snapshot.rows.iter().filter(|row| row.role() == Role::Server) {
            let service = by_service.entry((row.key.cgroup_id, row.key.port)).or_default();
            service.rows.push(row);
        }
        for flow in &*snapshot.flows {
            if flow.role() == Role::Server {
                let event = flow.event();
                if let Some(service) = by_service.get_mut(&(event.cgroup_id, event.local_port)) {
                    service.flows.push(flow);
                }
                continue;
            }
            by_row.entry(client_key(flow)).or_default().push(flow);
            if flow.outcome() == Outcome::SynTimeout {
                let baseline = by_remote.entry(flow.remote_ip()).or_default();
                let bare = u64::from(flow.event().syn_retrans);
                baseline.bare += bare;
                baseline.bare_lost += bare.saturating_sub(1);
            }
        }
        let mut judged = 0;
        for row in snapshot.rows.iter().filter(|row| row.role() == Role::Client) {
            let baseline = by_remote.entry(row.remote()).or_default();
            baseline.plain += row.count(Outcome::Plain);
            baseline.plain_retrans += u64::from(row.plain_retrans);
            judged += usize::from(row.attempts() > 0);
        }
        Self {
            rows: &snapshot.rows,
            host: &snapshot.host,
            names: &snapshot.names,
            window_ns: snapshot.elapsed_ns,
            listeners: &snapshot.listeners,
            host_facts: &snapshot.host_facts,
            all_flows: &snapshot.flows,
            snapshot,
            by_row,
            by_service,
            by_remote,
            judged,
        }
    }

    /// The latest flows of a client's row, oldest first. Those the ring of flows dropped are missing.
    pub fn flows(&self, key: &DestKey) -> &[&'a Flow] {
        self.by_row.get(key).map_or(&[], Vec::as_slice)
    }

    /// Rows of clients.
    pub fn clients(&self) -> impl Iterator<Item = &'a DestRow> {
        self.rows.iter().filter(|row| row.role() == Role::Client)
    }

    /// Services that listen, by cgroup id and port.
    pub fn services(&self) -> impl Iterator<Item = (u64, u16, &Service<'a>)> {
        self.by_service
            .iter()
            .map(|((cgroup_id, port), service)| (*cgroup_id, *port, service))
    }

    /// A service on a port; empty where nobody connected to it.
    pub fn service(&self, cgroup_id: u64, port: u16) -> Service<'a> {
        self.by_service
            .get(&(cgroup_id, port))
            .cloned()
            .unwrap_or_default()
    }

    /// Listeners of a service on a port. A socket whose owner is not known may be anybody's.
    pub fn listeners_of(&self, cgroup_id: u64, port: u16) -> impl Iterator<Item = &'a ListenerRecord> {
        self.listeners.iter().filter(move |listener| {
            listener.local_port == port && (listener.cgroup_id == cgroup_id || listener.cgroup_id == 0)
        })
    }

    /// `net.ipv4.tcp_fastopen` of a network namespace.
    pub fn sysctl(&self, netns: u32) -> Option<u32> {
        if netns == self.host.netns {
            return self.host.tcp_fastopen;
        }
        let of_listener = self.listeners.iter().find(|listener| listener.netns == netns);
        if let Some(value) = of_listener.and_then(ListenerRecord::sysctl) {
            return Some(value);
        }
        let known = self.host_facts.sysctls.as_ref().ok()?;
        let found = known.iter().find(|(inode, _)| *inode == netns);
        found.map(|(_, value)| *value)
    }

    /// Where plain connections stood when Fast Open failed.
    pub fn plain_baseline(&self, key: &DestKey) -> Option<PlainBaseline> {
        self.snapshot.plain_baselines.get(key)
    }

    /// How plain handshakes with an address fared.
    pub fn baseline(&self, remote: IpAddr) -> Baseline {
        self.by_remote.get(&remote).copied().unwrap_or_default()
    }

    /// How improbable a count must be to be no accident, given how many destinations are judged.
    pub fn alarm(&self) -> f64 {
        threshold::FALSE_ALARM / self.judged.max(1) as f64
    }

    /// What one thing that was seen so often costs in an hour.
    pub fn per_hour_us(&self, total_us: u64) -> Option<u64> {
        (self.window_ns >= threshold::HOUR_FROM_NS).then(|| {
            let hours = self.window_ns as f64 / 3.6e12;
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a float that is not negative; beyond the range it saturates"
            )]
            let us = (total_us as f64 / hours) as u64;
            us
        })
    }

    /// Diagnoses for which nobody looked.
    pub fn unlooked(&self) -> Vec<(Id, &'static str)> {
        self.host_facts.missing()
    }
}

/// The row a client's flow was counted in.
pub fn client_key(flow: &Flow) -> DestKey {
    let event = flow.event();
    DestKey {
        cgroup_id: event.cgroup_id,
        remote: addr::bytes(flow.remote_ip()).0,
        port: event.remote_port,
        role: Role::Client as u8,
        family: event.family,
        pad: 0,
    }
}

/// Upper bound of the probability that `hits` or more of `tries` happen when each happens with probability `p`:
/// Chernoff's bound exp(-n KL(k/n, p)). 1 where the share is not above `p`.
pub fn chance(hits: u64, tries: u64, p: f64) -> f64 {
    if tries == 0 || hits == 0 {
        return 1.0;
    }
    let share = (hits as f64 / tries as f64).min(1.0);
    let p = p.clamp(1e-9, 1.0 - 1e-9);
    if share <= p {
        return 1.0;
    }
    let rest = if share < 1.0 {
        (1.0 - share) * ((1.0 - share) / (1.0 - p)).ln()
    } else {
        0.0
    };
    (-(tries as f64) * (share * (share / p).ln() + rest)).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_bounds_the_binomial_tail() {
        let close = |left: f64, right: f64| (left - right).abs() < 1e-3 * right;
        assert!(close(chance(2, 2, 0.02), 4e-4));
        assert!(close(chance(3, 3, 0.02), 8e-6));
        assert!(chance(3, 10, 0.02) > 8.6e-4, "the exact tail is 8.6e-4");
        assert!(chance(4, 10, 0.02) < 1.3e-4);
        for (hits, tries, p) in [(0, 10, 0.5), (0, 0, 0.5), (5, 10, 0.5), (1, 10, 0.9), (3, 3, 1.0)] {
            assert!(chance(hits, tries, p) > 0.99, "{hits} of {tries} at {p}");
        }
    }

    #[test]
    fn what_is_seen_outweighs_what_is_assumed() {
        let loss = |plain, plain_retrans| {
            Baseline {
                plain,
                plain_retrans,
                ..Baseline::default()
            }
            .loss()
        };
        assert!((loss(0, 0) - threshold::ASSUMED_LOSS).abs() < 1e-9);
        assert!(loss(1_000, 0) < 0.001);
        assert!((loss(20, 10) - 0.5).abs() < 1e-9, "never less than what was seen");
    }
}
