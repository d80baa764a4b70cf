//! What filters can be applied to: flows, rows of the destination table, and what they lead to.

use std::net::IpAddr;

use tfo_common::{Outcome, Role};

use super::{
    diagnosis::Subject,
    filter::{Filterable, Metric},
    flow::Flow,
    processes::Process,
    row::DestRow,
    source::CgroupName,
};

/// A flow and where its cgroup leads.
#[derive(Debug)]
pub struct FilterableFlow<'a> {
    /// The flow.
    pub flow: &'a Flow,
    /// Its cgroup, if known.
    pub cgroup: Option<&'a CgroupName>,
    /// What the network of the other end is called.
    pub network: Option<&'a str>,
}

impl Filterable for FilterableFlow<'_> {
    fn role(&self) -> Option<Role> {
        Some(self.flow.role())
    }

    fn family(&self) -> Option<u8> {
        Some(self.flow.event().family)
    }

    fn remote(&self) -> Option<IpAddr> {
        Some(self.flow.remote_ip())
    }

    fn port(&self) -> Option<u16> {
        Some(match self.flow.role() {
            Role::Client => self.flow.event().remote_port,
            Role::Server => self.flow.event().local_port,
        })
    }

    fn has_outcome(&self, outcome: Outcome) -> bool {
        self.flow.outcome() == outcome
    }

    fn any_process(&self, test: &mut dyn FnMut(u32, &str) -> bool) -> bool {
        let comm = self.flow.comm();
        (self.flow.pid().is_some() || comm.is_some())
            && test(self.flow.pid().unwrap_or(0), comm.as_deref().unwrap_or_default())
    }

    fn cgroup(&self) -> Option<&CgroupName> {
        self.cgroup
    }

    fn network(&self) -> Option<&str> {
        self.network
    }

    fn metric(&self, metric: Metric) -> Option<f64> {
        let event = self.flow.event();
        match metric {
            Metric::Lost => Some(f64::from(event.lost_us)),
            Metric::Saved => Some(f64::from(event.saved_us)),
            Metric::Net => Some(f64::from(event.saved_us) - f64::from(event.lost_us)),
            Metric::Rtt => self.flow.rtt_us().map(f64::from),
            Metric::Ttfb => self.flow.ttfb_us().map(f64::from),
            Metric::Handshake => self.flow.handshake_us().map(f64::from),
            Metric::Syn => Some(f64::from(event.syn_data_len)),
            Metric::Retrans => Some(f64::from(event.syn_retrans)),
            Metric::Attempts | Metric::Hit | Metric::Failures => None,
        }
    }
}

/// A row of the destination table. The table does not know processes: those of its service stand in.
#[derive(Debug)]
pub struct FilterableRow<'a> {
    /// The row.
    pub row: &'a DestRow,
    /// Its cgroup, if known.
    pub cgroup: Option<&'a CgroupName>,
    /// Processes seen in that cgroup.
    pub processes: &'a [Process],
    /// What the network of the other end is called.
    pub network: Option<&'a str>,
}

impl Filterable for FilterableRow<'_> {
    fn role(&self) -> Option<Role> {
        Some(self.row.role())
    }

    fn family(&self) -> Option<u8> {
        Some(self.row.key.family)
    }

    fn remote(&self) -> Option<IpAddr> {
        Some(self.row.remote())
    }

    fn port(&self) -> Option<u16> {
        Some(self.row.key.port)
    }

    fn has_outcome(&self, outcome: Outcome) -> bool {
        self.row.count(outcome) > 0
    }

    fn any_process(&self, test: &mut dyn FnMut(u32, &str) -> bool) -> bool {
        self.processes
            .iter()
            .any(|process| test(process.pid, &process.comm))
    }

    fn cgroup(&self) -> Option<&CgroupName> {
        self.cgroup
    }

    fn network(&self) -> Option<&str> {
        self.network
    }

    fn metric(&self, metric: Metric) -> Option<f64> {
        match metric {
            Metric::Lost => Some(self.row.lost_us as f64),
            Metric::Saved => Some(self.row.saved_us as f64),
            Metric::Net => Some(self.row.saved_us as f64 - self.row.lost_us as f64),
            Metric::Rtt => self.row.rtt_us().map(|us| us as f64),
            Metric::Attempts => Some(self.row.attempts() as f64),
            Metric::Hit => self.row.hit_rate().map(|share| share * 100.0),
            Metric::Failures => Some(self.row.failures() as f64),
            Metric::Syn => Some(self.row.syn_bytes as f64),
            Metric::Retrans => Some(f64::from(self.row.plain_retrans)),
            Metric::Ttfb | Metric::Handshake => None,
        }
    }
}

/// What a finding is about that rests on no row: a connect that was never made, a listener nobody reached. Of its
/// connections nothing is known.
#[derive(Debug)]
pub struct FilterableSubject<'a> {
    /// What it is about.
    pub subject: &'a Subject,
    /// Its cgroup, if known.
    pub cgroup: Option<&'a CgroupName>,
    /// Processes seen in that cgroup.
    pub processes: &'a [Process],
    /// What the network of the other end is called.
    pub network: Option<&'a str>,
}

impl Filterable for FilterableSubject<'_> {
    fn role(&self) -> Option<Role> {
        self.subject.role()
    }

    fn family(&self) -> Option<u8> {
        self.remote().map(|remote| if remote.is_ipv4() { 4 } else { 6 })
    }

    fn remote(&self) -> Option<IpAddr> {
        match self.subject {
            Subject::Destination { remote, .. } => Some(*remote),
            Subject::Service { .. } | Subject::Listener { .. } | Subject::Host { .. } => None,
        }
    }

    fn port(&self) -> Option<u16> {
        match self.subject {
            Subject::Destination { port, .. } => *port,
            Subject::Listener { port, .. } => Some(*port),
            Subject::Service { .. } | Subject::Host { .. } => None,
        }
    }

    fn has_outcome(&self, _outcome: Outcome) -> bool {
        false
    }

    fn any_process(&self, test: &mut dyn FnMut(u32, &str) -> bool) -> bool {
        let mut processes = self.processes.iter();
        processes.any(|process| test(process.pid, &process.comm))
    }

    fn cgroup(&self) -> Option<&CgroupName> {
        self.cgroup
    }

    fn network(&self) -> Option<&str> {
        self.network
    }

    fn metric(&self, _metric: Metric) -> Option<f64> {
        None
    }
}
