//! The policy file, in TOML. It lists the whole policy: applying it removes the rules and guards that it does not list.
//!
//! ```toml
//! [[rule]]
//! cgroup = "/system.slice/app.service"   # or: unit = "app.service", or: container = "4f5e..."
//! dst = "203.0.113.0/24"
//! ports = [443, "8000-8999"]             # without: every port
//! action = "no-data"                     # the default; or strip, observe
//! ttl = "7d"                             # without: until it is removed
//! note = "ticket 4711: their firewall eats SYN data"
//!
//! [[guard]]
//! cgroup = "/"
//! failures = 5
//! of = 6
//! backoff = "10m"
//! max-backoff = "24h"
//! escalate = false
//! ```

use std::fmt;

use serde::{Deserialize, Deserializer, de};
use tfo_common::PolicyAction;
use toml::Spanned;

use super::{
    GuardSpec, RuleSpec,
    guard::Settings,
    rule::{self, CgroupSelector},
};
use crate::duration;

/// The contents of a file. Cgroups are named, but not looked up yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Rules, in the order of the file.
    pub rules: Vec<Listed<RuleSpec<CgroupSelector>>>,
    /// Guards, in the order of the file.
    pub guards: Vec<Listed<GuardSpec<CgroupSelector>>>,
}

/// The format of the file, as the help shows it.
pub const FORMAT: &str = r#"Format of the file (TOML):
  [[rule]]
  unit = "app.service"                 # or cgroup = "/path", container = "id"
  dst = "203.0.113.0/24"
  ports = [443, "8000-8999"]           # none: all
  action = "no-data"                   # default; strip, observe
  ttl = "7d"                           # none: until removed. Applying again does not renew it
  note = "ticket 4711"

  [[guard]]
  cgroup = "/"
  failures = 5
  of = 6
  backoff = "10m"
  max-backoff = "24h"
  escalate = false"#;

/// A rule or guard of the file, and the line that it begins at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed<T> {
    /// Number of the line, from 1.
    pub line: usize,
    /// The rule or the guard.
    pub spec: T,
}

/// An error in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Number of the line, from 1.
    pub line: usize,
    /// What is wrong, and what would be right.
    pub why: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    #[serde(default)]
    rule: Vec<Spanned<RawRule>>,
    #[serde(default)]
    guard: Vec<Spanned<RawGuard>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    cgroup: Option<Spanned<String>>,
    unit: Option<Spanned<String>>,
    container: Option<Spanned<String>>,
    dst: Spanned<String>,
    #[serde(default)]
    ports: Vec<Spanned<RawPort>>,
    action: Option<Spanned<String>>,
    ttl: Option<Spanned<String>>,
    note: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RawGuard {
    cgroup: Option<Spanned<String>>,
    unit: Option<Spanned<String>>,
    container: Option<Spanned<String>>,
    failures: Option<u8>,
    of: Option<u8>,
    backoff: Option<Spanned<String>>,
    max_backoff: Option<Spanned<String>>,
    escalate: Option<bool>,
}

/// A port: a number, or text with a range.
struct RawPort(String);

