//! What the policy does about a destination: the rule that decides and the guard that watches, in the words of
//! `policy list` and `guard status`, and which of them denied connections.

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
        decide::{decide, watching_guard},
        guard::Destination,
    },
    tui::{Permission, state::State},
};

/// What the policy has for one destination.
struct PolicyOnDestination<'a> {
    /// The rule that decides, whether it covers the port or not.
    rule: Option<&'a Installed>,
    /// The guard on the service.
    guard: Option<&'a InstalledGuard>,
    /// What the guard knows of the destination.
    state: GuardState,
}

/// What was read from a guard about one destination.
#[derive(Clone, Copy)]
enum GuardState {
    /// Nothing was read, or it was about another destination or of another guard.
    NotRead,
    /// The guard has no state, because no connection has failed.
    Absent,
    /// The guard has this state.
    Present(Destination),
}

impl GuardState {
    fn destination(&self) -> Option<&Destination> {
        match self {
            Self::Present(dest) => Some(dest),
            Self::NotRead | Self::Absent => None,
        }
    }
}

/// The lines about the policy on the page of a destination.
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

fn look_up<'a>(state: &State, row: &DestRow, policy: &'a InForce, path: &str) -> PolicyOnDestination<'a> {
    let snapshot = &state.snapshot;
    let guard = watching_guard(&policy.guards, path);
    let read = snapshot
        .guarded
        .filter(|read| read.dest == row.key && guard.is_some_and(|guard| guard.spec.cgroup.id == read.guard));
    PolicyOnDestination {
        rule: decide(&policy.rules, path, row.remote(), snapshot.at_ns),
        guard,
        state: match read.map(|read| read.state) {
            None => GuardState::NotRead,
            Some(None) => GuardState::Absent,
            Some(Some(dest)) => GuardState::Present(dest),
        },
    }
}

/// The instant of the snapshot, by both clocks.
fn now(state: &State) -> Now {
    let snapshot = &state.snapshot;
    Now {
        monotonic_ns: snapshot.at_ns,
        wall_ns: u64::try_from(snapshot.wall_ns(snapshot.at_ns)).unwrap_or(0),
    }
}

fn rule(row: &DestRow, known: &PolicyOnDestination<'_>, now: Now) -> String {
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

/// A rule in words, with the time it still lives.
fn in_words(rule: &Installed, now: Now) -> String {
    format!("rule {}, {}{}", rule.id, rule.spec, left(rule, now))
}

/// The time a rule still lives, in words; empty when it has no end.
fn left(rule: &Installed, now: Now) -> String {
    match rule.expires_ns {
        0 => String::new(),
        end => format!("; {} left", number::duration(now.until_us(end))),
    }
}

/// The rule that the form of an end is about, in words.
pub fn ending(state: &State, rule: &Installed) -> String {
    clean(&in_words(rule, now(state)))
}

fn guarded(
    state: &State,
    guard: &InstalledGuard,
    known: &PolicyOnDestination<'_>,
    now: Now,
    width: u16,
) -> Vec<Line<'static>> {
    let beaten = if known.rule.is_some() {
        "; the rule beats it"
    } else {
        ""
    };
    let here = match &known.state {
        GuardState::NotRead => "; its state here is not known",
        GuardState::Absent => "; closed, nothing has failed here",
        GuardState::Present(_) => "",
    };
    let mut lines = super::wrapped(&clean(&format!("{}{beaten}{here}", guard.spec)), width);
    if let Some(dest) = known.state.destination() {
        if dest.is_network {
            lines.extend(super::wrapped(&clean(&format!("open for {dest}:")), width));
        }
        lines.extend(numbers(state, dest, now, width));
    }
    lines
}

/// The cells of `guard status` with their headings, as many on a line as fit.
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

/// How many connections were denied, and by what; `None` when none was. The count is the dashboard's: rules and guards
/// may be newer than the connections.
fn denied(row: &DestRow, known: Option<&PolicyOnDestination<'_>>) -> Option<String> {
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

fn who(row: &DestRow, known: &PolicyOnDestination<'_>) -> String {
    let denies = |rule: &&Installed| rule.covers(row.key.port) && rule.spec.action.denies_data();
    let rule = known.rule.filter(denies);
    // A rule takes precedence over the guard: what a guard denied, it denied before the rule was made.
    let guard = known
        .guard
        .zip(known.state.destination())
        .and_then(|(guard, dest)| {
            let path = &guard.spec.cgroup.path;
            match (known.rule, dest.phase()) {
                (None, Phase::Open | Phase::HalfOpen) if dest.is_network => Some(format!(
                    "the guard on {path} withholds SYN data of everything from {}",
                    dest.addr
                )),
                (None, Phase::Open | Phase::HalfOpen) => {
                    Some(format!("the guard on {path} withholds SYN data"))
                }
                _ if dest.state.denied > 0 => Some(format!("the guard on {path} did before")),
                _ => None,
            }
        });
    match (rule, guard) {
        (Some(rule), Some(guard)) => format!("rule {} withholds SYN data, {guard}", rule.id),
        (Some(rule), None) => format!("rule {} withholds SYN data", rule.id),
        (None, Some(guard)) => guard,
        (None, None) if known.guard.is_some() && matches!(known.state, GuardState::NotRead) => {
            "the guard or a rule that is gone withheld SYN data".to_owned()
        }
        (None, None) => "a rule or a guard that is gone withheld SYN data".to_owned(),
    }
}
