//! What the policy does about a destination: the rule that decides, the guard that watches, in the words of
//! `policy list` and `guard status`; and which of them denied connections.

use ratatui::text::{Line, Span};
use tfo_common::{Outcome, Role, guard::Phase};

use crate::{
    model::DestRow,
    output::{
        clean, number,
        policy_text::{GUARDED, guarded as cells},
    },
    policy::{
        InForce, Installed, InstalledGuard, Now,
        decide::{decide, watch},
        guard::Destination,
    },
    tui::{Permission, state::State},
};

/// What is known of one destination.
struct Deciders<'a> {
    rule: Option<&'a Installed>,
    guard: Option<&'a InstalledGuard>,
    state: Guarded,
}

/// What the guard says.
#[derive(Clone, Copy)]
enum Guarded {
    /// It was not asked, or somebody else was.
    NotKnown,
    /// Nothing failed here.
    Nothing,
    /// That something did.
    State(Destination),
}

impl Guarded {
    fn state(&self) -> Option<&Destination> {
        match self {
            Self::State(dest) => Some(dest),
            Self::NotKnown | Self::Nothing => None,
        }
    }
}

/// All of it, as text.
pub fn lines(state: &State, row: &DestRow, width: u16) -> Vec<Line<'static>> {
    let wrapped = |text: String| super::wrapped(&clean(&text), width);
    if row.role() == Role::Server {
        // The policy is about SYNs this host sends.
        return wrapped("policy in force: none for servers".to_owned());
    }
    let (policy, path) = match find(state, row) {
        Ok(found) => found,
        Err(why) => {
            let mut lines = wrapped(format!("policy in force: not known{why}"));
            lines.extend(denied(row, None).into_iter().flat_map(wrapped));
            return lines;
        }
    };
    let known = look_up(state, row, policy, path);
    let now = now(state);
    let mut lines = wrapped(format!("policy in force: {}", rule(row, &known, now)));
    if let Some(guard) = known.guard {
        lines.extend(guarded(state, guard, &known, now, width));
    }
    lines.extend(denied(row, Some(&known)).into_iter().flat_map(wrapped));
    lines
}

/// The policy and the path of the service; the error says why one is missing.
fn find<'a>(state: &'a State, row: &DestRow) -> Result<(&'a InForce, &'a str), &'static str> {
    let snapshot = &state.snapshot;
    let policy = match (&snapshot.policy, state.permission) {
        (Some(policy), _) => policy,
        (None, Permission::Recording) => return Err(", recordings do not have it"),
        (None, _) => return Err(""),
    };
    let path = snapshot.names.get(row.key.cgroup_id);
    let path = path.ok_or(", the cgroup is gone")?;
    Ok((policy, &path.path))
}

fn look_up<'a>(state: &State, row: &DestRow, policy: &'a InForce, path: &str) -> Deciders<'a> {
    let snapshot = &state.snapshot;
    let guard = watch(&policy.guards, path);
    let asked = snapshot.guarded.filter(|asked| {
        asked.dest == row.key && guard.is_some_and(|guard| guard.spec.cgroup.id == asked.guard)
    });
    Deciders {
        rule: decide(&policy.rules, path, row.remote(), snapshot.at_ns),
        guard,
        state: match asked.map(|asked| asked.state) {
            None => Guarded::NotKnown,
            Some(None) => Guarded::Nothing,
            Some(Some(dest)) => Guarded::State(dest),
        },
    }
}

/// The present of what is shown.
fn now(state: &State) -> Now {
    let snapshot = &state.snapshot;
    Now {
        monotonic_ns: snapshot.at_ns,
        wall_ns: u64::try_from(snapshot.wall_ns(snapshot.at_ns)).unwrap_or(0),
    }
}

fn rule(row: &DestRow, known: &Deciders<'_>, now: Now) -> String {
    let Some(rule) = known.rule else {
        let guard = if known.guard.is_some() { "" } else { ", no guard" };
        return format!("no rule{guard}");
    };
    if rule.covers(row.key.port) {
        in_words(rule, now)
    } else {
        let left = left(rule, now);
        format!("rule {} leaves this port alone: {}{left}", rule.id, rule.spec)
    }
}

