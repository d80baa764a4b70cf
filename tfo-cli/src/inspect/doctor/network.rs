//! Checks of network namespaces: sysctls, the blackhole pause, the cookie cache, queues, MPTCP, firewall, disciplines.

use super::{Check, Facts, PlaceFacts, first_of};
use crate::{
    clean::clean,
    inspect::listeners::{
        CLIENT, Listener, SERVER,
        judge::{SHORT_QUEUE, inside, judge, quoted, sysctl_fix},
    },
};

/// SYNs with data lost in a row from which on they are reported: one may be chance.
const DROPS: u16 = 2;
/// Destinations that are named at most.
const NAMED: usize = 3;

/// Makes the checks of each namespace; those in which all is well share one line.
pub fn checks(facts: &Facts) -> Vec<Check> {
    let each: [fn(&PlaceFacts, &[&Listener]) -> Check; 8] = [
        sysctl,
        blackhole,
        cookies,
        queues,
        syn_cookies,
        mptcp,
        firewall,
        qdiscs,
    ];
    let mut checks = Vec::new();
    for check in each {
        let mut well = Vec::new();
        for place in &facts.places {
            let here: Vec<&Listener> = facts
                .listeners
                .iter()
                .filter(|one| one.netns.inode == place.netns.inode)
                .collect();
            let found = check(place, &here).within(&place.netns);
            if found.fix.is_some() || place.is_own {
                checks.push(found);
            } else {
                well.push(found);
            }
        }
        // Other namespaces with the same result share one line.
        while let Some(first) = well.first().cloned() {
            let (same, other): (Vec<_>, Vec<_>) = well.into_iter().partition(|one| one.what == first.what);
            well = other;
            checks.push(match same.len() {
                1 => first,
                count => Check {
                    what: format!(
                        "{} (netns {} and {} others)",
                        first.what,
                        clean(&first.netns.as_ref().map(ToString::to_string).unwrap_or_default()),
                        count - 1
                    ),
                    ..first
                },
            });
        }
    }
    if !facts.unseen.is_empty() {
        checks.push(Check::pass(
            "namespaces",
            format!("{}; root sees every one", facts.unseen),
        ));
    }
    checks
}

fn sysctl(place: &PlaceFacts, here: &[&Listener]) -> Check {
    let id = "tcp-fastopen";
    let Some(value) = place.settings.tcp_fastopen else {
        return Check::not_looked_at(id, "net.ipv4.tcp_fastopen cannot be read here");
    };
    let fix = |bits: u32| {
        let undo = sysctl_fix(&place.netns, "net.ipv4.tcp_fastopen", value);
        format!(
            "{}    (undo: {undo})",
            sysctl_fix(&place.netns, "net.ipv4.tcp_fastopen", value | bits)
        )
    };
    let waiting = here.iter().filter(|one| one.limit > 0).count();
    if value & SERVER == 0 && waiting > 0 {
        return Check::fail(
            id,
            format!(
                "net.ipv4.tcp_fastopen={value:#x} lacks 0x2 (server), and {waiting} listening sockets have a queue for it"
            ),
            fix(SERVER),
        );
    }
    if value & CLIENT == 0 {
        let what = format!("net.ipv4.tcp_fastopen={value:#x} lacks 0x1: clients get EOPNOTSUPP");
        return Check::warn(id, what, fix(CLIENT));
    }
    let servers = if value & SERVER == 0 {
        "clients"
    } else {
        "clients and servers"
    };
    Check::pass(id, format!("net.ipv4.tcp_fastopen={value:#x}: {servers}"))
}

fn blackhole(place: &PlaceFacts, _: &[&Listener]) -> Check {
    let id = "blackhole-pause";
    let Some(timeout) = place.settings.blackhole_timeout_sec else {
        return Check::not_looked_at(
            id,
            "net.ipv4.tcp_fastopen_blackhole_timeout_sec cannot be read here",
        );
    };
    if timeout == 0 {
        return Check::pass(id, "off: one bad path does not switch Fast Open off for all");
    }
    let times = place.mib.1.blackhole.unwrap_or(0);
    let name = "net.ipv4.tcp_fastopen_blackhole_timeout_sec";
    Check::warn(
        id,
        format!(
            "one bad path switches Fast Open off for all destinations for {timeout}s and longer; it did {times} times"
        ),
        format!(
            "{}    (undo: {}); then a guard per destination: tfo-cli guard on --cgroup /",
            sysctl_fix(&place.netns, name, 0),
            sysctl_fix(&place.netns, name, timeout)
        ),
    )
}

fn cookies(place: &PlaceFacts, _: &[&Listener]) -> Check {
    let id = "tcp-metrics";
    let entries = match &place.cookies {
        Ok(entries) => entries,
        Err(why) => return Check::not_looked_at(id, why),
    };
    let cookies = entries.iter().filter(|entry| entry.cookie.is_some()).count();
    let mut lost: Vec<_> = entries
        .iter()
        .filter_map(|entry| Some((entry.syn_drops?.count, entry.destination)))
        .filter(|(count, _)| *count >= DROPS)
        .collect();
    lost.sort_unstable_by(|left, right| right.cmp(left));
    let Some((_, worst)) = lost.first() else {
        return Check::pass(
            id,
            format!("{cookies} cookies; no destination loses SYNs with data"),
        );
    };
    let names: Vec<String> = lost
        .iter()
        .map(|(count, destination)| format!("{destination} ({count} in a row)"))
        .collect();
    Check::warn(
        id,
        format!(
            "SYNs with data were lost on the way to {}",
            first_of(&names, NAMED)
        ),
        format!(
            "tfo-cli diagnose --duration 30s; to stop it: tfo-cli policy add --cgroup / --dst {worst} --ttl 7d"
        ),
    )
}

