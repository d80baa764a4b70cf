//! What `doctor` found, as JSON, schema 1: one object per check and line. Fields may be added, none is renamed.

use serde::Serialize;

use super::json::{SCHEMA, lines};
use crate::inspect::doctor::Check;

#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    r#type: &'static str,
    /// With `netns` it is there once.
    id: &'static str,
    /// `pass`, `warn` or `fail`.
    status: &'static str,
    netns: Option<u32>,
    netns_name: Option<&'a str>,
    what: &'a str,
    fix: Option<&'a str>,
}

/// Every check; the first is `fast-open`.
pub fn checks(checks: &[Check]) -> anyhow::Result<String> {
    lines(checks.iter().map(|check| Line {
        schema: SCHEMA,
        r#type: "check",
        id: check.id,
        status: check.status.name(),
        netns: check.netns.as_ref().map(|netns| netns.inode),
        netns_name: check.netns.as_ref().and_then(|netns| netns.name.as_deref()),
        what: &check.what,
        fix: check.fix.as_deref(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::doctor::{examine, tests::healthy};

    #[test]
    fn one_object_per_line() {
        let mut facts = healthy();
        facts.mounts.bpffs = None;
        let text = checks(&examine(&facts)).expect("plain values");
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("fast-open\"") || line.contains("bpffs\""))
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
