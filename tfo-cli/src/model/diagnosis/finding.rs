//! One finding: what, where, by which evidence, at what price, and what mends it.

mod build;

use std::{cmp::Ordering, net::IpAddr};

use tfo_common::{DestKey, Role};

use super::registry::{Id, Severity};
use crate::model::Flow;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// Which diagnosis.
    pub id: Id,
    /// How bad it is here: never worse than the registry says.
    pub severity: Severity,
    /// What it is about.
    pub subject: Subject,
    /// Rows of the destination table it is about, worst first.
    pub rows: Vec<DestKey>,
    /// What is the matter, in one sentence with the numbers of this case.
    pub sentence: String,
    /// What it rests on.
    pub evidence: Evidence,
    /// Other explanations, and why they do not hold.
    pub excluded: Vec<String>,
    /// Other explanations that could not be ruled out.
    pub or_else: Vec<String>,
    /// How sure it is.
    pub confidence: Confidence,
    /// What it costs.
    pub cost: Option<Cost>,
    /// What mends it.
    pub fix: Option<Fix>,
    /// Nothing of it happened in the latest attempts: it is over, and only told.
    pub is_over: bool,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// Connections of a service to a destination.
    Destination {
        /// cgroup v2 id of the service; `None` where all services of this host have it.
        cgroup_id: Option<u64>,
        /// The other end.
        remote: IpAddr,
        /// Its port; `None` for all of them, as with cookies, which belong to addresses.
        port: Option<u16>,
    },
    /// A service as a whole.
    Service {
        /// cgroup v2 id.
        cgroup_id: u64,
    },
    /// A listening socket.
    Listener {
        /// cgroup v2 id of its owner; 0 where unknown.
        cgroup_id: u64,
        /// Network namespace inode, if known.
        netns: Option<u32>,
        /// Address it is bound to, if known.
        local: Option<IpAddr>,
        /// Its port.
        port: u16,
    },
    /// This host, or one of its network namespaces.
    Host {
        /// The namespace, if it is about one.
        netns: Option<u32>,
    },
}

impl Subject {
    /// cgroup v2 id of the service it is about, if it is about one.
    pub fn cgroup_id(&self) -> Option<u64> {
        match *self {
            Subject::Destination { cgroup_id, .. } => cgroup_id,
            Subject::Service { cgroup_id } | Subject::Listener { cgroup_id, .. } => Some(cgroup_id),
            Subject::Host { .. } => None,
        }
        .filter(|id| *id != 0)
    }

    /// Which end this host is, where that is a question.
    pub fn role(&self) -> Option<Role> {
        match self {
            Subject::Destination { .. } => Some(Role::Client),
            Subject::Listener { .. } => Some(Role::Server),
            Subject::Service { .. } | Subject::Host { .. } => None,
        }
    }
}

/// What a finding rests on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Counts by name; the names are outcomes, or say what was counted.
    pub counts: Vec<(&'static str, u64)>,
    /// The same in words, one line each.
    pub lines: Vec<String>,
    /// How long was counted, ns.
    pub window_ns: u64,
    /// One connection that shows it: the latest.
    pub example: Option<Flow>,
}

/// How sure a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Confidence {
    /// It fits; something else may fit too.
    Low,
    /// It fits, and nothing seen speaks against it.
    Medium,
    /// It fits, and what could be compared with was compared.
    High,
}

impl Confidence {
    /// The word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Confidence::Low => "low",
            Confidence::Medium => "medium",
            Confidence::High => "high",
        }
    }
}

/// What a finding costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cost {
    /// Lost, or only not gained.
    pub kind: CostKind,
    /// Per connection it happens to, us.
    pub per_connection_us: u64,
    /// Per hour at the rate seen, us; `None` where too little time was watched to say.
    pub per_hour_us: Option<u64>,
}

/// What kind of cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CostKind {
    /// Time connections would not spend without Fast Open.
    Lost,
    /// Time Fast Open would save and does not.
    NotSaved,
}

impl CostKind {
    /// The word every output uses.
    pub const fn name(self) -> &'static str {
        match self {
            CostKind::Lost => "lost",
            CostKind::NotSaved => "not-saved",
        }
    }
}

/// What mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// A command or a setting, as it is typed; `None` where there is nothing to type.
    pub command: Option<String>,
    /// What it does, or what to do instead of a command.
    pub what: String,
    /// How to take it back.
    pub undo: String,
    /// It is a policy rule for the destination: the dashboard can make it.
    pub is_rule: bool,
}

impl Finding {
    /// Worst first: severity, then time lost per hour, then the order of the registry.
    pub fn compare(left: &Self, right: &Self) -> Ordering {
        let cost = |finding: &Self| {
            finding
                .cost
                .map_or(0, |cost| cost.per_hour_us.unwrap_or(cost.per_connection_us))
        };
        right
            .severity
            .cmp(&left.severity)
            .then(cost(right).cmp(&cost(left)))
            .then(left.id.cmp(&right.id))
            .then(
                left.rows
                    .first()
                    .map(sortable)
                    .cmp(&right.rows.first().map(sortable)),
            )
    }
}

fn sortable(key: &DestKey) -> (u8, [u8; 16], u16, u64) {
    (key.role, key.remote, key.port, key.cgroup_id)
}
