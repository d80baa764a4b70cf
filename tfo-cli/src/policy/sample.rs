//! Rules and guards for tests: a test sets the parts it is about, the others have a value that does not matter.

use tfo_common::{PolicyAction, policy::Hits};

use super::{CgroupRef, GuardSpec, Installed, InstalledGuard, RuleSpec, guard::Settings, rule};

/// A rule that denies data on every port and does not expire. Its cgroup has the id 1.
pub(crate) fn rule(path: &str, dst: &str) -> RuleSpec {
    RuleSpec {
        cgroup: CgroupRef {
            path: path.into(),
            id: 1,
        },
        dst: rule::destination(dst).expect("a network"),
        ports: Vec::new(),
        action: PolicyAction::NoData,
        ttl: None,
        note: String::new(),
    }
}

impl RuleSpec {
    /// The same rule for the cgroup with this id.
    pub(crate) fn in_cgroup(mut self, id: u64) -> Self {
        self.cgroup.id = id;
        self
    }

    /// The same rule for some ports only.
    pub(crate) fn on_ports(mut self, ports: &[&str]) -> Self {
        let ranges = ports.iter().map(|text| rule::port_range(text).expect("a port"));
        self.ports = ranges.collect();
        self
    }

    /// The same rule with another action.
    pub(crate) fn doing(mut self, action: PolicyAction) -> Self {
        self.action = action;
        self
    }

    /// The same rule with a note.
    pub(crate) fn noted(mut self, note: &str) -> Self {
        self.note = note.into();
        self
    }

    /// The rule in force with this number, made by root at time 0, without hits.
    pub(crate) fn installed(self, id: u32) -> Installed {
        Installed {
            spec: self,
            id,
            created_ns: 0,
            expires_ns: 0,
            by: "root".into(),
            hits: Hits::default(),
        }
    }
}

/// A guard in force with the default settings.
pub(crate) fn guard(path: &str, cgroup_id: u64) -> InstalledGuard {
    InstalledGuard {
        spec: GuardSpec {
            cgroup: CgroupRef {
                path: path.into(),
                id: cgroup_id,
            },
            settings: Settings::default(),
        },
        created_ns: 0,
        by: "root".into(),
    }
}