impl<'de> Deserialize<'de> for RawPort {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = RawPort;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a port (443) or a range (\"8000-8999\")")
            }

            fn visit_i64<E>(self, value: i64) -> Result<RawPort, E> {
                Ok(RawPort(value.to_string()))
            }

            fn visit_str<E>(self, value: &str) -> Result<RawPort, E> {
                Ok(RawPort(value.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// Reads the text of a policy file.
pub fn parse(text: &str) -> Result<File, FileError> {
    let lines = Lines::new(text);
    let raw: RawFile = toml::from_str(text).map_err(|error| FileError {
        line: error.span().map_or(1, |span| lines.number(span.start)),
        why: error.message().to_owned(),
    })?;
    let rules = raw
        .rule
        .into_iter()
        .map(|raw| lines.rule(raw))
        .collect::<Result<Vec<_>, _>>()?;
    let guards = raw
        .guard
        .into_iter()
        .map(|raw| lines.guard(raw))
        .collect::<Result<Vec<_>, _>>()?;
    Ok(File { rules, guards })
}

/// The byte offsets at which lines begin, for line numbers in errors.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        Self(std::iter::once(0).chain(breaks.map(|(at, _)| at + 1)).collect())
    }

    /// Number of the line that a byte offset is in, from 1.
    fn number(&self, at: usize) -> usize {
        self.0.partition_point(|start| *start <= at)
    }

    fn error(&self, at: usize, why: impl Into<String>) -> FileError {
        FileError {
            line: self.number(at),
            why: why.into(),
        }
    }

    /// Parses a value; an error gets the name of the value and its line.
    fn value<T>(
        &self,
        name: &str,
        value: &Spanned<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<T, FileError> {
        parse(value.get_ref()).map_err(|why| self.error(value.span().start, format!("{name}: {why}")))
    }

    fn optional<T>(
        &self,
        name: &str,
        value: Option<&Spanned<String>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, FileError> {
        value.map(|value| self.value(name, value, parse)).transpose()
    }

    fn scope(&self, at: usize, named: [Option<Spanned<String>>; 3]) -> Result<CgroupSelector, FileError> {
        let [cgroup, unit, container] = named.map(|name| name.map(Spanned::into_inner));
        match (cgroup, unit, container) {
            (Some(path), None, None) => Ok(CgroupSelector::Path(path.into())),
            (None, Some(name), None) => Ok(CgroupSelector::Unit(name)),
            (None, None, Some(id)) => Ok(CgroupSelector::Container(id)),
            _ => Err(self.error(at, "give exactly one of cgroup, unit and container")),
        }
    }

    fn rule(&self, raw: Spanned<RawRule>) -> Result<Listed<RuleSpec<CgroupSelector>>, FileError> {
        let at = raw.span().start;
        let raw = raw.into_inner();
        let mut ports = Vec::new();
        for port in raw.ports {
            let range = rule::port_range(&port.get_ref().0)
                .map_err(|why| self.error(port.span().start, format!("ports: {why}")))?;
            ports.push(range);
        }
        let spec = RuleSpec {
            cgroup: self.scope(at, [raw.cgroup, raw.unit, raw.container])?,
            dst: self.value("dst", &raw.dst, rule::destination)?,
            ports: rule::ports(ports).map_err(|why| self.error(at, format!("ports: {why}")))?,
            action: self
                .optional("action", raw.action.as_ref(), rule::action)?
                .unwrap_or(PolicyAction::NoData),
            ttl: self.optional("ttl", raw.ttl.as_ref(), rule::ttl)?,
            note: self
                .optional("note", raw.note.as_ref(), rule::note)?
                .unwrap_or_default(),
        };
        Ok(Listed {
            line: self.number(at),
            spec,
        })
    }

    fn guard(&self, raw: Spanned<RawGuard>) -> Result<Listed<GuardSpec<CgroupSelector>>, FileError> {
        let at = raw.span().start;
        let raw = raw.into_inner();
        let default = Settings::default();
        let backoff = self
            .optional("backoff", raw.backoff.as_ref(), duration::parse)?
            .unwrap_or(default.backoff);
        let max_backoff = self
            .optional("max-backoff", raw.max_backoff.as_ref(), duration::parse)?
            .unwrap_or(default.max_backoff.max(backoff));
        let settings = Settings {
            failures: raw.failures.unwrap_or(default.failures),
            of: raw.of.unwrap_or(default.of),
            backoff,
            max_backoff,
            escalate: raw.escalate.unwrap_or(default.escalate),
        };
        let spec = GuardSpec {
            cgroup: self.scope(at, [raw.cgroup, raw.unit, raw.container])?,
            settings: settings
                .check()
                .map_err(|(name, why)| self.error(at, format!("{name}: {why}")))?,
        };
        Ok(Listed {
            line: self.number(at),
            spec,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = r#"
[[rule]]
unit = "app.service"
dst = "203.0.113.0/24"
ports = [443, "8000-8999"]
ttl = "7d"
note = "ticket 4711"

[[rule]]
cgroup = "/"
dst = "2001:db8::/32"
action = "observe"

[[guard]]
cgroup = "/"
failures = 3
of = 4
backoff = "5m"
max-backoff = "1h"
escalate = true
"#;

    #[test]
    fn everything_is_read() {
        let file = parse(GOOD).expect("a good file");
        assert_eq!((file.rules.len(), file.guards.len()), (2, 1));
        let rule = &file.rules[0].spec;
        assert_eq!(file.rules[0].line, 2);
        assert_eq!(rule.cgroup, CgroupSelector::Unit("app.service".into()));
        assert_eq!((rule.ports.len(), rule.action), (2, PolicyAction::NoData));
        assert_eq!(rule.ttl, Some(Duration::from_hours(7 * 24)));
        assert_eq!(file.rules[1].spec.action, PolicyAction::Observe);
        let settings = file.guards[0].spec.settings;
        assert_eq!((settings.failures, settings.of, settings.escalate), (3, 4, true));
        assert_eq!(
            parse(""),
            Ok(File {
                rules: Vec::new(),
                guards: Vec::new()
            })
        );
    }

    #[test]
    fn the_format_that_help_shows_names_every_action() {
        for action in PolicyAction::ALL {
            assert!(FORMAT.contains(action.name()), "{}", action.name());
        }
        let (_, example) = FORMAT.split_once('\n').expect("a heading");
        assert!(parse(example).is_ok(), "the example is a file");
    }

    #[test]
    fn errors_name_line_and_field() {
        for (text, line, part) in [
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"10.1.0.0/8\"",
                3,
                "dst: 10.1.0.0/8 has bits",
            ),
            ("[[rule]]\ncgroup = \"/\"", 1, "missing field `dst`"),
            ("\n\n[[rule]]\ndst = \"::/0\"", 3, "exactly one of"),
            (
                "[[rule]]\ncgroup = \"/\"\nunit = \"x\"\ndst = \"::/0\"",
                1,
                "exactly one of",
            ),
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\nport = 4",
                4,
                "unknown field `port`",
            ),
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\nports = [0]",
                4,
                "ports: '0'",
            ),
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\nports = [true]",
                4,
                "a port",
            ),
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\naction = \"deny\"",
                4,
                "action: 'deny'",
            ),
            (
                "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\nttl = \"soon\"",
                4,
                "ttl: 'soon'",
            ),
            ("[[guard]]\ncgroup = \"/\"\nfailures = 9", 1, "failures: 9 is not"),
            ("[[guard]]\ncgroup = \"/\"\nbackoff = \"x\"", 3, "backoff: 'x'"),
            ("[rule]\n", 1, "invalid type"),
            ("rules = 4\n[", 2, ""),
        ] {
            let error = parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text}: {error}");
            assert!(error.why.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_safe(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn a_good_file_cut_anywhere_is_safe(cut in 0usize..GOOD.len(), junk in "\\PC{0,8}") {
            let cut = (0..=cut).rev().find(|at| GOOD.is_char_boundary(*at)).unwrap_or(0);
            if let Err(error) = parse(&format!("{}{junk}", &GOOD[..cut])) {
                prop_assert!(error.line <= GOOD.lines().count() + 2);
            }
        }
    }
}
