//! The operations that the dashboard offers on rules: add one for a service and a destination, or expire or remove the one
//! that decides there.

use std::{net::IpAddr, time::Duration};

use tfo_common::{PolicyAction, policy::PortRange};

use super::{CgroupRef, Change, Installed, Plan, RuleSpec, decide::decide};
use crate::addr::Prefix;

/// Note of the rules that the dashboard makes, so that lists show where they come from.
pub const NOTE: &str = "tfo-cli top";

/// A service and a destination, which a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// Id of the service's cgroup (cgroup v2).
    pub cgroup_id: u64,
    /// Remote address.
    pub remote: IpAddr,
    /// Remote port.
    pub port: u16,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Add a rule for the service and the destination.
    Add {
        /// What the rule does.
        action: PolicyAction,
        /// Whether it is for all ports instead of the one of the target.
        all_ports: bool,
        /// How long the rule lives; `None` until it is removed.
        ttl: Option<Duration>,
    },
    /// Give the rule that decides on the target this time to live from now on; `None` until it is removed.
    Expire(Option<Duration>),
    /// Remove the rule that decides on the target.
    Remove,
}

/// An operation, and the target it is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The service and the destination.
    pub target: Target,
    /// What to do.
    pub operation: Operation,
}

/// Why a request cannot be planned.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A rule for this cgroup and address is in force already.
    #[error("rule {} is there already: {}", .0.id, .0.spec)]
    Exists(Box<Installed>),
    /// No rule decides on the target, so that there is none to expire or remove.
    #[error("no rule decides on connections of {cgroup} to {remote}")]
    NoRule {
        /// Path of the service.
        cgroup: String,
        /// Remote address.
        remote: IpAddr,
    },
}

impl Refused {
    /// What the user can do instead.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Exists(_) => "expire or remove it first",
            Self::NoRule { .. } => "see `tfo-cli policy list`",
        }
    }
}

impl Request {
    /// The changes of the request. `cgroup` is that of the target with its present path, `rules` are those in force, and
    /// `now_ns` is `CLOCK_MONOTONIC`.
    pub fn plan(&self, cgroup: CgroupRef, rules: &[Installed], now_ns: u64) -> Result<Plan, Refused> {
        let change = match self.operation {
            Operation::Add {
                action,
                all_ports,
                ttl,
            } => {
                let spec = self.rule(cgroup, action, all_ports, ttl);
                return Plan::add(spec, rules).map_err(Refused::Exists);
            }
            Operation::Expire(ttl) => {
                let old = self.deciding_rule(&cgroup, rules, now_ns)?;
                let spec = RuleSpec {
                    ttl,
                    ..old.spec.clone()
                };
                Change::Replace(old.clone(), spec)
            }
            Operation::Remove => Change::Remove(self.deciding_rule(&cgroup, rules, now_ns)?.clone()),
        };
        Ok(Plan {
            changes: vec![change],
            unchanged: rules.len().saturating_sub(1),
            notes: Vec::new(),
        })
    }

    fn rule(
        &self,
        cgroup: CgroupRef,
        action: PolicyAction,
        all_ports: bool,
        ttl: Option<Duration>,
    ) -> RuleSpec {
        // Connections of v4-mapped addresses are IPv4 on the wire.
        let remote = self.target.remote.to_canonical();
        let port = PortRange {
            first: self.target.port,
            last: self.target.port,
        };
        RuleSpec {
            cgroup,
            dst: Prefix::new(remote, if remote.is_ipv4() { 32 } else { 128 }),
            ports: if all_ports { Vec::new() } else { vec![port] },
            action,
            ttl,
            note: NOTE.to_owned(),
        }
    }

    fn deciding_rule<'a>(
        &self,
        cgroup: &CgroupRef,
        rules: &'a [Installed],
        now_ns: u64,
    ) -> Result<&'a Installed, Refused> {
        let remote = self.target.remote.to_canonical();
        decide(rules, &cgroup.path, remote, now_ns).ok_or_else(|| Refused::NoRule {
            cgroup: cgroup.path.clone(),
            remote,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample;

    fn cgroup() -> CgroupRef {
        CgroupRef {
            path: "/a/b".into(),
            id: 7,
        }
    }

    fn request(remote: &str, operation: Operation) -> Request {
        let target = Target {
            cgroup_id: 7,
            remote: remote.parse().expect("an address"),
            port: 443,
        };
        Request { target, operation }
    }

    fn installed(id: u32, path: &str, cgroup: u64, dst: &str) -> Installed {
        let rule = sample::rule(path, dst).in_cgroup(cgroup).noted("ticket 4711");
        rule.installed(id)
    }

    fn shown(request: Request, rules: &[Installed]) -> String {
        let plan = request.plan(cgroup(), rules, 0).expect("there is a plan");
        let lines = plan
            .changes
            .iter()
            .map(|change| format!("{} {change}\n", change.sign()));
        format!("{}{}\n", lines.collect::<String>(), plan.summary())
    }

    #[test]
    fn a_rule_is_for_the_address_and_the_port_or_all() {
        let add = |all_ports, ttl| Operation::Add {
            action: PolicyAction::NoData,
            all_ports,
            ttl,
        };
        let hour = Some(Duration::from_hours(1));
        for (remote, operation, want) in [
            (
                "192.0.2.1",
                add(false, hour),
                "no-data for /a/b to 192.0.2.1/32 port 443 for 1h (tfo-cli top)",
            ),
            (
                "2001:db8::1",
                add(true, None),
                "no-data for /a/b to 2001:db8::1/128 (tfo-cli top)",
            ),
            (
                "::ffff:192.0.2.1",
                add(true, None),
                "no-data for /a/b to 192.0.2.1/32 (tfo-cli top)",
            ),
        ] {
            let plan = shown(request(remote, operation), &[]);
            assert_eq!(
                plan,
                format!("+ {want}\n1 to add, 0 to change, 0 to remove, 0 unchanged\n")
            );
        }
        let taken = installed(3, "/a/b", 7, "192.0.2.1/32");
        let refused = request("192.0.2.1", add(false, hour)).plan(cgroup(), &[taken], 0);
        let why = refused.expect_err("the place is taken").to_string();
        assert!(
            why.starts_with("rule 3 is there already: no-data for /a/b"),
            "{why}"
        );
    }

    #[test]
    fn the_rule_that_decides_is_expired_or_removed_and_keeps_the_rest() {
        let rules = [
            installed(1, "/", 1, "0.0.0.0/0"),
            installed(2, "/a", 5, "192.0.2.0/24"),
            installed(3, "/c", 9, "192.0.2.1/32"),
        ];
        assert_eq!(
            shown(request("192.0.2.1", Operation::Remove), &rules),
            "- rule 2: no-data for /a to 192.0.2.0/24 (ticket 4711)\n\
             0 to add, 0 to change, 1 to remove, 2 unchanged\n"
        );
        let ten = Some(Duration::from_mins(10));
        assert_eq!(
            shown(request("198.51.100.1", Operation::Expire(ten)), &rules),
            "~ rule 1: no-data for / to 0.0.0.0/0 for 10m (ticket 4711); \
             was no-data for / to 0.0.0.0/0 (ticket 4711)\n\
             0 to add, 1 to change, 0 to remove, 2 unchanged\n"
        );
        for operation in [Operation::Remove, Operation::Expire(None)] {
            let refused = request("2001:db8::1", operation).plan(cgroup(), &rules, 0);
            assert_eq!(
                refused.expect_err("there is none").to_string(),
                "no rule decides on connections of /a/b to 2001:db8::1"
            );
        }
    }
}
