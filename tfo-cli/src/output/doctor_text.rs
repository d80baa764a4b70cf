//! What `doctor` found, for people: the answer first, then one line per check, and the fix below those that need one.

use super::clean;
use crate::inspect::doctor::{Check, Status};

/// Every check; without `details` those that pass are only counted.
pub fn checks(checks: &[Check], details: bool) -> String {
    let Some((first, rest)) = checks.split_first() else {
        return String::new();
    };
    let mut text = format!("{}\n", clean(&first.what));
    fix(&mut text, first);
    text.push('\n');
    let shown = |check: &&Check| details || check.status != Status::Pass;
    let width = rest
        .iter()
        .filter(shown)
        .map(|check| check.id.len())
        .max()
        .unwrap_or(0);
    for check in rest.iter().filter(shown) {
        let place = check
            .netns
            .as_ref()
            .map(|netns| format!("netns {netns}: "))
            .unwrap_or_default();
        text.push_str(&format_line(check, &place, width));
        fix(&mut text, check);
    }
    let count = |status| checks.iter().filter(|check| check.status == status).count();
    let [passed, warned, failed] = [Status::Pass, Status::Warn, Status::Fail].map(count);
    let hidden = if details || passed == 0 {
        ""
    } else {
        " (--details shows them)"
    };
    text.extend([
        &*format!("{failed} fail, {warned} warn, {passed} pass{hidden}"),
        "\n",
    ]);
    text
}

fn format_line(check: &Check, place: &str, width: usize) -> String {
    format!(
        "{}  {:width$}  {place}{}\n",
        check.status.name(),
        check.id,
        clean(&check.what)
    )
}

fn fix(text: &mut String, check: &Check) {
    if let Some(fix) = &check.fix {
        text.extend(["      fix: ", &clean(fix), "\n"]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::{examine, tests::healthy};

    #[test]
    fn the_answer_comes_first_and_fixes_are_shown() {
        let mut facts = healthy();
        insta::assert_snapshot!(checks(&examine(&facts), true));
        facts.mounts.cgroup2 = None;
        facts.capabilities = 0;
        insta::assert_snapshot!(checks(&examine(&facts), false));
    }
}
