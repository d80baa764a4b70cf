//! `tfo-cli doctor`: the checks of a host, made of facts that [`crate::kernel::doctor`] gathers. Without I/O.
//!
//! Every check has a stable id, a status, one line and, unless it passes, the exact fix. A fact that could not be read is
//! named, and is no failure.

mod firewall;
mod headline;
mod host;
mod network;
mod own;

#[cfg(test)]
pub(crate) mod tests;

use std::{path::PathBuf, time::Duration};

pub use self::firewall::{FirewallRule, iptables, nft};
use super::{
    cookies::Entry,
    listeners::{Listener, Settings},
    places::{Netns, Unseen},
};
use crate::model::source::Mib;

/// The result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be, or not known.
    Pass,
    /// Works, but not as well as it could; or something that the user should know.
    Warn,
    /// Fast Open, or a part of this tool, does not work because of it.
    Fail,
}

impl Status {
    /// The name that every output uses.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A check and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable name, in kebab case. No two checks have both the id and the namespace in common.
    pub id: &'static str,
    /// The result.
    pub status: Status,
    /// The network namespace it is about; `None` for the whole host.
    pub netns: Option<Netns>,
    /// The explanation, one line.
    pub what: String,
    /// A command or setting that mends it; `None` when it passes or nothing is known to help.
    pub fix: Option<String>,
}

impl Check {
    fn pass(id: &'static str, what: impl Into<String>) -> Self {
        Self {
            id,
            status: Status::Pass,
            netns: None,
            what: what.into(),
            fix: None,
        }
    }

    fn bad(id: &'static str, status: Status, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            status,
            fix: Some(fix.into()),
            ..Self::pass(id, what)
        }
    }

    fn warn(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::bad(id, Status::Warn, what, fix)
    }

    fn fail(id: &'static str, what: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::bad(id, Status::Fail, what, fix)
    }

    fn not_looked_at(id: &'static str, why: &str) -> Self {
        Self::pass(id, format!("not looked at: {why}"))
    }

    fn within(self, netns: &Netns) -> Self {
        Self {
            netns: Some(netns.clone()),
            ..self
        }
    }
}

/// A fact, or why it could not be read.
pub type Fact<T> = Result<T, String>;

/// The facts that the checks are made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `kernel.osrelease`.
    pub kernel: String,
    /// Members of kernel structures that the programs need and this kernel lacks: their names, and what is missed.
    pub layout: Fact<Vec<(String, String)>>,
    /// Tracepoints and iterators that this kernel lacks.
    pub missing_hooks: Fact<Vec<&'static str>>,
    /// Whether the BPF programs are inside this binary.
    pub has_object: bool,
    /// Mounts that matter.
    pub mounts: Mounts,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// `/sys/kernel/security/lockdown`: `[none] integrity confidentiality`.
    pub lockdown: Option<String>,
    /// Label of this process by its security module; `None` without one.
    pub label: Option<Label>,
    /// Whether the BPF file system can be read.
    pub bpffs: Fact<()>,
    /// Network namespaces.
    pub places: Vec<PlaceFacts>,
    /// Network namespaces that could not be read.
    pub unseen: Unseen,
    /// How long the kernel's counters were observed; zero when they were not.
    pub watched: Duration,
    /// Listening sockets of all namespaces.
    pub listeners: Vec<Listener>,
    /// Loaded BPF programs of others of the kinds that we use: id, name and kind.
    pub programs: Fact<Vec<(u32, String, &'static str)>>,
    /// The pin directory of the policy.
    pub pins: PathBuf,
    /// What is pinned there.
    pub policy: PolicyFacts,
}

/// The mounts that the programs need or that stand in their way.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// Mount point of cgroup v2.
    pub cgroup2: Option<PathBuf>,
    /// Whether controllers of cgroup v1 are mounted.
    pub cgroup1: bool,
    /// Mount point of a BPF file system.
    pub bpffs: Option<PathBuf>,
}

/// The label that a security module gives this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// `AppArmor` or `SELinux`.
    pub module: &'static str,
    /// The label as the kernel writes it: `docker-default (enforce)`, `system_u:system_r:container_t:s0`.
    pub text: String,
    /// Whether the security module enforces its rules on it.
    pub is_enforced: bool,
}

/// The facts of a network namespace.
#[derive(Clone, Debug)]
pub struct PlaceFacts {
    /// The namespace.
    pub netns: Netns,
    /// Whether it is the one that this program runs in.
    pub is_own: bool,
    /// Its sysctls that matter to Fast Open.
    pub settings: Settings,
    /// Its counters at the beginning and at the end of the observation.
    pub mib: (Mib, Mib),
    /// The entries of its cookie cache.
    pub cookies: Fact<Vec<Entry>>,
    /// Its firewall rules that affect Fast Open.
    pub firewall: Fact<Vec<FirewallRule>>,
    /// Its queueing disciplines that may drop or rewrite packets: interface and kind.
    pub qdiscs: Fact<Vec<(String, String)>>,
}

/// What tfo-cli has pinned in the pin directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFacts {
    /// Nothing.
    None,
    /// A policy of this version is in force.
    InForce {
        /// Number of rules.
        rules: usize,
        /// Number of guards.
        guards: usize,
        /// Its programs are those of this build.
        is_current: bool,
    },
    /// A policy that this version cannot read.
    OtherVersion(String),
    /// Pins that a killed command left; no policy is in force.
    HalfMade,
    /// The directory could not be read.
    NotLookedAt(String),
}

/// Makes every check. The first says whether Fast Open is on, and whether it worked.
pub fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![headline::headline(facts)];
    checks.extend(host::checks(facts));
    checks.extend(network::checks(facts));
    checks.extend(own::checks(facts));
    checks
}

/// Whether a check fails.
pub fn has_failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.status == Status::Fail)
}

/// The first `most` names as text, and how many more there are.
fn first_of(names: &[String], most: usize) -> String {
    let shown = names[..most.min(names.len())].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
