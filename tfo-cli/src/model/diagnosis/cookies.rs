//! Cookies and keys. A cookie belongs to a pair of addresses, whatever the port and the service: what is judged here are
//! the flows of an address, in their order.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use tfo_common::{Outcome, Role, SynData};

use super::{
    Confidence, CostKind, Facts, Finding, Fix, Id, Subject,
    facts::{Service, is_over},
    fix,
    threshold::{
        MISMATCH_LEAST, MISMATCH_LEAST_SERVER, MISMATCH_SHARE, MISMATCH_TURNS, ROTATING_LEAST,
        ROTATING_SHARE, UNCACHED_LEAST, UNCACHED_SHARE,
    },
};
use crate::model::Flow;

/// Looks at every address clients connected to, and at the ports of servers.
pub fn find(facts: &Facts<'_>, findings: &mut Vec<Finding>) {
    let mut by_remote: BTreeMap<IpAddr, Vec<&Flow>> = BTreeMap::new();
    for flow in facts.all_flows.iter().filter(|flow| flow.role() == Role::Client) {
        by_remote.entry(flow.remote_ip()).or_default().push(flow);
    }
    let seen_as = seen_as(facts);
    for (remote, flows) in &by_remote {
        let story = Story::of(flows, Flow::local_ip);
        findings.extend(refused(facts, *remote, flows, &story, &seen_as));
        findings.extend(uncached(facts, *remote, flows, &story));
        findings.extend(alternate(facts, *remote, flows));
    }
    for (cgroup_id, port, service) in facts.services() {
        findings.extend(refused_here(facts, cgroup_id, port, service));
    }
}

/// How far apart both ends of one connection may say that it began, ns: less than the time after which a client uses a
/// port again for the same address.
const SAME_START_NS: u64 = 50_000_000;

/// Connections that servers on this host refused a cookie, by the client's end.
type SeenAs<'a> = HashMap<SocketAddr, Vec<&'a Flow>>;

fn seen_as<'a>(facts: &Facts<'a>) -> SeenAs<'a> {
    let mut seen: SeenAs<'a> = HashMap::new();
    for flow in facts.all_flows {
        if flow.role() == Role::Server && flow.outcome() == Outcome::CookieRejected {
            seen.entry(flow.remote()).or_default().push(flow);
        }
    }
    seen
}

/// Under which other address a server on this host saw a connection to this one. A client may use one port for several
/// addresses at once: the server's connection must have begun with the client's, and none may be under the address itself.
fn moved(flow: &Flow, remote: IpAddr, seen_as: &SeenAs<'_>) -> Option<IpAddr> {
    let begun = flow.event().start_ns;
    let seen = seen_as.get(&flow.local())?;
    let mut same = seen
        .iter()
        .filter(|server| server.event().start_ns.abs_diff(begun) < SAME_START_NS)
        .map(|server| server.local_ip());
    let first = same.next()?;
    (first != remote && same.all(|address| address != remote)).then_some(first)
}

/// What became of the cookies of one address.
#[derive(Debug, Default, PartialEq, Eq)]
struct Story<'a> {
    /// SYNs with data that were answered.
    data: u64,
    /// Those of them that were taken.
    accepted: u64,
    /// Cookies refused.
    rejected: u64,
    /// Those of them that had been issued after an earlier connection, by this very address.
    rejected_fresh: Vec<&'a Flow>,
    /// Those of them that were not the first of their client: a rotation refuses each client once.
    repeated: u64,
    /// Cookies asked for and granted.
    granted: u64,
    /// Those of them by who had been granted one before.
    granted_again: Vec<&'a Flow>,
    /// Asking ends, each with how often it was granted a cookie.
    askers: HashMap<(u32, IpAddr), u64>,
}

