//! Text to [`Filter`]. An error carries the place in the text, so that a dashboard can point at it.

use std::{fmt, ops::Range, str::FromStr};

use tfo_common::{Outcome, Role};

use super::{Filter, Metric, Op, Term, Test, bit};
use crate::duration;

/// The keys of the language, with an example of each.
pub const KEYS: [(&str, &str); 9] = [
    ("dst", "dst:10.0.0.0/8"),
    ("network", "network:office"),
    ("port", "port:443"),
    ("proc", "proc:curl"),
    ("cgroup", "cgroup:system.slice"),
    ("unit", "unit:nginx"),
    ("role", "role:client"),
    ("outcome", "outcome:syn-timeout,reset"),
    ("fam", "fam:6"),
];

/// Longest first: `<=` must not be read as `<`.
const OPS: [(&str, Op); 7] = [
    ("<=", Op::LessOrEqual),
    (">=", Op::GreaterOrEqual),
    ("!=", Op::NotEqual),
    ("<", Op::Less),
    (">", Op::Greater),
    ("=", Op::Equal),
    (":", Op::Equal),
];

/// What is wrong with a filter, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilterError {
    /// Bytes of the text it is about.
    pub at: Range<usize>,
    /// What is wrong, with what would be right.
    pub message: String,
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for FilterError {}

impl FromStr for Filter {
    type Err = FilterError;

    fn from_str(text: &str) -> Result<Self, FilterError> {
        let mut terms = Vec::new();
        for at in words(text) {
            let word = &text[at.clone()];
            terms.push(term(word).map_err(|message| FilterError { at, message })?);
        }
        Ok(Self { terms })
    }
}

/// The words of the text; quotes keep blanks inside a word.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let mut start = None;
    let mut quoted = false;
    for (index, character) in text.char_indices() {
        quoted ^= character == '"';
        match start {
            None if !character.is_whitespace() => start = Some(index),
            Some(from) if character.is_whitespace() && !quoted => {
                words.push(from..index);
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|from| from..text.len()));
    words
}

fn term(word: &str) -> Result<Term, String> {
    let (negated, body) = match word.strip_prefix('!') {
        Some(rest) => (true, rest),
        None => (false, word),
    };
    if body.is_empty() {
        return Err("'!' negates what follows it: !outcome:accepted".into());
    }
    let any = match split(body) {
        None => vec![Test::Word(unquoted(body))],
        Some((key, _, "")) => return Err(format!("'{key}' needs a value")),
        Some((key, op, value)) => match metric(key) {
            Some(metric) => vec![Test::Compare {
                metric,
                op,
                value: number(metric, value)?,
            }],
            None if op == Op::Equal => value
                .split(',')
                .map(|value| keyed(key, value))
                .collect::<Result<_, _>>()?,
            None => return Err(not_a_number(key)),
        },
    };
    Ok(Term { negated, any })
}

/// Key, operator and value, where the word begins like a key. `::1` and `[fe80::1]` do not.
fn split(word: &str) -> Option<(&str, Op, &str)> {
    let end = word.find(|character: char| !character.is_ascii_alphabetic())?;
    let (key, rest) = word.split_at(end);
    let (sign, op) = OPS.into_iter().find(|(sign, _)| rest.starts_with(sign))?;
    // A bare IPv6 address such as fe80::1 stops at its first digit; `abcd::1` does not.
    (end > 0 && !rest.starts_with("::")).then_some((key, op, &rest[sign.len()..]))
}

fn not_a_number(key: &str) -> String {
    if KEYS.iter().any(|(known, _)| *known == key) {
        return format!("'{key}' is not a number: write {key}:value");
    }
    unknown(key)
}

fn unknown(key: &str) -> String {
    let keys: Vec<_> = KEYS
        .iter()
        .map(|(key, _)| *key)
        .chain(Metric::ALL.iter().map(|(name, _)| *name))
        .collect();
    format!("'{key}' is not known; there are {}", keys.join(", "))
}

