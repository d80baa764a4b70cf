//! The changes that lead from the policy in force to the one that is wanted. New and changed rules and guards come first
//! and removals last, so that no destination is without its rule in between.

use std::{
    collections::{HashMap, HashSet},
    fmt,
};

use tfo_common::policy::Hits;

use super::{GuardSpec, InForce, Installed, InstalledGuard, RuleSpec, gaps::gaps};

/// One change of the policy. A change of a rule takes effect by one system call: whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Add a rule.
    Add(RuleSpec),
    /// Put a rule in the place of another.
    Replace(Installed, RuleSpec),
    /// Remove a rule.
    Remove(Installed),
    /// Add a guard, or give one other settings.
    Guard(GuardSpec),
    /// Remove a guard.
    Unguard(InstalledGuard),
}

impl Change {
    /// The sign in front of the change in a plan: `+` for new, `~` for changed, `-` for removed.
    pub fn sign(&self) -> char {
        match self {
            Self::Add(_) | Self::Guard(_) => '+',
            Self::Replace(..) => '~',
            Self::Remove(_) | Self::Unguard(_) => '-',
        }
    }

    /// The name of the change in JSON.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Add(_) => "add",
            Self::Replace(..) => "replace",
            Self::Remove(_) => "remove",
            Self::Guard(_) => "guard",
            Self::Unguard(_) => "unguard",
        }
    }

    /// The line of the log once the change has been made.
    pub fn done(&self) -> String {
        let verb = match self {
            Self::Add(_) => "added",
            Self::Replace(..) => "changed",
            Self::Remove(_) | Self::Unguard(_) => "removed",
            Self::Guard(_) => "set",
        };
        format!("{verb} {self}")
    }

    /// Whether it is the same change of the same rule. Hits are not compared, because they are counted all the time.
    fn is_same(&self, other: &Self) -> bool {
        let without_hits = |rule: &Installed| Installed {
            hits: Hits::default(),
            ..rule.clone()
        };
        match (self, other) {
            (Self::Replace(old, new), Self::Replace(other_old, other_new)) => {
                without_hits(old) == without_hits(other_old) && new == other_new
            }
            (Self::Remove(old), Self::Remove(other)) => without_hits(old) == without_hits(other),
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add(spec) => write!(f, "{spec}"),
            Self::Replace(old, new) => write!(f, "rule {}: {new}; was {}", old.id, old.spec),
            Self::Remove(old) => write!(f, "rule {}: {}", old.id, old.spec),
            Self::Guard(spec) => write!(f, "{spec}"),
            Self::Unguard(old) => write!(f, "{}", old.spec),
        }
    }
}

/// The rules and guards that a policy file lists, with their cgroups looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Rules, in the order of the file.
    pub rules: Vec<RuleSpec>,
    /// Guards, in the order of the file.
    pub guards: Vec<GuardSpec>,
}

/// The changes that lead to the wanted policy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The changes, in the order in which they are made.
    pub changes: Vec<Change>,
    /// Rules and guards that stay as they are.
    pub unchanged: usize,
    /// Warnings about a result that people may not expect.
    pub notes: Vec<String>,
}

