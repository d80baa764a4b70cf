//! The table as a page: `docs/diagnoses.md`.

use std::fmt::Write as _;

use super::{Diagnosis, Group, TABLE};

/// What stands above the table.
const HEAD: &str = "\
# Diagnoses

What `tfo-cli diagnose` finds, and `top`, `trace --summary` and every replay with it. This page is made from the table in
`tfo-cli/src/model/diagnosis/registry`; the thresholds are the constants of `threshold.rs` beside it.

- **fail**: connections are slower, or break, because of Fast Open. `diagnose` ends with exit code 4.
- **warn**: Fast Open does not do what it could.
- **info**: worth knowing; nothing has to be done.

A finding has the counts it rests on, one connection that shows it, what else was ruled out, how sure it is, what it costs,
the fix and how to take that back. A fact nobody looked at is no evidence: what could not be judged is listed with the
reason. A finding whose latest ten attempts went without the fault is over, and only told.

Random loss hits plain SYNs too. A path is blamed only when SYNs with Fast Open are lost more often than SYNs without it on
the way to the same address, at two moments at least: the chance that bad luck blames any path of the host is below
1 in 1,000, however many destinations there are.

Each line names the test (below `tfo-cli/tests`) that makes the fault with real packets on a live kernel, and the one that
applies the fix and sees the fault go. What rides in SYNs is looked at where a rule or guard of a policy lets them pass, and in
captures; elsewhere `diagnose` lists it as not looked at. Of other people's middleboxes the lab owns one: to mend it is to remove it.
";

/// The whole page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for group in Group::ALL {
        put(&mut page, format_args!("\n## {}\n\n", group.title()));
        put(
            &mut page,
            format_args!(
                "| diagnosis | severity | scope | signature | lab scenario | found live by | fix | what the fix does | fix tried by |\n"
            ),
        );
        put(
            &mut page,
            format_args!("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"),
        );
        for line in of(group) {
            put(
                &mut page,
                format_args!(
                    "| [`{name}`](#{name}) | {} | {} | {} | {} | {} | {} | {} | {} |\n",
                    line.severity.name(),
                    line.scope.name(),
                    line.signature,
                    line.scenario,
                    test(line.found_by, "not shown live"),
                    line.fix,
                    line.effect,
                    test(line.mended_by, "not tried live"),
                    name = line.id.name(),
                ),
            );
        }
        for line in of(group) {
            put(
                &mut page,
                format_args!(
                    "\n### {}\n\n{}\n\n- Looks like: {}.\n- Is not: {}.\n- Fix: {}.\n- Effect: {}.\n",
                    line.id.name(),
                    line.sentence,
                    line.signature,
                    line.not,
                    line.fix,
                    line.effect,
                ),
            );
        }
    }
    page
}

/// The function of a test, or what it means that there is none.
fn test(test: Option<&'static str>, none: &str) -> String {
    let function = test.and_then(|test| test.split_once("::"));
    function.map_or_else(|| none.to_owned(), |(_, function)| format!("`{function}`"))
}

fn of(group: Group) -> impl Iterator<Item = &'static Diagnosis> {
    TABLE.iter().filter(move |line| line.group == group)
}

fn put(page: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _ = page.write_fmt(text);
}
