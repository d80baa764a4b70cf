//! Rules: the cgroup and the destinations that a rule applies to, what it does, and how each part is read from text.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use tfo_common::{
    PolicyAction,
    policy::{Hits, MAX_PORTS, NOTE_LEN, PortRange},
};

use crate::{addr::Prefix, duration};

/// Shortest time to live: a shorter one would be over before a user has read the answer.
const MIN_TTL: Duration = Duration::from_secs(1);
/// Longest time to live: 100 years, whose nanoseconds fit into 64 bits.
const MAX_TTL: Duration = Duration::from_hours(876_000);

/// A cgroup as a user names it: it is still to be looked up, and may not exist.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CgroupSelector {
    /// By path, absolute or below the cgroup2 mount.
    Path(PathBuf),
    /// By systemd unit; without a suffix it is a service.
    Unit(String),
    /// By container: the beginning of its id, or its name.
    Container(String),
}

impl fmt::Display for CgroupSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => write!(f, "cgroup {}", path.display()),
            Self::Unit(name) => write!(f, "unit {name}"),
            Self::Container(id) => write!(f, "container {id}"),
        }
    }
}

/// A cgroup that exists.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CgroupRef {
    /// Path below the cgroup2 mount, beginning with `/`.
    pub path: String,
    /// cgroup v2 id.
    pub id: u64,
}

/// A rule as it is asked for. `C` is the cgroup: in a policy file and on the command line a [`CgroupSelector`], which is
/// still to be looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleSpec<C = CgroupRef> {
    /// The rule is for sockets of this cgroup and of those below it.
    pub cgroup: C,
    /// The destinations; the bits after the prefix length are 0.
    pub dst: Prefix,
    /// Ports of the destinations, sorted, at most [`MAX_PORTS`] ranges; empty for all.
    pub ports: Vec<PortRange>,
    /// What is done to SYNs with data or with the option.
    pub action: PolicyAction,
    /// Time to live, 1 s to 100 years; `None` until the rule is removed.
    pub ttl: Option<Duration>,
    /// Why the rule was made: one line of at most [`NOTE_LEN`] bytes, possibly empty.
    pub note: String,
}

impl RuleSpec<CgroupSelector> {
    /// The same rule for the cgroup that was looked up.
    pub fn with_cgroup(&self, cgroup: CgroupRef) -> RuleSpec {
        RuleSpec {
            cgroup,
            dst: self.dst,
            ports: self.ports.clone(),
            action: self.action,
            ttl: self.ttl,
            note: self.note.clone(),
        }
    }
}

impl RuleSpec {
    /// The cgroup id and the prefix: no two rules in force have both in common.
    pub fn key(&self) -> (u64, Prefix) {
        (self.cgroup.id, self.dst)
    }
}

impl fmt::Display for RuleSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} for {} to {}",
            self.action.name(),
            self.cgroup.path,
            self.dst
        )?;
        if !self.ports.is_empty() {
            write!(f, " port {}", ports_text(&self.ports))?;
        }
        if let Some(ttl) = self.ttl {
            write!(f, " for {}", duration::text(ttl))?;
        }
        if self.note.is_empty() {
            Ok(())
        } else {
            write!(f, " ({})", self.note)
        }
    }
}

/// A rule that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Installed {
    /// What the rule is for and what it does.
    pub spec: RuleSpec,
    /// The number of the rule, from 1; never given twice.
    pub id: u32,
    /// When it was made, in ns of `CLOCK_REALTIME`.
    pub created_ns: u64,
    /// When it expires, in ns of `CLOCK_MONOTONIC`; 0 for never.
    pub expires_ns: u64,
    /// The user who made it.
    pub by: String,
    /// How often the rule applied, and when last.
    pub hits: Hits,
}

impl Installed {
    /// Whether it has expired at this instant of `CLOCK_MONOTONIC`, ns ([`tfo_common::policy::Rule::is_expired`]).
    pub fn is_expired(&self, now_ns: u64) -> bool {
        tfo_common::policy::is_over(self.expires_ns, now_ns)
    }
}

/// Reads the name of an action.
pub fn action(text: &str) -> Result<PolicyAction, String> {
    PolicyAction::from_name(text).ok_or_else(|| {
        let names = PolicyAction::ALL.map(PolicyAction::name);
        format!("'{text}' is not an action; there are {}", names.join(", "))
    })
}

/// Reads a block of destinations. Host bits are refused rather than cut off, as the user may have meant another block.
/// v4-mapped blocks are refused as well: on the wire these connections are IPv4.
pub fn destination(text: &str) -> Result<Prefix, String> {
    let prefix: Prefix = text.parse()?;
    if prefix.network() != prefix {
        return Err(format!(
            "{prefix} has bits set behind its length: did you mean {} or {}?",
            prefix.network(),
            prefix.address()
        ));
    }
    if let IpAddr::V6(v6) = prefix.address()
        && prefix.bits() >= 96
        && let Some(v4) = v6.to_ipv4_mapped()
    {
        let plain = Prefix::new(v4.into(), prefix.bits() - 96);
        return Err(format!("{prefix} is IPv4 on the wire: write {plain}"));
    }
    Ok(prefix)
}

