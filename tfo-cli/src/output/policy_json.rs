//! Rules, guards and plans as JSON, schema 1: fields may be added, none renamed. Times are RFC 3339 or microseconds.

use serde::Serialize;
use tfo_common::policy::{PortRange, Stat};

use super::{json::SCHEMA, time};
use crate::policy::{
    Change, GuardSpec, Installed, InstalledGuard, Loaded, Now, Plan, RuleSpec, guard::Destination,
};

#[derive(Serialize)]
struct Document<T> {
    schema: u32,
    r#type: &'static str,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize)]
struct RuleList<'a> {
    rules: Vec<Rule<'a>>,
    /// Interfaces on which the option is taken out: `eth0 (netns 4026531840)`.
    stripping_on: &'a [String],
    programs: Option<Programs>,
    counters: Counters<'a>,
}

/// Whose programs decide.
#[derive(Serialize)]
struct Programs {
    build: String,
    this_build: String,
    current: bool,
}

impl From<Loaded> for Programs {
    fn from(loaded: Loaded) -> Self {
        Self {
            build: format!("{:016x}", loaded.build),
            this_build: format!("{:016x}", loaded.this_build),
            current: loaded.is_current(),
        }
    }
}

#[derive(Serialize)]
struct GuardList<'a> {
    guards: Vec<Guard<'a>>,
    destinations: Vec<GuardedDestination>,
    networks: Vec<GuardedDestination>,
    counters: Counters<'a>,
}

#[derive(Serialize)]
struct PlanBody<'a> {
    changes: Vec<PlannedChange<'a>>,
    unchanged: usize,
    notes: &'a [String],
}

/// Counters by name.
struct Counters<'a>(&'a [u64; Stat::COUNT]);

impl Serialize for Counters<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(Stat::ALL.map(|stat| (stat.name(), self.0[stat as usize])))
    }
}

#[derive(Serialize)]
struct Spec<'a> {
    cgroup: &'a str,
    cgroup_id: u64,
    dst: String,
    ports: Vec<[u16; 2]>,
    action: &'static str,
    ttl_us: Option<u64>,
    note: &'a str,
}

impl<'a> Spec<'a> {
    fn new(spec: &'a RuleSpec) -> Self {
        Self {
            cgroup: &spec.cgroup.path,
            cgroup_id: spec.cgroup.id,
            dst: spec.dst.to_string(),
            ports: spec
                .ports
                .iter()
                .map(|PortRange { first, last }| [*first, *last])
                .collect(),
            action: spec.action.name(),
            ttl_us: spec.ttl.map(micros),
            note: &spec.note,
        }
    }
}

#[derive(Serialize)]
struct Rule<'a> {
    id: u32,
    #[serde(flatten)]
    spec: Spec<'a>,
    hits: u64,
    last_hit_us_ago: Option<u64>,
    created: String,
    by: &'a str,
    left_us: Option<u64>,
}

#[derive(Serialize)]
struct Guard<'a> {
    cgroup: &'a str,
    cgroup_id: u64,
    failures: u8,
    of: u8,
    backoff_us: u64,
    max_backoff_us: u64,
    escalate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    by: Option<&'a str>,
}

impl<'a> Guard<'a> {
    fn new(spec: &'a GuardSpec) -> Self {
        let settings = spec.settings;
        Self {
            cgroup: &spec.cgroup.path,
            cgroup_id: spec.cgroup.id,
            failures: settings.failures,
            of: settings.of,
            backoff_us: micros(settings.backoff),
            max_backoff_us: micros(settings.max_backoff),
            escalate: settings.escalate,
            created: None,
            by: None,
        }
    }

    fn installed(guard: &'a InstalledGuard) -> Self {
        Self {
            created: Some(time::rfc3339(guard.created_ns.into())),
            by: Some(&guard.by),
            ..Self::new(&guard.spec)
        }
    }
}

#[derive(Serialize)]
struct GuardedDestination {
    cgroup_id: u64,
    own_cgroup_id: Option<u64>,
    netns: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_addr: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_addr: Option<String>,
    state: &'static str,
    action: Option<&'static str>,
    attempts: u64,
    failures: u64,
    recent_failures: u32,
    recent_bare_failures: u32,
    plain_ok: u16,
    plain_failed: u16,
    opened: u64,
    relapses: u8,
    denied: u64,
    cost_us: Option<u64>,
    saved_us: u64,
    next_trial_us: Option<u64>,
}

#[derive(Serialize)]
struct PlannedChange<'a> {
    change: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rule: Option<Spec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    was: Option<Spec<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    guard: Option<Guard<'a>>,
}

