//! The filter language: one for the flags of `trace`, for `--filter` and for `/` in the dashboard.
//!
//! ```text
//! filter = term { " " term }                       every term must hold
//! term   = [ "!" ] ( key ":" value { "," value }   one of the values
//!                  | metric op number [ unit ]     lost>100ms  hit<50%  attempts>=10
//!                  | word )                        in the address, process, unit, cgroup or outcome
//! key    = dst | network | port | proc | cgroup | unit | role | outcome | fam
//! ```

mod parse;

use std::net::IpAddr;

use tfo_common::{Outcome, Role};

pub use self::parse::{FilterError, KEYS};
use super::source::CgroupName;
use crate::addr::Prefix;

/// What a filter looks at: a flow or a row of a table. A number that does not exist matches no comparison.
pub trait Filterable {
    /// Which end this host is.
    fn role(&self) -> Option<Role>;
    /// 4 or 6.
    fn family(&self) -> Option<u8>;
    /// The other end.
    fn remote(&self) -> Option<IpAddr>;
    /// Port of the service: the remote one of a client, the local one of a server.
    fn port(&self) -> Option<u16>;
    /// Whether it ended so, or counted such an end.
    fn has_outcome(&self, outcome: Outcome) -> bool;
    /// Whether one of its processes satisfies the test.
    fn any_process(&self, test: &mut dyn FnMut(u32, &str) -> bool) -> bool;
    /// Where its cgroup leads.
    fn cgroup(&self) -> Option<&CgroupName>;
    /// What the network of the other end is called, where a file says so.
    fn network(&self) -> Option<&str>;
    /// A number of it.
    fn metric(&self, metric: Metric) -> Option<f64>;
}

/// Numbers that can be compared. Times are in microseconds, shares in per cent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Time lost to Fast Open.
    Lost,
    /// Time saved by it.
    Saved,
    /// Saved minus lost.
    Net,
    /// Round-trip time.
    Rtt,
    /// Time to first byte.
    Ttfb,
    /// Length of the handshake.
    Handshake,
    /// Handshakes with Fast Open.
    Attempts,
    /// Accepted of a hundred attempts.
    Hit,
    /// Attempts that did not work.
    Failures,
    /// SYN payload bytes.
    Syn,
    /// SYN or SYN-ACK retransmissions.
    Retrans,
}

impl Metric {
    /// Every metric with its name in the language.
    pub const ALL: [(&'static str, Metric); 11] = [
        ("lost", Metric::Lost),
        ("saved", Metric::Saved),
        ("net", Metric::Net),
        ("rtt", Metric::Rtt),
        ("ttfb", Metric::Ttfb),
        ("handshake", Metric::Handshake),
        ("attempts", Metric::Attempts),
        ("hit", Metric::Hit),
        ("failures", Metric::Failures),
        ("syn", Metric::Syn),
        ("retrans", Metric::Retrans),
    ];

    /// What it is, for the documents.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Lost => "time lost to Fast Open",
            Self::Saved => "time saved by it",
            Self::Net => "saved minus lost",
            Self::Rtt => "round-trip time",
            Self::Ttfb => "time to first byte (connections)",
            Self::Handshake => "length of the handshake (connections)",
            Self::Attempts => "handshakes with Fast Open (destinations)",
            Self::Hit => "accepted of a hundred attempts (destinations)",
            Self::Failures => "attempts that did not work (destinations)",
            Self::Syn => "bytes of payload in SYNs",
            Self::Retrans => "SYNs or SYN-ACKs that were sent again (connections)",
        }
    }

    fn is_time(self) -> bool {
        matches!(
            self,
            Metric::Lost | Metric::Saved | Metric::Net | Metric::Rtt | Metric::Ttfb | Metric::Handshake
        )
    }
}

/// A list of terms that must all hold. The empty one matches everything.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq)]
struct Term {
    negated: bool,
    /// One of them must hold.
    any: Vec<Test>,
}