impl Plan {
    /// The changes after which exactly the wanted rules and guards are in force.
    ///
    /// A rule that is in force as it is wanted is left alone, and so is the time it still lives: applying a file twice
    /// changes nothing.
    pub fn exactly(wanted: &Wanted, in_force: &InForce) -> Self {
        let mut plan = Self {
            notes: gaps(&wanted.rules).iter().map(ToString::to_string).collect(),
            ..Self::default()
        };
        let there: HashMap<_, _> = in_force.rules.iter().map(|old| (old.spec.key(), old)).collect();
        let listed: HashSet<_> = wanted.rules.iter().map(RuleSpec::key).collect();
        for spec in &wanted.rules {
            match there.get(&spec.key()).copied() {
                None => plan.changes.push(Change::Add(spec.clone())),
                Some(old) if is_equivalent(&old.spec, spec) => plan.unchanged += 1,
                Some(old) => plan.changes.push(Change::Replace(old.clone(), spec.clone())),
            }
        }
        for spec in &wanted.guards {
            let same = |old: &&InstalledGuard| old.spec.cgroup.id == spec.cgroup.id;
            if in_force
                .guards
                .iter()
                .find(same)
                .is_some_and(|old| old.spec.settings == spec.settings)
            {
                plan.unchanged += 1;
            } else {
                plan.changes.push(Change::Guard(spec.clone()));
            }
        }
        for old in &in_force.rules {
            if !listed.contains(&old.spec.key()) {
                plan.changes.push(Change::Remove(old.clone()));
            }
        }
        for old in &in_force.guards {
            if !wanted
                .guards
                .iter()
                .any(|spec| spec.cgroup.id == old.spec.cgroup.id)
            {
                plan.changes.push(Change::Unguard(old.clone()));
            }
        }
        plan
    }

    /// The plan to add one rule. The error is the rule that is in force for the same cgroup and prefix already.
    pub fn add(spec: RuleSpec, installed: &[Installed]) -> Result<Self, Box<Installed>> {
        if let Some(old) = installed.iter().find(|old| old.spec.key() == spec.key()) {
            return Err(Box::new(old.clone()));
        }
        let all = gaps(installed.iter().map(|old| &old.spec).chain([&spec]));
        let with_it = all
            .iter()
            .filter(|gap| gap.narrow.key() == spec.key() || gap.wide.key() == spec.key());
        Ok(Self {
            notes: with_it.map(ToString::to_string).collect(),
            changes: vec![Change::Add(spec)],
            unchanged: installed.len(),
        })
    }

    /// Whether this plan makes the changes of the one that was shown. It does not when the policy has changed since.
    pub fn is_same(&self, shown: &Self) -> bool {
        self.unchanged == shown.unchanged
            && self.changes.len() == shown.changes.len()
            && self
                .changes
                .iter()
                .zip(&shown.changes)
                .all(|(now, then)| now.is_same(then))
    }

    /// Whether there is nothing to change.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// How many changes of each kind there are, in one line.
    pub fn summary(&self) -> String {
        let count = |sign| self.changes.iter().filter(|change| change.sign() == sign).count();
        format!(
            "{} to add, {} to change, {} to remove, {} unchanged",
            count('+'),
            count('~'),
            count('-'),
            self.unchanged
        )
    }
}

