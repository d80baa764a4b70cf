//! Gathers what `doctor` judges. It reads; nothing is attached, mounted, repaired or written.

mod firewall;
mod host;
mod qdiscs;

use std::{collections::HashMap, fs, io, path::Path, thread, time::Duration};

use super::{host::mib_here, listeners, neighbours, netns, places::Places, tcp_metrics};
use crate::{
    fingerprint::Salt,
    inspect::{
        cookies::Entry,
        doctor::{Fact, Facts, FirewallRule, PlaceFacts},
        listeners::Settings,
    },
    model::{diagnosis::HostFact, source::Mib},
};

/// Namespaces whose firewall is looked at: each costs a process.
const MAX_FIREWALLS: usize = 64;

/// Looks at everything, and at the counters again after `watch`.
pub fn facts(pins: &Path, watch: Duration, salt: &Salt) -> Facts {
    let places = Places::all();
    let own = netns::own_inode();
    let (before, unseen) = places.each(|_| mib_here());
    let before: HashMap<u32, Mib> = before
        .into_iter()
        .map(|(netns, mib)| (netns.inode, mib))
        .collect();
    let (mut sockets, _) = listeners::all(&places);
    listeners::with_holders(&mut sockets);
    let looked_at: Vec<u32> = places
        .places
        .iter()
        .map(|place| place.netns.inode)
        .take(MAX_FIREWALLS)
        .collect();
    let (found, _) = places.each(|place| {
        let firewall = if place.netns.inode == own || looked_at.contains(&place.netns.inode) {
            firewall::rules()
        } else {
            Err(format!("more than {MAX_FIREWALLS} network namespaces"))
        };
        Ok(NamespaceFacts::read(salt, firewall))
    });
    let programs = host::foreign_programs();
    let policy = host::policy(pins);
    thread::sleep(watch);
    let (after, _) = places.each(|_| mib_here());
    let after: HashMap<u32, Mib> = after.into_iter().map(|(netns, mib)| (netns.inode, mib)).collect();
    let place_facts = found.into_iter().map(|(netns, here)| {
        let mib = |all: &HashMap<u32, Mib>| all.get(&netns.inode).copied().unwrap_or_default();
        PlaceFacts {
            is_own: netns.inode == own,
            mib: (mib(&before), mib(&after)),
            settings: here.settings,
            cookies: here.cookies,
            firewall: here.firewall,
            qdiscs: here.qdiscs,
            netns,
        }
    });
    Facts {
        places: place_facts.collect(),
        unseen,
        watched: watch,
        listeners: sockets,
        programs,
        pins: pins.to_path_buf(),
        policy,
        ..host::facts()
    }
}

/// The facts that are read inside a network namespace.
struct NamespaceFacts {
    settings: Settings,
    cookies: Fact<Vec<Entry>>,
    firewall: Fact<Vec<FirewallRule>>,
    qdiscs: Fact<Vec<(String, String)>>,
}

impl NamespaceFacts {
    fn read(salt: &Salt, firewall: Fact<Vec<FirewallRule>>) -> Self {
        Self {
            settings: listeners::settings(),
            cookies: tcp_metrics::entries(salt).map_err(text),
            firewall,
            qdiscs: qdiscs::found().map_err(text),
        }
    }
}

#[expect(clippy::needless_pass_by_value, reason = "map_err hands it over")]
fn text(error: io::Error) -> String {
    error.to_string()
}

/// A file as text, if it can be read.
fn read(path: &str) -> Option<String> {
    fs::read(path)
        .ok()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
}

/// What drops SYN data or the option in a network namespace, or what a cgroup sends, in words; the reason where nobody can
/// tell.
pub fn droppers(netns: u32, mount: &Path, cgroup: Option<&Path>) -> HostFact<Vec<String>> {
    const NO_FIREWALL: &str = "the firewall rules of its network namespace cannot be read";
    let namespace = netns::all()
        .remove(&netns)
        .ok_or("its network namespace is gone")?;
    let found = netns::inside(&namespace, || Ok((firewall::rules(), qdiscs::found())));
    let (rules, qdiscs) = found.map_err(|_| "its network namespace cannot be entered")?;
    let rules = rules.map_err(|_| NO_FIREWALL)?;
    let rules = rules
        .iter()
        .map(|rule| format!("{}, which {}", rule.name, rule.effect.text()));
    let qdiscs = qdiscs.unwrap_or_default();
    let qdiscs = qdiscs
        .iter()
        .map(|(interface, what)| format!("{what} on {interface}"));
    let programs = cgroup.map_or_else(Vec::new, |cgroup| neighbours::on_egress(mount, cgroup));
    Ok(rules.chain(qdiscs).chain(programs).collect())
}
