//! Records of `trace --format json`, typed: a missing or mistyped field is an error.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;
use serde_json::Value;

/// One flow, schema 1.
#[derive(Clone, Debug, Deserialize)]
pub struct Flow {
    pub ts: String,
    pub role: Role,
    pub outcome: String,
    pub family: u8,
    pub local_addr: IpAddr,
    pub local_port: u16,
    pub remote_addr: IpAddr,
    pub remote_port: u16,
    pub netns: Option<u64>,
    pub cgroup_id: Option<u64>,
    pub cgroup: Option<String>,
    pub pid: Option<u32>,
    pub comm: Option<String>,
    pub tfo_requested: bool,
    pub option_sent: String,
    pub option_kind: Option<u8>,
    pub syn_data_len: usize,
    pub syn_data_acked: usize,
    pub cookie_received: bool,
    pub syn_retrans: u32,
    pub handshake_us: Option<u64>,
    pub ttfb_us: Option<u64>,
    pub rtt_us: Option<u64>,
    pub saved_us: u64,
    pub lost_us: u64,
    pub cookie: Option<String>,
}

/// Which end the host was.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Hash)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Client,
    Server,
}

impl Role {
    /// As totals have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What tells the two ends of all connections apart: a connection over loopback has both in one namespace.
pub type Key = (Option<u64>, Role, SocketAddr, SocketAddr);

impl Flow {
    pub fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr, self.local_port)
    }

    pub fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_addr, self.remote_port)
    }

    pub fn key(&self) -> Key {
        (self.netns, self.role, self.local(), self.remote())
    }
}

/// Flows by connection and end.
pub fn by_connection(flows: &[Flow]) -> HashMap<Key, Vec<&Flow>> {
    let mut map: HashMap<Key, Vec<&Flow>> = HashMap::new();
    for flow in flows {
        map.entry(flow.key()).or_default().push(flow);
    }
    map
}

/// The last record.
#[derive(Clone, Debug, Deserialize)]
pub struct Summary {
    pub events: u64,
    pub printed: u64,
    pub lost: BTreeMap<String, u64>,
    /// By role, then outcome.
    pub totals: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Summary {
    /// Handshakes of this role and outcome.
    pub fn total(&self, role: &str, outcome: &str) -> u64 {
        self.totals
            .get(role)
            .and_then(|outcomes| outcomes.get(outcome))
            .copied()
            .unwrap_or(0)
    }

    /// All handshakes counted, with or without those that had nothing to do with TFO.
    pub fn sum(&self, with_plain: bool) -> u64 {
        let outcomes = self.totals.values().flatten();
        outcomes
            .filter(|(outcome, _)| with_plain || *outcome != "plain")
            .map(|(_, count)| count)
            .sum()
    }

    /// Losses of this reason.
    pub fn lost(&self, reason: &str) -> u64 {
        self.lost.get(reason).copied().unwrap_or(0)
    }

    /// Losses that are not zero.
    pub fn losses(&self) -> Vec<(&str, u64)> {
        let losses = self.lost.iter().filter(|(_, count)| **count > 0);
        losses.map(|(reason, count)| (reason.as_str(), *count)).collect()
    }
}

/// Fields that must be there, whatever their value.
const FIELDS: [&str; 29] = [
    "schema",
    "type",
    "ts",
    "role",
    "outcome",
    "family",
    "local_addr",
    "local_port",
    "remote_addr",
    "remote_port",
    "netns",
    "cgroup_id",
    "cgroup",
    "unit",
    "container",
    "pid",
    "comm",
    "tfo_requested",
    "option_sent",
    "option_kind",
    "syn_data_len",
    "syn_data_acked",
    "cookie_received",
    "syn_retrans",
    "handshake_us",
    "ttfb_us",
    "saved_us",
    "lost_us",
    "policy",
];

/// A line that must be a flow.
pub fn flow(line: &str) -> Result<Flow> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    ensure!(
        value["schema"] == 1 && value["type"] == "flow",
        "not a flow of schema 1: {line}"
    );
    // serde takes an absent field for null; the schema does not.
    let absent: Vec<_> = FIELDS.iter().filter(|field| value.get(field).is_none()).collect();
    ensure!(absent.is_empty(), "{absent:?} absent in {line}");
    serde_json::from_value(value).with_context(|| format!("not a flow: {line}"))
}

/// A line that must be the summary.
pub fn summary(line: &str) -> Result<Summary> {
    let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
    ensure!(
        value["schema"] == 1 && value["type"] == "summary",
        "not a summary of schema 1: {line}"
    );
    serde_json::from_value(value).with_context(|| format!("not a summary: {line}"))
}
