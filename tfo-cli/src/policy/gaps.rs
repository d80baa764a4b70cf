//! Gaps: ports that no rule applies to, although a wider rule seems to cover them. One rule alone decides on a
//! destination, whatever its ports are (tfo-ebpf, `policy/lookup.rs`): ports that it leaves alone are not passed on to a
//! wider rule. Users expect otherwise, so plans point it out.

use std::{
    collections::{BTreeSet, HashMap},
    fmt, iter,
};

use super::RuleSpec;
use crate::addr::Prefix;

/// A rule for some ports only, which keeps a wider rule from denying data on the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap<'a> {
    /// The rule that decides on its destinations.
    pub narrow: &'a RuleSpec,
    /// The rule that would decide on them without it.
    pub wide: &'a RuleSpec,
}

impl fmt::Display for Gap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} decides there alone: ports it does not name are not under {}",
            self.narrow, self.wide
        )
    }
}

/// The gaps among rules that are in force together.
pub fn gaps<'a>(rules: impl IntoIterator<Item = &'a RuleSpec> + Clone) -> Vec<Gap<'a>> {
    let mut by_place: HashMap<(&str, Prefix), &RuleSpec> = HashMap::new();
    // Few prefix lengths are in use: one lookup for each of them, the longest first, is enough.
    let mut lengths = BTreeSet::new();
    for rule in rules.clone() {
        by_place.insert((&rule.cgroup.path, rule.dst), rule);
        lengths.insert(rule.dst.bits());
    }
    let next_best = |narrow: &RuleSpec| {
        lineage(&narrow.cgroup.path).find_map(|path| {
            let wider = lengths.range(..=narrow.dst.bits()).rev();
            wider
                .filter(|bits| path != narrow.cgroup.path || **bits < narrow.dst.bits())
                .find_map(|bits| by_place.get(&(path, Prefix::new(narrow.dst.address(), *bits).network())))
                .copied()
        })
    };
    rules
        .into_iter()
        .filter(|rule| !rule.ports.is_empty())
        .filter_map(|narrow| next_best(narrow).map(|wide| Gap { narrow, wide }))
        .filter(|gap| gap.wide.action.denies_data() && !gap.is_covered())
        .collect()
}

impl Gap<'_> {
    /// Whether the narrow rule applies to every port that the wide one applies to. The port ranges of a rule are sorted
    /// and do not touch.
    fn is_covered(&self) -> bool {
        let inside = |wide: &tfo_common::policy::PortRange| {
            let narrow = &self.narrow.ports;
            narrow
                .iter()
                .any(|range| range.first <= wide.first && wide.last <= range.last)
        };
        !self.wide.ports.is_empty() && self.wide.ports.iter().all(inside)
    }
}

/// The path of a cgroup and those of the cgroups above it, the nearest first.
fn lineage(path: &str) -> impl Iterator<Item = &str> {
    iter::successors(Some(path), |path| {
        let (above, name) = path.rsplit_once('/')?;
        match (above, name) {
            ("", "") => None,
            ("", _) => Some("/"),
            (above, _) => Some(above),
        }
    })
}

#[cfg(test)]
mod tests {
    use tfo_common::PolicyAction;

    use super::*;
    use crate::policy::sample;

    fn rule(path: &str, dst: &str, ports: &[&str], action: PolicyAction) -> RuleSpec {
        sample::rule(path, dst).on_ports(ports).doing(action)
    }

    #[test]
    fn a_path_and_those_above() {
        let of = |path| lineage(path).collect::<Vec<_>>();
        assert_eq!(of("/a/b"), ["/a/b", "/a", "/"]);
        assert_eq!(of("/"), ["/"]);
    }

    #[test]
    fn gaps_below_wider_rules_are_found() {
        use PolicyAction::{NoData, Observe, Strip};
        let narrow = |ports: &[&str]| rule("/a/b", "10.1.0.0/16", ports, NoData);
        // The narrow rule, the other rules, and the index of the wide one among them.
        let table = [
            (
                narrow(&["443"]),
                vec![rule("/a/b", "10.0.0.0/8", &[], NoData)],
                Some(0),
            ),
            (
                narrow(&["443"]),
                vec![rule("/a", "10.0.0.0/8", &[], Strip)],
                Some(0),
            ),
            (
                narrow(&["443"]),
                vec![rule("/", "0.0.0.0/0", &["80"], NoData)],
                Some(0),
            ),
            // The same place in a cgroup above.
            (
                narrow(&["443"]),
                vec![rule("/a", "10.1.0.0/16", &[], NoData)],
                Some(0),
            ),
            // The nearest cgroup counts, and in it the longest prefix.
            (
                narrow(&["443"]),
                vec![
                    rule("/", "10.1.0.0/16", &[], NoData),
                    rule("/a", "0.0.0.0/0", &[], NoData),
                    rule("/a", "10.0.0.0/8", &[], NoData),
                ],
                Some(2),
            ),
            // The narrow rule applies to all ports.
            (narrow(&[]), vec![rule("/a", "10.0.0.0/8", &[], NoData)], None),
            // The wide rule applies to no other ports.
            (
                narrow(&["400-500"]),
                vec![rule("/a", "10.0.0.0/8", &["443", "450-460"], NoData)],
                None,
            ),
            (
                narrow(&["400-450"]),
                vec![rule("/a", "10.0.0.0/8", &["443", "450-460"], NoData)],
                Some(0),
            ),
            // The wide rule denies nothing.
            (
                narrow(&["443"]),
                vec![rule("/a", "10.0.0.0/8", &[], Observe)],
                None,
            ),
            // The other rule is not above the narrow one.
            (
                narrow(&["443"]),
                vec![rule("/a/bc", "10.0.0.0/8", &[], NoData)],
                None,
            ),
            (
                narrow(&["443"]),
                vec![rule("/a", "192.0.2.0/24", &[], NoData)],
                None,
            ),
            (narrow(&["443"]), vec![rule("/a", "::/0", &[], NoData)], None),
            (
                narrow(&["443"]),
                vec![rule("/a", "10.1.2.0/24", &[], NoData)],
                None,
            ),
        ];
        for (narrow, others, want) in table {
            let all: Vec<&RuleSpec> = iter::once(&narrow).chain(&others).collect();
            let found = gaps(all.iter().copied());
            let found: Vec<_> = found.iter().map(|gap| (gap.narrow, gap.wide)).collect();
            let want: Vec<_> = want.map(|place| (&narrow, &others[place])).into_iter().collect();
            assert_eq!(found, want, "{narrow} below {others:?}");
        }
    }
}
