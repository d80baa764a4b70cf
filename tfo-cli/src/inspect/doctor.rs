//! `tfo-cli doctor`: what was found on a host, and what it means. Pure: [`crate::kernel::doctor`] gathers the facts.
//!
//! Every check has an id that stays, a status, one line and, unless it passes, the exact fix. What could not be looked
//! at is said so, and is no failure.

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

/// What a check says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    /// As it should be, or not looked at.
    Pass,
    /// Works, but not as well as it could; or something to know.
    Warn,
    /// Fast Open, or a part of this tool, does not work because of it.
    Fail,
}

impl Status {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Stable, kebab-case; with the namespace it is there once.
    pub id: &'static str,
    /// The verdict.
    pub status: Status,
    /// The network namespace it is about, if it is about one.
    pub netns: Option<Netns>,
    /// One line.
    pub what: String,
    /// A command or setting that ends it.
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

/// What was seen, or why nothing was.
pub type Look<T> = Result<T, String>;

/// Everything that was found.
#[derive(Clone, Debug)]
pub struct Facts {
    /// `kernel.osrelease`.
    pub kernel: String,
    /// What the programs need of the kernel's structures: what is missing, by name and consequence.
    pub layout: Look<Vec<(String, String)>>,
    /// Tracepoints and iterators this kernel lacks.
    pub missing_hooks: Look<Vec<&'static str>>,
    /// The programs are inside this binary.
    pub has_object: bool,
    /// Mounts that matter.
    pub mounts: Mounts,
    /// Effective capabilities, as bits.
    pub capabilities: u64,
    /// `/sys/kernel/security/lockdown`: `[none] integrity confidentiality`.
    pub lockdown: Option<String>,
    /// Label of this process, by its security module.
    pub label: Option<Label>,
    /// Reading the BPF file system.
    pub bpffs: Look<()>,
    /// Network namespaces.
    pub places: Vec<PlaceFacts>,
    /// Those not looked at.
    pub unseen: Unseen,
    /// How long the counters were watched.
    pub watched: Duration,
    /// Listening sockets of all of them.
    pub listeners: Vec<Listener>,
    /// Loaded BPF programs of others on the hooks we use: id, name and kind.
    pub programs: Look<Vec<(u32, String, &'static str)>>,
    /// Pin directory.
    pub pins: PathBuf,
    /// The policy.
    pub policy: PolicyFacts,
}

/// Mounts that matter, out of a mount table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mounts {
    /// cgroup v2.
    pub cgroup2: Option<PathBuf>,
    /// cgroup v1 controllers are mounted.
    pub cgroup1: bool,
    /// A BPF file system.
    pub bpffs: Option<PathBuf>,
}

/// What a security module calls this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Label {
    /// `AppArmor` or `SELinux`.
    pub module: &'static str,
    /// As the kernel writes it: `docker-default (enforce)`, `system_u:system_r:container_t:s0`.
    pub text: String,
    /// Whether it forbids anything.
    pub is_enforced: bool,
}

/// One network namespace.
#[derive(Clone, Debug)]
pub struct PlaceFacts {
    /// Which.
    pub netns: Netns,
    /// The one this program runs in.
    pub is_own: bool,
    /// Its sysctls.
    pub settings: Settings,
    /// Counters at the beginning and at the end of the time they were watched.
    pub mib: (Mib, Mib),
    /// Its cookie cache.
    pub cookies: Look<Vec<Entry>>,
    /// Rules on Fast Open.
    pub firewall: Look<Vec<FirewallRule>>,
    /// Queueing disciplines that may drop or rewrite: interface and kind.
    pub qdiscs: Look<Vec<(String, String)>>,
}

/// What of ours is pinned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PolicyFacts {
    /// Nothing.
    None,
    /// Rules and guards of this version, in force.
    InForce {
        /// Rules.
        rules: usize,
        /// Guards.
        guards: usize,
        /// Its programs are those of this build.
        is_current: bool,
    },
    /// A policy this version cannot read.
    OtherVersion(String),
    /// Pins of a command that was killed; nothing is in force.
    HalfMade,
    /// Nobody could look.
    NotLookedAt(String),
}

/// Every check; the first says whether Fast Open is on here, and whether it worked.
pub fn examine(facts: &Facts) -> Vec<Check> {
    let mut checks = vec![headline::headline(facts)];
    checks.extend(host::checks(facts));
    checks.extend(network::checks(facts));
    checks.extend(own::checks(facts));
    checks
}

/// Whether one of them fails.
pub fn has_failed(checks: &[Check]) -> bool {
    checks.iter().any(|check| check.status == Status::Fail)
}

/// The first `most` names, and how many more there are.
fn first_of(names: &[String], most: usize) -> String {
    let shown = names[..most.min(names.len())].join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