fn queues(place: &PlaceFacts, here: &[&Listener]) -> Check {
    let id = "queues";
    let on: Vec<&&Listener> = here.iter().filter(|one| one.limit > 0).collect();
    if on.is_empty() {
        return Check::pass(
            id,
            format!("none of {} listening sockets has a Fast Open queue", here.len()),
        );
    }
    if let Some(short) = on.iter().find(|one| one.limit <= SHORT_QUEUE) {
        return Check::warn(
            id,
            format!(
                "{} has a Fast Open queue of {}: a few slow clients fill it",
                short.address, short.limit
            ),
            judge(short).fix.unwrap_or_default(),
        );
    }
    let longest = on.iter().map(|one| one.limit).max().unwrap_or(0);
    if let Some(most) = place.settings.somaxconn.filter(|most| *most < longest) {
        return Check::warn(
            id,
            format!(
                "net.core.somaxconn={most} is below the Fast Open queue of {longest}: after a restart that is cut"
            ),
            sysctl_fix(&place.netns, "net.core.somaxconn", longest),
        );
    }
    let somaxconn = place
        .settings
        .somaxconn
        .map_or_else(|| "?".to_owned(), |most| most.to_string());
    Check::pass(
        id,
        format!(
            "{} of {} listening sockets have a Fast Open queue; net.core.somaxconn={somaxconn}",
            on.len(),
            here.len()
        ),
    )
}

fn syn_cookies(place: &PlaceFacts, here: &[&Listener]) -> Check {
    let id = "tcp-syncookies";
    let (Some(cookies), Some(backlog)) = (place.settings.syncookies, place.settings.max_syn_backlog) else {
        return Check::not_looked_at(id, "net.ipv4.tcp_syncookies cannot be read here");
    };
    let name = "net.ipv4.tcp_syncookies";
    let longest = here.iter().map(|one| one.limit).max().unwrap_or(0);
    match cookies {
        2 if longest > 0 => Check::fail(
            id,
            "tcp_syncookies=2: every SYN is answered with a SYN cookie, and Fast Open is never used",
            format!(
                "{}    (undo: {})",
                sysctl_fix(&place.netns, name, 1),
                sysctl_fix(&place.netns, name, 2)
            ),
        ),
        // Without SYN cookies the last quarter is kept for known peers (`tcp_conn_request`).
        0 if backlog < longest => Check::warn(
            id,
            format!(
                "without SYN cookies SYNs are dropped from {backlog} half-open connections on (tcp_max_syn_backlog), the Fast Open queue has {longest}"
            ),
            sysctl_fix(&place.netns, "net.ipv4.tcp_max_syn_backlog", longest),
        ),
        _ => Check::pass(
            id,
            format!("tcp_syncookies={cookies}, tcp_max_syn_backlog={backlog}"),
        ),
    }
}

fn mptcp(place: &PlaceFacts, here: &[&Listener]) -> Check {
    let id = "mptcp";
    let all: Vec<&&Listener> = here.iter().filter(|one| one.is_mptcp == Some(true)).collect();
    if let Some(without) = all.iter().find(|one| one.limit == 0) {
        return Check::warn(
            id,
            format!(
                "{} listens for MPTCP and has no Fast Open queue: before Linux 6.2 it cannot have one",
                without.address
            ),
            judge(without).fix.unwrap_or_default(),
        );
    }
    Check::pass(
        id,
        match place.settings.mptcp {
            None => "not in this kernel".to_owned(),
            Some(value) => format!("net.mptcp.enabled={value}, {} MPTCP listeners", all.len()),
        },
    )
}

fn firewall(place: &PlaceFacts, _: &[&Listener]) -> Check {
    let id = "firewall";
    match &place.firewall {
        Err(why) => Check::not_looked_at(id, why),
        Ok(rules) => match rules.first() {
            None => Check::pass(id, "no rule names the option, or SYNs with data"),
            Some(rule) => {
                let more = rules.len() - 1;
                let more = if more > 0 {
                    format!("; and {more} more")
                } else {
                    String::new()
                };
                Check::fail(
                    id,
                    format!("{}: {}{more}", clean(&rule.name), rule.effect.text()),
                    inside(&place.netns, &clean(&rule.remove)),
                )
            }
        },
    }
}

fn qdiscs(place: &PlaceFacts, _: &[&Listener]) -> Check {
    let id = "qdiscs";
    match &place.qdiscs {
        Err(why) => Check::not_looked_at(id, why),
        Ok(found) => match found.first() {
            None => Check::pass(id, "no discipline that drops or rewrites"),
            Some((interface, kind)) => {
                let names: Vec<String> = found
                    .iter()
                    .map(|(interface, kind)| format!("{interface}: {kind}"))
                    .collect();
                let show = inside(
                    &place.netns,
                    &format!("tc -s qdisc show dev {}", quoted(&clean(interface))),
                );
                Check::warn(
                    id,
                    format!(
                        "{} may drop or rewrite SYNs ({})",
                        clean(kind),
                        clean(&names.join(", "))
                    ),
                    show,
                )
            }
        },
    }
}