impl<'a> Story<'a> {
    /// Reads the flows of one address. `end` is the end that keeps the cookie: the client's.
    fn of(flows: &[&'a Flow], end: fn(&Flow) -> IpAddr) -> Self {
        let mut story = Self::default();
        let mut issued: HashMap<(u32, IpAddr), u64> = HashMap::new();
        let mut refused: HashSet<(u32, IpAddr)> = HashSet::new();
        let mut ordered = flows.to_vec();
        ordered.sort_by_key(|flow| flow.event().start_ns);
        for flow in ordered {
            let event = flow.event();
            let who = (event.netns, end(flow));
            // A connection that began before the new cookie came still has the old one.
            let is_fresh = issued.get(&who).is_some_and(|at| event.start_ns >= *at);
            match flow.outcome().syn_data() {
                Some(SynData::CookieWrong) => {
                    story.data += 1;
                    story.rejected += 1;
                    if is_fresh {
                        story.rejected_fresh.push(flow);
                        story.repeated += u64::from(!refused.insert(who));
                    }
                }
                Some(SynData::Taken) => {
                    story.data += 1;
                    story.accepted += 1;
                }
                Some(SynData::Refused | SynData::Lost) => story.data += u64::from(event.syn_data_len > 0),
                None => {}
            }
            if flow.outcome() == Outcome::CookieGranted {
                story.granted += 1;
                *story.askers.entry(who).or_default() += 1;
                if is_fresh {
                    story.granted_again.push(flow);
                }
            }
            if matches!(flow.outcome(), Outcome::CookieRejected | Outcome::CookieGranted)
                || flow.cookie_received()
            {
                let at = issued.entry(who).or_default();
                *at = event.end_ns.max(*at);
            }
        }
        story
    }

    /// Whether cookies are refused again and again.
    fn is_mismatch(&self, least: u64) -> bool {
        let fresh = self.rejected_fresh.len() as u64;
        self.repeated >= least && fresh as f64 >= MISMATCH_SHARE * self.data as f64
    }

    /// How many keys there are behind the address, in words. With n servers taken at random a cookie meets another
    /// key in (n - 1) / n of the connections.
    fn keys(&self) -> (u64, String) {
        let share = self.rejected as f64 / (self.rejected + self.accepted).max(1) as f64;
        if share >= MISMATCH_TURNS {
            return (2, "at least 2 keys, used in turns".to_owned());
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 2 and 10: the share is below nine tenths"
        )]
        let keys = (1.0 / (1.0 - share)).round().max(2.0) as u64;
        (keys, format!("about {keys} keys"))
    }
}

/// All rows of clients for an address.
fn rows_of(facts: &Facts<'_>, remote: IpAddr) -> Vec<tfo_common::DestKey> {
    let rows = facts
        .clients()
        .filter(|row| row.remote() == remote && row.attempts() > 0);
    rows.map(|row| row.key).collect()
}

/// The service, where only one connects there.
fn address(facts: &Facts<'_>, remote: IpAddr) -> Subject {
    let rows = rows_of(facts, remote);
    let first = rows.first().map(|key| key.cgroup_id);
    Subject::Destination {
        cgroup_id: first.filter(|id| rows.iter().all(|key| key.cgroup_id == *id)),
        remote,
        port: None,
    }
}

fn mean_rtt_us(facts: &Facts<'_>, remote: IpAddr) -> u64 {
    let rows = facts.clients().filter(|row| row.remote() == remote);
    let (sum, count) = rows.fold((0u64, 0u64), |(sum, count), row| {
        let times = u64::from(row.rtt_count);
        (
            sum.saturating_add(row.rtt_us().unwrap_or(0).saturating_mul(times)),
            count + times,
        )
    });
    sum.checked_div(count).unwrap_or(0)
}

