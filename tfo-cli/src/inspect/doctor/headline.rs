//! The first check: whether Fast Open is on for clients and for servers, and whether it worked within the last seconds.

use super::{Check, Facts, first_of};
use crate::{
    clean::clean,
    inspect::listeners::{CLIENT, Listener, judge::judge},
    model::source::Mib,
};

/// Listeners that are named at most.
const NAMED: usize = 3;
const ID: &str = "fast-open";

/// Makes the first check.
pub fn headline(facts: &Facts) -> Check {
    let own = facts.places.iter().find(|place| place.is_own);
    let clients = own
        .and_then(|place| place.settings.tcp_fastopen)
        .map(|sysctl| sysctl & CLIENT != 0);
    let working: Vec<&Listener> = facts
        .listeners
        .iter()
        .filter(|one| judge(one).works == Some(true))
        .collect();
    let clients_text = match clients {
        Some(true) => "on",
        Some(false) => "off",
        None => "unknown",
    };
    let what = format!(
        "Fast Open is {clients_text} for clients, {} for servers; {}",
        servers(&working, facts.listeners.len()),
        within(facts)
    );
    let used = Used::sum(facts);
    if clients != Some(true) && working.is_empty() {
        let fix = "sysctl -w net.ipv4.tcp_fastopen=3, and a queue for the listeners: see `tfo-cli listeners --details`";
        return Check::fail(ID, what, fix);
    }
    if used.client == 0 && used.client_failed > 0 {
        return Check::warn(
            ID,
            what,
            "tfo-cli diagnose --duration 30s    (as root: names the destinations and why)",
        );
    }
    Check::pass(ID, what)
}

fn servers(working: &[&Listener], all: usize) -> String {
    if working.is_empty() {
        return format!("off (no queue that works on {all} listening sockets)");
    }
    let mut names: Vec<String> = Vec::new();
    for listener in working {
        let name = match listener.holder() {
            Some(holder) => format!("{}:{}", clean(&holder.comm), listener.address.port()),
            None => listener.address.to_string(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    format!(
        "on ({}: {} of {all} listening sockets)",
        first_of(&names, NAMED),
        working.len()
    )
}

/// What the kernel's counters say about the time of the observation.
fn within(facts: &Facts) -> String {
    let seconds = facts.watched.as_secs_f64();
    if facts.watched.is_zero() {
        return "nobody watched whether it works (--watch)".to_owned();
    }
    let used = Used::sum(facts);
    if used.client + used.client_failed + used.server + used.server_failed == 0 {
        return format!("not used in the last {seconds:.1}s");
    }
    format!(
        "in the last {seconds:.1}s it worked {} times as client ({} failed) and {} times as server ({} failed)",
        used.client, used.client_failed, used.server, used.server_failed
    )
}

/// Connections during the observation, of all namespaces.
#[derive(Debug, Default)]
struct Used {
    client: u64,
    client_failed: u64,
    server: u64,
    server_failed: u64,
}

impl Used {
    fn sum(facts: &Facts) -> Self {
        let mut sum = Self::default();
        for place in &facts.places {
            let moved = |counter: fn(&Mib) -> Option<u64>| {
                let (before, after) = &place.mib;
                counter(after)
                    .unwrap_or(0)
                    .saturating_sub(counter(before).unwrap_or(0))
            };
            sum.client += moved(|mib| mib.active);
            sum.client_failed += moved(|mib| mib.active_fail);
            sum.server += moved(|mib| mib.passive);
            sum.server_failed += moved(|mib| mib.passive_fail) + moved(|mib| mib.listen_overflow);
        }
        sum
    }
}
