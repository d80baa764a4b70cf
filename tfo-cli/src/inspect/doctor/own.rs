//! Checks of the BPF programs of others on hooks that we use, and of our pins.

use super::{Check, Facts, PolicyFacts, Status, first_of};
use crate::{clean::clean, inspect::listeners::judge::quoted};

/// Programs that are named at most.
const NAMED: usize = 5;

/// Makes the checks of programs and pins.
pub fn checks(facts: &Facts) -> Vec<Check> {
    vec![programs(facts), policy(facts)]
}

fn programs(facts: &Facts) -> Check {
    let id = "foreign-programs";
    let found = match &facts.programs {
        Ok(found) => found,
        Err(why) => return Check::not_looked_at(id, why),
    };
    let Some((first, ..)) = found.first() else {
        return Check::pass(id, "no BPF program of others on the hooks we use");
    };
    let names: Vec<String> = found
        .iter()
        .map(|(number, name, kind)| format!("{kind} {} (id {number})", clean(name)))
        .collect();
    Check::warn(
        id,
        format!("of others, on hooks we use: {}", first_of(&names, NAMED)),
        format!("nothing, unless SYN data goes missing: bpftool prog show id {first}; bpftool cgroup tree"),
    )
}

fn policy(facts: &Facts) -> Check {
    let id = "policy";
    let pins = quoted(&clean(&facts.pins.display().to_string()));
    match &facts.policy {
        PolicyFacts::None => Check::pass(id, "no policy is pinned"),
        PolicyFacts::InForce {
            rules,
            guards,
            is_current: true,
        } => Check::pass(
            id,
            format!("in force and of this version: {rules} rules, {guards} guards"),
        ),
        PolicyFacts::InForce { rules, guards, .. } => Check::warn(
            id,
            format!("in force, with programs of another build of tfo-cli: {rules} rules, {guards} guards"),
            format!("tfo-cli policy reload --bpffs {pins}    (no gap, nothing is lost)"),
        ),
        PolicyFacts::OtherVersion(why) => Check::bad(
            id,
            Status::Fail,
            format!(
                "a policy of another version of tfo-cli is pinned, and still decides ({})",
                clean(why)
            ),
            format!(
                "tfo-cli policy flush --bpffs {pins}, then apply your file again: tfo-cli policy apply FILE"
            ),
        ),
        PolicyFacts::HalfMade => Check::warn(
            id,
            "pins of a command that was killed: nothing is in force",
            format!("tfo-cli policy list --bpffs {pins}    (removes them)"),
        ),
        PolicyFacts::NotLookedAt(why) => Check::not_looked_at(id, &clean(why)),
    }
}