/// cookie-key-mismatch, load-balancer-dsr-or-nat or key-rotated.
fn refused(
    facts: &Facts<'_>,
    remote: IpAddr,
    flows: &[&Flow],
    story: &Story<'_>,
    seen_as: &SeenAs<'_>,
) -> Option<Finding> {
    if story.is_mismatch(MISMATCH_LEAST) {
        return Some(mismatch(facts, remote, flows, story, seen_as));
    }
    if story.rejected == 0 || story.repeated > 0 {
        return None;
    }
    let latest = flows
        .iter()
        .rev()
        .find(|flow| flow.outcome() == Outcome::CookieRejected);
    Some(
        Finding::new(
            facts,
            Id::KeyRotated,
            address(facts, remote),
            format!(
                "{} cookies were refused once and replaced: the server has a new key.",
                story.rejected
            ),
        )
        .rows(rows_of(facts, remote))
        .count("cookie-rejected", story.rejected)
        .count("accepted", story.accepted)
        .line(format!(
            "refused {}, no client twice in a row; accepted {}",
            story.rejected, story.accepted
        ))
        .example(latest.copied())
        .excluded("servers with different keys: no new cookie was refused again")
        .cost(
            facts,
            CostKind::NotSaved,
            mean_rtt_us(facts, remote),
            story.rejected,
        ),
    )
}

fn mismatch(
    facts: &Facts<'_>,
    remote: IpAddr,
    flows: &[&Flow],
    story: &Story<'_>,
    seen_as: &SeenAs<'_>,
) -> Finding {
    let (keys, words) = story.keys();
    let rejected = flows
        .iter()
        .filter(|flow| flow.outcome() == Outcome::CookieRejected);
    let moved = rejected.into_iter().find_map(|flow| moved(flow, remote, seen_as));
    let (id, sentence) = match moved {
        Some(address) => (
            Id::LoadBalancerDsrOrNat,
            format!(
                "Of {} SYNs with data {} were refused with a new cookie; connections to {remote} reach servers on this \
                 host as {address}.",
                story.data, story.rejected
            ),
        ),
        None => (
            Id::CookieKeyMismatch,
            format!(
                "Of {} SYNs with data {} were refused with a new cookie, which was refused again: {words} behind the \
                 address.",
                story.data, story.rejected
            ),
        ),
    };
    let finding = Finding::new(facts, id, address(facts, remote), sentence)
        .rows(rows_of(facts, remote))
        .count("cookie-rejected", story.rejected)
        .count("rejected-again", story.rejected_fresh.len() as u64)
        .count("accepted", story.accepted)
        .count("keys-estimated", keys)
        .line(format!(
            "refused {} of {}, {} of them cookies the address had just issued; {words}",
            story.rejected,
            story.data,
            story.rejected_fresh.len()
        ))
        .example(story.rejected_fresh.last().copied())
        .excluded("a key that was rotated, or a restart: then each client is refused once")
        .confidence(Confidence::High)
        .cost(
            facts,
            CostKind::NotSaved,
            mean_rtt_us(facts, remote),
            story.rejected,
        )
        .over(is_over(flows, |flow| flow.outcome() == Outcome::CookieRejected));
    if moved.is_some() {
        return finding.fix(Fix::advice(
            "let the balancer keep the address (a cookie holds for the address the server sees), or switch Fast Open off \
             at the servers",
        ));
    }
    finding
        .or_else("a load balancer that translates addresses: cookies then differ in spite of one key")
        .fix(fix::compare_keys())
}

