//! Which rule decides on a connection, and which guard watches it: the lookup of the egress program (tfo-ebpf,
//! `policy/lookup.rs`) once more, for display.

use std::net::IpAddr;

use super::{Installed, InstalledGuard};

/// The rules and guards in force at one instant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InForce {
    /// Rules, sorted by number. Expired ones are among them until a command removes them.
    pub rules: Vec<Installed>,
    /// Guards, sorted by path.
    pub guards: Vec<InstalledGuard>,
}

/// The rule that decides on connections of a cgroup to an address, at `now_ns` of `CLOCK_MONOTONIC`: the one with the
/// longest prefix, of the nearest cgroup with a matching rule. Ports play no part in this, see [`Installed::covers`].
pub fn decide<'a>(
    rules: &'a [Installed],
    cgroup: &str,
    remote: IpAddr,
    now_ns: u64,
) -> Option<&'a Installed> {
    let is_alive = |rule: &&Installed| !rule.is_expired(now_ns);
    let reaches =
        |rule: &&Installed| is_above(&rule.spec.cgroup.path, cgroup) && rule.spec.dst.contains(remote);
    // Both paths lie above the same cgroup: the longer one is nearer.
    let nearness = |rule: &&Installed| (rule.spec.cgroup.path.len(), rule.spec.dst.bits());
    rules.iter().filter(is_alive).filter(reaches).max_by_key(nearness)
}

/// The guard that watches connections of a cgroup: the one on the nearest cgroup.
pub fn watching_guard<'a>(guards: &'a [InstalledGuard], cgroup: &str) -> Option<&'a InstalledGuard> {
    let reaches = |guard: &&InstalledGuard| is_above(&guard.spec.cgroup.path, cgroup);
    guards
        .iter()
        .filter(reaches)
        .max_by_key(|guard| guard.spec.cgroup.path.len())
}

/// Whether `above` is the path of the other cgroup, or of one above it.
fn is_above(above: &str, cgroup: &str) -> bool {
    let above = above.trim_end_matches('/');
    cgroup
        .strip_prefix(above)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Installed {
    /// Whether the rule applies to connections to this port. Connections to other ports are left alone, also where a
    /// wider rule covers them.
    pub fn covers(&self, port: u16) -> bool {
        let ports = &self.spec.ports;
        ports.is_empty()
            || ports
                .iter()
                .any(|range| (range.first..=range.last).contains(&port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::sample;

    fn rule(id: u32, path: &str, dst: &str, expires_ns: u64) -> Installed {
        Installed {
            expires_ns,
            ..sample::rule(path, dst).on_ports(&["443"]).installed(id)
        }
    }

    #[test]
    fn the_nearest_cgroup_decides_then_the_longest_prefix() {
        let rules = [
            rule(1, "/", "0.0.0.0/0", 0),
            rule(2, "/a", "10.0.0.0/8", 0),
            rule(3, "/a", "10.1.0.0/16", 0),
            rule(4, "/a", "10.1.2.0/24", 50),
            rule(5, "/a/b", "10.0.0.0/8", 0),
        ];
        let table = [
            ("/", "10.1.2.3", 0, Some(1)),
            ("/ab", "10.1.2.3", 0, Some(1)),
            ("/a", "10.9.9.9", 0, Some(2)),
            ("/a", "10.1.2.3", 49, Some(4)),
            ("/a", "10.1.2.3", 50, Some(3)),
            ("/a/b", "10.1.2.3", 0, Some(5)),
            ("/a/b/c", "10.1.2.3", 0, Some(5)),
            ("/a/b", "192.0.2.1", 0, Some(1)),
            ("/a/b", "2001:db8::1", 0, None),
        ];
        for (cgroup, remote, now_ns, want) in table {
            let found = decide(&rules, cgroup, remote.parse().expect("an address"), now_ns);
            assert_eq!(found.map(|rule| rule.id), want, "{cgroup} {remote} {now_ns}");
        }
        assert!(rules[0].covers(443) && !rules[0].covers(80));
    }

    #[test]
    fn the_nearest_guard_watches() {
        let guards = [
            sample::guard("/a", 1),
            sample::guard("/a/b", 2),
            sample::guard("/ab", 3),
        ];
        for (cgroup, want) in [
            ("/", None),
            ("/a", Some(1)),
            ("/a/c", Some(1)),
            ("/a/b/c", Some(2)),
            ("/abc", None),
        ] {
            let found = watching_guard(&guards, cgroup).map(|guard| guard.spec.cgroup.id);
            assert_eq!(found, want, "{cgroup}");
        }
    }
}