/// Reads a port or a range: `443`, `8000-8999`.
pub fn port_range(text: &str) -> Result<PortRange, String> {
    let port = |text: &str| {
        text.parse::<u16>()
            .ok()
            .filter(|port| *port > 0)
            .ok_or_else(|| format!("'{text}' is not a port of 1 to 65535"))
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (port(first)?, port(last)?),
        None => (port(text)?, port(text)?),
    };
    if first > last {
        return Err(format!("'{text}' ends before it begins"));
    }
    Ok(PortRange { first, last })
}

/// Sorts ports and joins ranges that touch. More ranges than [`MAX_PORTS`] are refused.
pub fn ports(mut ranges: Vec<PortRange>) -> Result<Vec<PortRange>, String> {
    ranges.sort_unstable();
    let mut joined: Vec<PortRange> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if u32::from(range.first) <= u32::from(last.last) + 1 => {
                last.last = last.last.max(range.last);
            }
            _ => joined.push(range),
        }
    }
    if joined.len() > MAX_PORTS {
        return Err(format!(
            "{} separate port ranges; a rule has room for {MAX_PORTS}",
            joined.len()
        ));
    }
    Ok(joined)
}

/// Reads a time to live of one second to 100 years.
pub fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration::parse(text)?;
    if (MIN_TTL..=MAX_TTL).contains(&ttl) {
        Ok(ttl)
    } else {
        Err(format!("'{text}' is not a time to live of 1s to 100 years"))
    }
}

/// Checks a note: one line of at most [`NOTE_LEN`] bytes.
pub fn note(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        return Err("a note is one line of text".to_owned());
    }
    if text.len() > NOTE_LEN {
        return Err(format!(
            "{} bytes long; a rule has room for {NOTE_LEN}",
            text.len()
        ));
    }
    Ok(text.to_owned())
}

/// Ports as the user types them, such as `443,8000-8999`.
pub fn ports_text(ports: &[PortRange]) -> String {
    let one = |range: &PortRange| {
        if range.first == range.last {
            range.first.to_string()
        } else {
            format!("{}-{}", range.first, range.last)
        }
    };
    ports.iter().map(one).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn destinations_are_networks() {
        assert_eq!(
            destination("10.0.0.0/8").map(|prefix| prefix.bits()),
            Ok(8),
            "a network"
        );
        assert_eq!(destination("192.0.2.1").map(|prefix| prefix.bits()), Ok(32));
        for (text, part) in [
            ("10.1.0.0/8", "did you mean 10.0.0.0/8 or 10.1.0.0"),
            ("2001:db8::1/32", "did you mean 2001:db8::/32"),
            ("::ffff:10.0.0.0/104", "write 10.0.0.0/8"),
            ("::ffff:192.0.2.1", "write 192.0.2.1/32"),
            ("example.org", "not an IP address"),
            ("10.0.0.0/40", "0 to 32"),
        ] {
            let why = destination(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn ports_are_joined_and_bounded() {
        let range = |first, last| PortRange { first, last };
        let joined = ports(vec![range(80, 90), range(443, 443), range(91, 95), range(85, 86)]);
        assert_eq!(joined.as_deref(), Ok(&[range(80, 95), range(443, 443)][..]));
        assert_eq!(ports_text(&joined.unwrap_or_default()), "80-95,443");
        let many = (0..9)
            .map(|index| range(index * 10 + 1, index * 10 + 2))
            .collect();
        assert!(ports(many).is_err());
        for text in ["", "0", "x", "9-8", "70000", "1-", "-1"] {
            assert!(port_range(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_to_live_are_bounded() {
        assert_eq!(ttl("7d"), Ok(Duration::from_hours(168)));
        for text in ["10ms", "0", "200000d", "soon"] {
            assert!(ttl(text).is_err(), "{text}");
        }
    }

    #[test]
    fn notes_are_one_short_line() {
        assert_eq!(note("ticket 4711"), Ok("ticket 4711".to_owned()));
        assert!(note("a\nb").is_err() && note(&"x".repeat(NOTE_LEN + 1)).is_err());
    }

    proptest! {
        #[test]
        fn parsing_never_panics(text in "\\PC{0,40}") {
            let _ = (destination(&text), port_range(&text), ttl(&text), note(&text), action(&text));
        }

        #[test]
        fn joined_ports_cover_the_same(
            ranges in proptest::collection::vec((1u16.., 0u16..500), 1..8), port: u16,
        ) {
            let ranges: Vec<PortRange> = ranges
                .into_iter()
                .map(|(first, more)| PortRange { first, last: first.saturating_add(more) })
                .collect();
            let covers = |ranges: &[PortRange]| ranges.iter().any(|r| (r.first..=r.last).contains(&port));
            let joined = ports(ranges.clone()).expect("at most eight");
            prop_assert_eq!(covers(&ranges), covers(&joined));
        }
    }
}