fn metric(name: &str) -> Option<Metric> {
    Metric::ALL
        .into_iter()
        .find(|(known, _)| *known == name)
        .map(|(_, metric)| metric)
}

fn unquoted(text: &str) -> String {
    text.replace('"', "").to_lowercase()
}

/// One value of a key.
pub(super) fn keyed(key: &str, value: &str) -> Result<Test, String> {
    if value.is_empty() {
        return Err(format!("'{key}' needs a value"));
    }
    match key {
        "dst" => value.parse().map(Test::Remote),
        "network" => Ok(Test::Network(unquoted(value))),
        "port" => port(value),
        "proc" => Ok(value
            .parse()
            .map_or_else(|_| Test::Process(unquoted(value)), Test::Pid)),
        "cgroup" => Ok(Test::Cgroup(unquoted(value))),
        "unit" => Ok(Test::Unit(unquoted(value))),
        "role" => one_of(value, Role::ALL.map(|role| (role.name(), role))).map(Test::Role),
        "outcome" => outcome(value),
        "fam" => one_of(value, [("4", 4), ("6", 6)]).map(Test::Family),
        _ => Err(unknown(key)),
    }
}

fn one_of<T: Copy, const N: usize>(value: &str, known: [(&str, T); N]) -> Result<T, String> {
    known
        .iter()
        .find(|(name, _)| *name == value)
        .map(|(_, item)| *item)
        .ok_or_else(|| {
            let names = known.map(|(name, _)| name);
            format!("'{value}' is not one of {}", names.join(", "))
        })
}

fn port(value: &str) -> Result<Test, String> {
    let bad = || format!("'{value}' is not a port or a range such as 8000-8999");
    let (from, to) = value.split_once('-').unwrap_or((value, value));
    let (from, to) = (from.parse().map_err(|_| bad())?, to.parse().map_err(|_| bad())?);
    if from > to {
        return Err(bad());
    }
    Ok(Test::Port { from, to })
}

fn outcome(value: &str) -> Result<Test, String> {
    let set = |wanted: fn(Outcome) -> bool| {
        Test::Outcomes(
            Outcome::ALL
                .into_iter()
                .filter(|outcome| wanted(*outcome))
                .map(bit)
                .sum(),
        )
    };
    match value {
        "good" => Ok(set(Outcome::is_good)),
        "failure" => Ok(set(Outcome::is_failure)),
        _ => Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == value)
            .map_or_else(
                || {
                    let names: Vec<_> = Outcome::ALL.into_iter().map(Outcome::name).collect();
                    Err(format!(
                        "'{value}' is not an outcome; there are {}, good, failure",
                        names.join(", ")
                    ))
                },
                |outcome| Ok(Test::Outcomes(bit(outcome))),
            ),
    }
}

/// A number with its unit: times as everywhere, but milliseconds without a unit and with a sign, as `net` may be
/// negative; shares with or without `%`; the rest may end in k or M.
fn number(metric: Metric, text: &str) -> Result<f64, String> {
    if metric.is_time() {
        return time_us(text);
    }
    let digits = text
        .find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '-'))
        .unwrap_or(text.len());
    let (digits, unit) = text.split_at(digits);
    let factor = match unit {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "%" if metric == Metric::Hit => 1.0,
        _ => return Err(format!("'{text}' is not a number such as 50 or 2k")),
    };
    match digits.parse::<f64>() {
        Ok(value) if value.is_finite() => Ok(value * factor),
        _ => Err(format!("'{text}' is not a number")),
    }
}

/// A time in microseconds.
fn time_us(text: &str) -> Result<f64, String> {
    if let Ok(ms) = text.parse::<f64>()
        && ms.is_finite()
    {
        return Ok(ms * 1e3);
    }
    let (sign, digits) = text.strip_prefix('-').map_or((1.0, text), |rest| (-1.0, rest));
    Ok(sign * duration::parse(digits)?.as_nanos() as f64 / 1e3)
}