/// A rule, and how long it will be there.
fn in_words(rule: &Installed, now: Now) -> String {
    format!("rule {}, {}{}", rule.id, rule.spec, left(rule, now))
}

/// How long a rule will be there, if it has an end.
fn left(rule: &Installed, now: Now) -> String {
    match rule.expires_ns {
        0 => String::new(),
        end => format!("; {} left", number::duration(now.until_us(end))),
    }
}

/// The rule whose end somebody chooses.
pub fn ending(state: &State, rule: &Installed) -> String {
    clean(&in_words(rule, now(state)))
}

fn guarded(
    state: &State,
    guard: &InstalledGuard,
    known: &Deciders<'_>,
    now: Now,
    width: u16,
) -> Vec<Line<'static>> {
    let beaten = if known.rule.is_some() {
        "; the rule beats it"
    } else {
        ""
    };
    let here = match &known.state {
        Guarded::NotKnown => "; its state here is not known",
        Guarded::Nothing => "; closed, nothing has failed here",
        Guarded::State(_) => "",
    };
    let mut lines = super::wrapped(&clean(&format!("{}{beaten}{here}", guard.spec)), width);
    if let Some(dest) = known.state.state() {
        lines.extend(numbers(state, dest, now, width));
    }
    lines
}

/// The cells of `guard status`, as many to a line as fit.
fn numbers(state: &State, dest: &Destination, now: Now, width: u16) -> Vec<Line<'static>> {
    let mut lines: Vec<Line<'static>> = Vec::new();
    for (heading, value) in GUARDED.into_iter().zip(cells(dest, now)) {
        let cell = [
            Span::styled(format!("{} ", heading.title), state.theme.dim),
            Span::raw(format!("{value}  ")),
        ];
        let needs = cell.iter().map(Span::width).sum::<usize>() - 2;
        match lines.last_mut() {
            Some(line) if line.width() + needs <= usize::from(width) => line.extend(cell),
            _ => lines.push(Line::from(cell.to_vec())),
        }
    }
    lines
}

/// Who keeps data out of SYNs, where that happened. The count is the dashboard's; what is in force may be newer.
fn denied(row: &DestRow, known: Option<&Deciders<'_>>) -> Option<String> {
    let count = row.count(Outcome::Denied);
    if count == 0 {
        return None;
    }
    let who = known.map_or_else(
        || "a rule or a guard withheld SYN data".to_owned(),
        |known| who(row, known),
    );
    Some(format!("denied {}: {who}", number::count(count)))
}

fn who(row: &DestRow, known: &Deciders<'_>) -> String {
    let denies = |rule: &&Installed| rule.covers(row.key.port) && rule.spec.action.denies_data();
    let rule = known.rule.filter(denies);
    // A rule beats the guard: what a guard denied then, it denied before there was the rule.
    let guard = known.guard.zip(known.state.state()).and_then(|(guard, dest)| {
        let path = &guard.spec.cgroup.path;
        match (known.rule, dest.phase()) {
            (None, Phase::Open | Phase::HalfOpen) => Some(format!("the guard on {path} withholds SYN data")),
            _ if dest.state.denied > 0 => Some(format!("the guard on {path} did before")),
            _ => None,
        }
    });
    match (rule, guard) {
        (Some(rule), Some(guard)) => format!("rule {} withholds SYN data, {guard}", rule.id),
        (Some(rule), None) => format!("rule {} withholds SYN data", rule.id),
        (None, Some(guard)) => guard,
        (None, None) if known.guard.is_some() && matches!(known.state, Guarded::NotKnown) => {
            "the guard or a rule that is gone withheld SYN data".to_owned()
        }
        (None, None) => "a rule or a guard that is gone withheld SYN data".to_owned(),
    }
}