/// cookie-key-mismatch, seen from a server: one client comes again and again with cookies of somebody else.
fn refused_here(facts: &Facts<'_>, cgroup_id: u64, port: u16, service: &Service<'_>) -> Option<Finding> {
    if service.count(Outcome::CookieRejected) < MISMATCH_LEAST_SERVER {
        return None;
    }
    let mut by_client: HashMap<IpAddr, Vec<&Flow>> = HashMap::new();
    for flow in &service.flows {
        by_client.entry(flow.remote_ip()).or_default().push(flow);
    }
    let stories = by_client.values().map(|flows| Story::of(flows, Flow::remote_ip));
    let worst = stories
        .filter(|story| story.is_mismatch(MISMATCH_LEAST_SERVER))
        .max_by_key(|story| story.rejected_fresh.len())?;
    let rejected = service.count(Outcome::CookieRejected);
    Some(
        Finding::new(
            facts,
            Id::CookieKeyMismatch,
            Subject::Listener {
                cgroup_id,
                netns: None,
                local: None,
                port,
            },
            format!("{rejected} cookies that came here are of another key, though this server had just issued new ones."),
        )
        .rows(service.keys())
        .count("cookie-rejected", rejected)
        .count("rejected-again", worst.rejected_fresh.len() as u64)
        .count("attempts", service.attempts())
        .line(format!(
            "refused {rejected}; of one client {} of {} SYNs with data brought a cookie that was refused again",
            worst.rejected_fresh.len(),
            worst.data
        ))
        .example(worst.rejected_fresh.last().copied())
        .excluded("a key that was rotated, or a restart: then each client is refused once")
        .or_else("many hosts behind the client's address")
        .cost(facts, CostKind::NotSaved, service.rtt_us(), rejected)
        .fix(fix::compare_keys())
        .over(service.is_over(Outcome::CookieRejected)),
    )
}

/// cookie-never-cached.
fn uncached(facts: &Facts<'_>, remote: IpAddr, flows: &[&Flow], story: &Story<'_>) -> Option<Finding> {
    let (again, tried) = (story.granted_again.len() as u64, story.granted + story.data);
    let share = story.granted as f64 / tried.max(1) as f64;
    let ends = story.askers.len();
    let is_rotating = ends >= ROTATING_LEAST
        && share >= ROTATING_SHARE
        && ends as f64 >= ROTATING_SHARE * story.granted as f64;
    let is_forgotten = again >= UNCACHED_LEAST && share >= UNCACHED_SHARE;
    if !is_rotating && !is_forgotten {
        return None;
    }
    let (sentence, fix) = if is_forgotten {
        (
            format!(
                "A cookie was asked for and granted {} times, {again} times by who had one already.",
                story.granted
            ),
            "look for what empties the cache: `ip tcp_metrics flush`, namespaces that live for one job, more addresses \
             than it holds (`tfo-cli cookies`)",
        )
    } else {
        (
            format!(
                "A cookie was granted {} times, to {ends} different source addresses.",
                story.granted
            ),
            "a source address that stays: cookies are kept per source and destination address",
        )
    };
    let latest = flows
        .iter()
        .rev()
        .find(|flow| flow.outcome() == Outcome::CookieGranted);
    Some(
        Finding::new(facts, Id::CookieNeverCached, address(facts, remote), sentence)
            .rows(rows_of(facts, remote))
            .count("cookie-granted", story.granted)
            .count("granted-again", again)
            .count("source-addresses", ends as u64)
            .count("sent-data", story.data)
            .line(format!(
                "granted {}, to {ends} source addresses, {again} times again; SYNs with data {}",
                story.granted, story.data
            ))
            .example(latest.copied())
            .excluded("first contact: that happens once for each source address")
            .cost(
                facts,
                CostKind::NotSaved,
                mean_rtt_us(facts, remote),
                story.granted,
            )
            .fix(Fix::advice(fix))
            .over(is_over(flows, |flow| flow.outcome() == Outcome::CookieGranted)),
    )
}

/// alternate-key: `tcp_try_fastopen` sends a cookie of the primary key when one of the backup key was taken.
fn alternate(facts: &Facts<'_>, remote: IpAddr, flows: &[&Flow]) -> Option<Finding> {
    let both: Vec<&&Flow> = flows
        .iter()
        .filter(|flow| flow.outcome().saves_round_trip() && flow.cookie_received())
        .collect();
    let count = both.len() as u64;
    (count > 0).then(|| {
        Finding::new(
            facts,
            Id::AlternateKey,
            address(facts, remote),
            format!("{count} cookies of the backup key were taken and replaced: a rotation is under way."),
        )
        .rows(rows_of(facts, remote))
        .count("accepted-with-new-cookie", count)
        .line(format!("data acked and a new cookie in the same SYN-ACK {count}"))
        .example(both.last().map(|flow| **flow))
        .confidence(Confidence::High)
    })
}
