//! The README says what the code says: outcomes per role, degradations, commands.

use std::{collections::BTreeSet, process::Command};

use tfo_cli::tui::{Command as Bound, Keys};
use tfo_common::{Outcome, Role};

const README: &str = include_str!("../../README.md");

/// First cells, in backticks, of the table whose head begins with this cell.
fn rows(head: &str) -> BTreeSet<&'static str> {
    README
        .lines()
        .skip_while(|line| !line.starts_with(&format!("| {head} |")))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

#[test]
fn outcomes_are_those_of_the_code() {
    for role in Role::ALL {
        let known: BTreeSet<_> = Outcome::ALL
            .into_iter()
            .filter(|outcome| outcome.occurs_in(role))
            .map(Outcome::name)
            .collect();
        assert_eq!(rows(role.name()), known, "{}", role.name());
    }
}

#[test]
fn every_command_it_shows_exists() {
    let help = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let shown: BTreeSet<&str> = README
        .split("tfo-cli ")
        .skip(1)
        .filter_map(|rest| rest.split(|end: char| !end.is_ascii_lowercase()).next())
        .filter(|word| {
            [
                "top",
                "trace",
                "diagnose",
                "analyze",
                "report",
                "doctor",
                "listeners",
                "cookies",
                "keys",
                "policy",
                "guard",
                "man",
                "completions",
            ]
            .contains(word)
        })
        .collect();
    assert!(shown.len() >= 5, "{shown:?}");
    for command in shown {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
}

/// `UPDATE_DOCS=1 cargo test -p tfo-cli --test docs` writes it anew.
#[test]
fn the_page_of_diagnoses_is_that_of_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/diagnoses.md");
    let page = tfo_cli::model::diagnosis::registry::page();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(path, &page).expect("the page can be written");
    }
    let written = std::fs::read_to_string(path).expect("the page is there");
    assert!(
        written == page,
        "docs/diagnoses.md is not made from the table: run with UPDATE_DOCS=1"
    );
}

#[test]
fn keys_are_those_of_the_dashboard() {
    let table: Vec<Vec<&str>> = README
        .lines()
        .skip_while(|line| !line.starts_with("| key |"))
        .take_while(|line| line.starts_with('|'))
        .skip(2)
        .map(|line| {
            line.split('|')
                .map(|cell| cell.trim_matches([' ', '`']))
                .collect()
        })
        .collect();
    let keys = Keys::default();
    let bound: Vec<(String, Bound)> = table
        .iter()
        .filter_map(|cells| Some((cells[1].to_owned(), Bound::from_name(cells[2])?)))
        .collect();
    let known = [Bound::AddRule, Bound::ExpireRule, Bound::RemoveRule];
    assert_eq!(bound, known.map(|command| (keys.label(command), command)));
}

#[test]
fn degradations_are_those_the_kernel_side_names() {
    let source = [
        include_str!("../src/kernel/programs.rs"),
        include_str!("../src/kernel/session.rs"),
    ]
    .concat();
    let names = rows("name");
    assert!(names.len() >= 4, "{names:?}");
    for name in names {
        assert!(source.contains(&format!("\"{name}\"")), "{name} is named nowhere");
    }
}

#[test]
fn the_file_it_shows_is_that_of_the_help() {
    let lines = tfo_cli::policy::file::FORMAT.lines().skip(1);
    let shown = lines.map(str::trim_start).collect::<Vec<_>>().join("\n");
    assert!(README.contains(&shown), "{shown}");
    tfo_cli::policy::file::parse(&shown).expect("it is a file");
}
