//! Rules, guards and plans as tables for people.

use std::{array, iter};

use tfo_common::{guard::Phase, policy::Stat};

use super::{clean, number};
use crate::{
    duration,
    policy::{Installed, InstalledGuard, Now, Plan, guard::Destination, rule::ports_text},
};

/// Rules, by number.
pub fn rules(rules: &[Installed], stripping_on: &[String], stats: &[u64; Stat::COUNT], now: Now) -> String {
    if rules.is_empty() {
        return "no rules\n".to_owned();
    }
    let header = [
        "ID",
        "CGROUP",
        "DESTINATION",
        "PORTS",
        "ACTION",
        "HITS",
        "LAST",
        "AGE",
        "LEFT",
        "BY",
        "NOTE",
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
    let mut text = table(&header, &rows.collect::<Vec<_>>(), &[0, 5]);
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
pub fn guards(guards: &[InstalledGuard], destinations: &[Destination], now: Now) -> String {
    if guards.is_empty() {
        return "no guards\n".to_owned();
    }
    let path = |id: u64| {
        let guard = guards.iter().find(|guard| guard.spec.cgroup.id == id);
        guard.map_or_else(|| id.to_string(), |guard| clean(&guard.spec.cgroup.path))
    };
    let mut text = table(
        &["CGROUP", "OPENS AT", "BACK-OFF", "ESCALATES", "AGE", "BY"],
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
        &[],
    );
    if destinations.is_empty() {
        text.push_str("\nno destination has failed\n");
        return text;
    }
    text.push('\n');
    let header = between("DESTINATION", KNOWN, "CGROUP");
    let rows = destinations.iter().map(|dest| {
        let to = std::net::SocketAddr::new(dest.addr, dest.port).to_string();
        between(to, known(dest, now), path(dest.cgroup_id))
    });
    text.push_str(&table(&header, &rows.collect::<Vec<_>>(), &[3, 4, 5, 6, 7]));
    text
}

/// Headings of what a guard knows of a destination.
pub const KNOWN: [&str; 9] = [
    "STATE",
    "ACTION",
    "FAILED",
    "RECENT",
    "BARE",
    "PLAIN",
    "DENIED",
    "SAVED",
    "NEXT TRIAL",
];

/// What a guard knows of a destination, below [`KNOWN`].
pub fn known(dest: &Destination, now: Now) -> [String; KNOWN.len()] {
    let state = &dest.state;
    let (recent, bare) = dest.recent();
    [
        dest.phase().name().to_owned(),
        dest.action().unwrap_or("-").to_owned(),
        format!("{}/{}", state.failures, state.attempts),
        // They begin anew when it opens.
        if dest.phase() == Phase::Closed {
            recent.to_string()
        } else {
            "-".into()
        },
        bare.to_string(),
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

/// What is known, with something before and behind it.
fn between<T: Default>(first: T, known: [T; KNOWN.len()], last: T) -> [T; KNOWN.len() + 2] {
    let mut all = iter::once(first).chain(known).chain([last]);
    // There are exactly as many.
    array::from_fn(|_| all.next().unwrap_or_default())
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

/// Columns two spaces apart; those in `right` are numbers.
fn table<const N: usize>(header: &[&str; N], rows: &[[String; N]], right: &[usize]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.chain([header[column].chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..N).map(width).collect();
    let line = |cells: &[&str]| {
        let mut text = String::new();
        for (column, cell) in cells.iter().enumerate() {
            let gap = " ".repeat(widths[column] - cell.chars().count());
            let last = column + 1 == N;
            match (right.contains(&column), last) {
                (true, _) => text.extend([&*gap, cell]),
                (false, true) => text.push_str(cell),
                (false, false) => text.extend([cell, &*gap]),
            }
            if !last {
                text.push_str("  ");
            }
        }
        format!("{}\n", text.trim_end())
    };
    let mut text = line(header);
    for row in rows {
        text.push_str(&line(&row.each_ref().map(String::as_str)));
    }
    text
}