#[derive(Clone, Debug, PartialEq)]
enum Test {
    Role(Role),
    Family(u8),
    Remote(Prefix),
    Network(String),
    Port {
        from: u16,
        to: u16,
    },
    /// One bit per outcome code.
    Outcomes(u32),
    Pid(u32),
    /// Lower case, part of the name.
    Process(String),
    Unit(String),
    Cgroup(String),
    Compare {
        metric: Metric,
        op: Op,
        value: f64,
    },
    Word(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Op {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

impl Filter {
    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Adds `key:value,value` as a term, as if it had been written in the language.
    pub fn require(&mut self, key: &str, values: &[String]) -> Result<(), String> {
        if !values.is_empty() {
            let any = values
                .iter()
                .map(|value| parse::keyed(key, value))
                .collect::<Result<_, _>>()?;
            self.terms.push(Term { negated: false, any });
        }
        Ok(())
    }

    /// Whether it compares this number.
    pub fn compares(&self, wanted: Metric) -> bool {
        let tests = self.terms.iter().flat_map(|term| &term.any);
        tests
            .into_iter()
            .any(|test| matches!(test, Test::Compare { metric, .. } if *metric == wanted))
    }

    /// Whether some item can only be judged by the name of its cgroup.
    pub fn needs_names(&self) -> bool {
        let mut tests = self.terms.iter().flat_map(|term| &term.any);
        tests.any(Test::needs_name)
    }

    /// Whether the name of the item's cgroup, which is not known, decides on it.
    pub fn is_undecided(&self, item: &dyn Filterable) -> bool {
        let by_name = |term: &Term| {
            !term.any.iter().any(|test| test.holds(item)) && term.any.iter().any(Test::needs_name)
        };
        let refused = |term: &Term| term.any.iter().any(|test| test.holds(item)) == term.negated;
        self.terms.iter().any(by_name) && !self.terms.iter().any(|term| !by_name(term) && refused(term))
    }

    /// The key of a term that no connection of a capture can satisfy: packets tell nothing of processes and services.
    pub fn key_of_host(&self) -> Option<&'static str> {
        let wanted = self.terms.iter().filter(|term| !term.negated);
        let mut hopeless = wanted.filter(|term| term.any.iter().all(|test| test.key_of_host().is_some()));
        hopeless.next()?.any.first()?.key_of_host()
    }

    /// Labels of networks it asks for.
    pub fn networks(&self) -> impl Iterator<Item = &str> {
        let tests = self.terms.iter().flat_map(|term| &term.any);
        tests.filter_map(|test| match test {
            Test::Network(part) => Some(part.as_str()),
            _ => None,
        })
    }

    /// Requires what both require.
    pub fn and(&mut self, other: Filter) {
        self.terms.extend(other.terms);
    }

    /// Whether the item satisfies every term.
    pub fn matches(&self, item: &dyn Filterable) -> bool {
        self.terms
            .iter()
            .all(|term| term.any.iter().any(|test| test.holds(item)) != term.negated)
    }
}

impl Test {
    /// A word may be part of the name as well as of other things.
    fn needs_name(&self) -> bool {
        matches!(self, Test::Unit(_) | Test::Cgroup(_) | Test::Word(_))
    }

    /// Its key in the language, where only the host that was watched can tell.
    fn key_of_host(&self) -> Option<&'static str> {
        match self {
            Test::Pid(_) | Test::Process(_) => Some("proc"),
            Test::Unit(_) => Some("unit"),
            Test::Cgroup(_) => Some("cgroup"),
            _ => None,
        }
    }

    fn holds(&self, item: &dyn Filterable) -> bool {
        match self {
            Test::Role(role) => item.role() == Some(*role),
            Test::Family(family) => item.family() == Some(*family),
            Test::Remote(prefix) => item.remote().is_some_and(|ip| prefix.contains(ip)),
            Test::Network(part) => item.network().is_some_and(|label| contains(label, part)),
            Test::Port { from, to } => item.port().is_some_and(|port| (*from..=*to).contains(&port)),
            Test::Outcomes(mask) => outcomes_of(*mask).any(|outcome| item.has_outcome(outcome)),
            Test::Pid(pid) => item.any_process(&mut |candidate, _| candidate == *pid),
            Test::Process(part) => item.any_process(&mut |_, comm| contains(comm, part)),
            Test::Unit(part) => item.cgroup().is_some_and(|name| {
                [&name.unit, &name.container]
                    .into_iter()
                    .flatten()
                    .any(|name| contains(name, part))
            }),
            Test::Cgroup(part) => item.cgroup().is_some_and(|name| contains(&name.path, part)),
            Test::Compare { metric, op, value } => item
                .metric(*metric)
                .is_some_and(|actual| op.holds(actual, *value)),
            Test::Word(part) => word_matches(item, part),
        }
    }
}

fn word_matches(item: &dyn Filterable, part: &str) -> bool {
    item.remote().is_some_and(|ip| ip.to_string().contains(part))
        || item.network().is_some_and(|label| contains(label, part))
        || item.cgroup().is_some_and(|name| contains(&name.path, part))
        || item.any_process(&mut |_, comm| contains(comm, part))
        || Outcome::ALL
            .into_iter()
            .any(|outcome| outcome.name().contains(part) && item.has_outcome(outcome))
}

/// `part` is lower case already.
fn contains(text: &str, part: &str) -> bool {
    text.to_lowercase().contains(part)
}

fn outcomes_of(mask: u32) -> impl Iterator<Item = Outcome> {
    Outcome::ALL
        .into_iter()
        .filter(move |outcome| mask & bit(*outcome) != 0)
}

fn bit(outcome: Outcome) -> u32 {
    1 << outcome as u32
}

impl Op {
    #[expect(clippy::float_cmp, reason = "both sides are whole numbers the user can see")]
    fn holds(self, actual: f64, value: f64) -> bool {
        match self {
            Op::Less => actual < value,
            Op::LessOrEqual => actual <= value,
            Op::Greater => actual > value,
            Op::GreaterOrEqual => actual >= value,
            Op::Equal => actual == value,
            Op::NotEqual => actual != value,
        }
    }
}

const _: () = assert!(Outcome::COUNT <= 32, "outcome sets are bits of a u32");

#[cfg(test)]
mod tests;
