//! Rules, guards and plans as tables for people.

use std::fmt::Write as _;

use tfo_common::{
    guard::Phase,
    policy::{MAX_STATES, Stat},
};

use super::{
    aligned::{Heading, table},
    clean, number,
};
use crate::{
    duration,
    policy::{Installed, InstalledGuard, Now, Plan, guard::Destination, rule::ports_text},
};

/// Rules, by number.
pub fn rules(rules: &[Installed], stripping_on: &[String], stats: &[u64; Stat::COUNT], now: Now) -> String {
    if rules.is_empty() {
        return "no rules\n".to_owned();
    }
    let headings = [
        Heading::number("ID"),
        Heading::text("CGROUP"),
        Heading::text("DESTINATION"),
        Heading::text("PORTS"),
        Heading::text("ACTION"),
        Heading::number("HITS"),
        Heading::text("LAST"),
        Heading::text("AGE"),
        Heading::text("LEFT"),
        Heading::text("BY"),
        Heading::text("NOTE"),
    ];
    let rows = rules.iter().map(|rule| {
        let last = rule.hits.last_ns;
        let ago = now.monotonic_ns.saturating_sub(last) / 1_000;
        [
            rule.id.to_string(),
            clean(&rule.spec.cgroup.path),
            rule.spec.dst.to_string(),
            or(ports_text(&rule.spec.ports), "all"),
            rule.spec.action.name().to_owned(),
            number::count(rule.hits.count),
            if last == 0 {
                "-".into()
            } else {
                number::duration(ago)
            },
            number::duration(now.age_us(rule.created_ns)),
            if rule.expires_ns == 0 {
                "-".into()
            } else {
                number::duration(now.until_us(rule.expires_ns))
            },
            clean(&rule.by),
            clean(&rule.spec.note),
        ]
    });
    let mut text = table(&headings, &rows.collect::<Vec<_>>());
    if !stripping_on.is_empty() {
        text.extend(["\nstripping on ", &clean(&stripping_on.join(", ")), "\n"]);
    }
    let passed = stats[Stat::PassedAtRisk as usize];
    if passed > 0 {
        let why = "this kernel cannot push their sockets, which would stall (Linux 6.1 can)";
        text.extend(["\n", &passed.to_string(), " SYNs with data passed: ", why, "\n"]);
    }
    let missed = stats[Stat::StripMissed as usize];
    if missed > 0 {
        let why = "they left by another network namespace (--netns), or by an interface that came up later \
                   (`tfo-cli policy watch` strips on those at once)";
        text.extend([
            "\n",
            &missed.to_string(),
            " SYNs kept the TFO option: ",
            why,
            "\n",
        ]);
    }
    text
}

/// Guards and the destinations they know, the latest change first.
pub fn guards(
    guards: &[InstalledGuard],
    destinations: &[Destination],
    stats: &[u64; Stat::COUNT],
    now: Now,
) -> String {
    let mut text = known(guards, destinations, now);
    let evicted = stats[Stat::StatesEvicted as usize];
    if evicted > 0 {
        let _ = writeln!(
            text,
            "\nforgotten: at most {evicted} destinations and networks with a failure, because the table of {MAX_STATES} was full"
        );
    }
    text
}

/// Guards, and what they know.
fn known(guards: &[InstalledGuard], destinations: &[Destination], now: Now) -> String {
    if guards.is_empty() {
        return "no guards\n".to_owned();
    }
    let path = |id: u64| {
        let guard = guards.iter().find(|guard| guard.spec.cgroup.id == id);
        guard.map_or_else(|| id.to_string(), |guard| clean(&guard.spec.cgroup.path))
    };
    let mut text = table(
        &["CGROUP", "OPENS AT", "BACK-OFF", "ESCALATES", "AGE", "BY"].map(Heading::text),
        &guards
            .iter()
            .map(|guard| {
                let settings = guard.spec.settings;
                [
                    clean(&guard.spec.cgroup.path),
                    format!("{} of {}", settings.failures, settings.of),
                    format!(
                        "{} to {}",
                        duration::text(settings.backoff),
                        duration::text(settings.max_backoff)
                    ),
                    if settings.escalate {
                        "yes".into()
                    } else {
                        "no".into()
                    },
                    number::duration(now.age_us(guard.created_ns)),
                    clean(&guard.by),
                ]
            })
            .collect::<Vec<_>>(),
    );
    if destinations.is_empty() {
        text.push_str("\nno destination has failed\n");
        return text;
    }
    text.push('\n');
    let mut headings = vec![Heading::text("DESTINATION")];
    headings.extend(GUARDED);
    headings.push(Heading::text("CGROUP"));
    let rows = destinations.iter().map(|dest| {
        let mut row = vec![dest.to_string()];
        row.extend(guarded(dest, now));
        row.push(path(dest.cgroup_id));
        row
    });
    text.push_str(&table(&headings, &rows.collect::<Vec<_>>()));
    text
}

/// Headings of what a guard knows of a destination.
pub const GUARDED: [Heading; 9] = [
    Heading::text("STATE"),
    Heading::text("ACTION"),
    Heading::number("FAILED"),
    Heading::number("RECENT"),
    Heading::number("BARE"),
    Heading::number("PLAIN"),
    Heading::number("DENIED"),
    Heading::text("SAVED"),
    Heading::text("NEXT TRIAL"),
];

/// What a guard knows of a destination, below [`GUARDED`].
pub fn guarded(dest: &Destination, now: Now) -> [String; GUARDED.len()] {
    let state = &dest.state;
    [
        dest.phase().name().to_owned(),
        dest.action().unwrap_or("-").to_owned(),
        format!("{}/{}", state.failures, state.attempts),
        // They begin anew when it opens.
        if dest.phase() == Phase::Closed {
            dest.recent_failures().to_string()
        } else {
            "-".into()
        },
        dest.recent_bare_failures().to_string(),
        format!(
            "{}/{}",
            state.plain_failed,
            u32::from(state.plain_ok) + u32::from(state.plain_failed)
        ),
        number::count(state.denied),
        number::duration(dest.saved_us()),
        match dest.phase() {
            Phase::Closed => "-".into(),
            Phase::HalfOpen => "now".into(),
            Phase::Open => number::duration(now.until_us(state.until_ns)),
        },
    ]
}

/// A plan: what would change, the sum, and what people may not expect.
pub fn plan(plan: &Plan) -> String {
    let mut text = String::new();
    for change in &plan.changes {
        text.push(change.sign());
        text.extend([" ", &clean(&change.to_string()), "\n"]);
    }
    text.push_str(&plan.summary());
    text.push('\n');
    for note in &plan.notes {
        text.extend(["note: ", &clean(note), "\n"]);
    }
    text
}

fn or(text: String, empty: &str) -> String {
    if text.is_empty() { empty.to_owned() } else { text }
}