/// Rules in force.
pub fn rules(
    rules: &[Installed],
    stripping_on: &[String],
    stats: &[u64; Stat::COUNT],
    loaded: Option<Loaded>,
    now: Now,
) -> anyhow::Result<String> {
    let list = rules.iter().map(|rule| Rule {
        id: rule.id,
        spec: Spec::new(&rule.spec),
        hits: rule.hits.count,
        last_hit_us_ago: (rule.hits.last_ns > 0)
            .then(|| now.monotonic_ns.saturating_sub(rule.hits.last_ns) / 1_000),
        created: time::rfc3339(rule.created_ns.into()),
        by: &rule.by,
        left_us: (rule.expires_ns > 0).then(|| now.until_us(rule.expires_ns)),
    });
    document(
        "policy",
        RuleList {
            rules: list.collect(),
            stripping_on,
            programs: loaded.map(Programs::from),
            counters: Counters(stats),
        },
    )
}

/// Guards in force and what they know.
pub fn guards(
    guards: &[InstalledGuard],
    destinations: &[Destination],
    stats: &[u64; Stat::COUNT],
    now: Now,
) -> anyhow::Result<String> {
    let one = |dest: &Destination| GuardedDestination {
        cgroup_id: dest.cgroup_id,
        own_cgroup_id: dest.own_id,
        netns: dest.net,
        remote_addr: (!dest.is_network).then(|| dest.addr.to_string()),
        remote_port: (!dest.is_network).then_some(dest.port),
        local_addr: dest.is_network.then(|| dest.addr.to_string()),
        state: dest.phase().name(),
        action: dest.action(),
        attempts: dest.state.attempts,
        failures: dest.state.failures,
        recent_failures: dest.recent_failures(),
        recent_bare_failures: dest.recent_bare_failures(),
        plain_ok: dest.state.plain_ok,
        plain_failed: dest.state.plain_failed,
        opened: dest.state.opened,
        relapses: dest.state.relapses,
        denied: dest.state.denied,
        cost_us: dest.cost_us(),
        saved_us: dest.saved_us(),
        next_trial_us: dest.action().map(|_| now.until_us(dest.state.until_ns)),
    };
    document(
        "guard",
        GuardList {
            guards: guards.iter().map(Guard::installed).collect(),
            destinations: destinations
                .iter()
                .filter(|dest| !dest.is_network)
                .map(one)
                .collect(),
            networks: destinations
                .iter()
                .filter(|dest| dest.is_network)
                .map(one)
                .collect(),
            counters: Counters(stats),
        },
    )
}

/// A plan.
pub fn plan(plan: &Plan) -> anyhow::Result<String> {
    document(
        "plan",
        PlanBody {
            changes: plan.changes.iter().map(planned).collect(),
            unchanged: plan.unchanged,
            notes: &plan.notes,
        },
    )
}

fn planned(change: &Change) -> PlannedChange<'_> {
    let (id, rule, was, guard) = match change {
        Change::Add(spec) => (None, Some(Spec::new(spec)), None, None),
        Change::Replace(old, spec) => (
            Some(old.id),
            Some(Spec::new(spec)),
            Some(Spec::new(&old.spec)),
            None,
        ),
        Change::Remove(old) => (Some(old.id), None, Some(Spec::new(&old.spec)), None),
        Change::Guard(spec) => (None, None, None, Some(Guard::new(spec))),
        Change::Unguard(old) => (None, None, None, Some(Guard::installed(old))),
    };
    PlannedChange {
        change: change.name(),
        id,
        rule,
        was,
        guard,
    }
}

fn document<T: Serialize>(r#type: &'static str, body: T) -> anyhow::Result<String> {
    let mut text = serde_json::to_string(&Document {
        schema: SCHEMA,
        r#type,
        body,
    })?;
    text.push('\n');
    Ok(crate::clean::json(&text).into_owned())
}

fn micros(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use serde_json::Value;
    use tfo_common::guard::GuardState;

    use super::*;

    /// A destination and a network that failed.
    fn failing() -> [Destination; 2] {
        [false, true].map(|is_network| Destination {
            cgroup_id: 1,
            own_id: Some(7),
            net: 1,
            is_network,
            addr: IpAddr::from([192, 0, 2, 1]),
            port: 443,
            state: GuardState::NEW,
        })
    }

    #[test]
    fn docs_guard_explains_every_field() {
        let page = include_str!("../../../docs/guard.md");
        let now = Now {
            monotonic_ns: 0,
            wall_ns: 0,
        };
        let text = guards(&[], &failing(), &[0; Stat::COUNT], now).expect("plain values");
        let value: Value = serde_json::from_str(&text).expect("JSON");
        for list in ["destinations", "networks"] {
            let fields = value[list][0].as_object().expect("one of each");
            for field in fields.keys().map(String::as_str).chain([list]) {
                assert!(
                    page.contains(&format!("`{field}`")),
                    "docs/guard.md does not explain {field}"
                );
            }
        }
    }
}