/// Whether two rules for the same cgroup and prefix do the same. Paths are not compared: the cgroup is known by its id,
/// and may have been renamed.
fn is_equivalent(old: &RuleSpec, new: &RuleSpec) -> bool {
    (&old.ports, old.action, old.ttl, &old.note) == (&new.ports, new.action, new.ttl, &new.note)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tfo_common::PolicyAction;

    use super::*;
    use crate::policy::{guard::Settings, sample};

    fn spec(cgroup: u64, dst: &str, action: PolicyAction) -> RuleSpec {
        sample::rule(&format!("/{cgroup}"), dst)
            .in_cgroup(cgroup)
            .doing(action)
    }

    fn installed(id: u32, spec: RuleSpec) -> Installed {
        spec.installed(id)
    }

    fn in_force(rules: Vec<Installed>) -> InForce {
        InForce {
            rules,
            guards: Vec::new(),
        }
    }

    #[test]
    fn what_is_new_comes_before_what_goes() {
        let old = installed(7, spec(1, "10.0.0.0/8", PolicyAction::NoData));
        let changed = installed(8, spec(1, "192.0.2.0/24", PolicyAction::NoData));
        let kept = installed(9, spec(2, "10.0.0.0/8", PolicyAction::Observe));
        let rules = vec![
            spec(1, "192.0.2.0/24", PolicyAction::Strip),
            kept.spec.clone(),
            spec(3, "::/0", PolicyAction::NoData),
        ];
        let guard = GuardSpec {
            cgroup: rules[0].cgroup.clone(),
            settings: Settings::default(),
        };
        let wanted = Wanted {
            rules,
            guards: vec![guard],
        };
        let plan = Plan::exactly(&wanted, &in_force(vec![old, changed, kept]));
        let signs: String = plan.changes.iter().map(Change::sign).collect();
        assert_eq!(signs, "~++-");
        assert_eq!(plan.summary(), "2 to add, 1 to change, 1 to remove, 1 unchanged");
        assert!(
            plan.changes[0]
                .to_string()
                .starts_with("rule 8: strip for /1 to 192.0.2.0/24; was no-data")
        );
    }

    #[test]
    fn a_second_rule_for_the_same_place_is_refused() {
        let old = installed(7, spec(1, "10.0.0.0/8", PolicyAction::NoData));
        let again = spec(1, "10.0.0.0/8", PolicyAction::Observe);
        assert_eq!(
            Plan::add(again, std::slice::from_ref(&old))
                .expect_err("a duplicate")
                .id,
            7
        );
        assert!(Plan::add(spec(2, "10.0.0.0/8", PolicyAction::Observe), &[old]).is_ok());
    }

    #[test]
    fn a_plan_is_the_same_while_only_hits_are_counted() {
        let old = installed(7, spec(1, "10.0.0.0/8", PolicyAction::NoData));
        let plan = |old: &Installed, unchanged| Plan {
            changes: vec![
                Change::Replace(old.clone(), spec(1, "10.0.0.0/8", PolicyAction::Observe)),
                Change::Remove(old.clone()),
            ],
            unchanged,
            notes: Vec::new(),
        };
        let shown = plan(&old, 1);
        let mut hit = old.clone();
        hit.hits = Hits { count: 3, last_ns: 9 };
        assert!(plan(&hit, 1).is_same(&shown));
        let renewed = Installed {
            expires_ns: 1,
            ..old.clone()
        };
        let elsewhere = installed(7, spec(2, "10.0.0.0/8", PolicyAction::NoData));
        for other in [
            plan(&renewed, 1),
            plan(&elsewhere, 1),
            plan(&old, 2),
            Plan::default(),
        ] {
            assert!(!other.is_same(&shown), "{other:?}");
        }
    }

    proptest! {
        /// Applying any policy once leaves nothing to change.
        #[test]
        fn applied_once_is_applied(
            wanted in proptest::collection::btree_map((0u64..4, 0u8..4), 0usize..3, 0..8),
            before in proptest::collection::btree_map((0u64..4, 0u8..4), 0usize..3, 0..8),
        ) {
            let actions = PolicyAction::ALL;
            let specs = |map: &std::collections::BTreeMap<(u64, u8), usize>| -> Vec<RuleSpec> {
                map.iter()
                    .map(|((cgroup, net), action)| spec(*cgroup, &format!("10.{net}.0.0/16"), actions[*action]))
                    .collect()
            };
            let wanted = Wanted {
                rules: specs(&wanted),
                guards: Vec::new(),
            };
            let mut rules: Vec<Installed> =
                (1..).zip(specs(&before)).map(|(id, spec)| installed(id, spec)).collect();
            for change in Plan::exactly(&wanted, &in_force(rules.clone())).changes {
                match change {
                    Change::Add(spec) => {
                        let id = rules.iter().map(|rule| rule.id).max().unwrap_or(0) + 1;
                        rules.push(installed(id, spec));
                    }
                    Change::Replace(old, spec) => {
                        rules.iter_mut().find(|rule| rule.id == old.id).expect("it is there").spec = spec;
                    }
                    Change::Remove(old) => rules.retain(|rule| rule.id != old.id),
                    other => prop_assert!(false, "{:?}", other),
                }
            }
            let again = Plan::exactly(&wanted, &in_force(rules));
            prop_assert!(again.is_empty() && again.unchanged == wanted.rules.len());
        }
    }
}
