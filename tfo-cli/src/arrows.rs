//! The picture of modules in ARCHITECTURE.md is that of the `use` lines: every arrow of the code is drawn, every
//! drawn arrow is in the code, and they never lead back to where they began.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

const ARCHITECTURE: &str = include_str!("../../ARCHITECTURE.md");
/// Everybody may use these, so no arrow to them is drawn; they use nobody.
const LEAVES: [&str; 6] = ["addr", "clean", "duration", "exit", "fingerprint", "options"];
/// Only the modules on the right name the crate on the left. No future gets into `model`, `kernel` or `tui`.
const CRATES: [(&str, &[&str]); 8] = [
    ("aya", &["kernel"]),
    ("aya_log", &["kernel"]),
    ("crossterm", &["tui"]),
    ("domain", &["resolver"]),
    ("netlink_packet_route", &["kernel"]),
    ("pcap_parser", &["capture"]),
    ("ratatui", &["tui"]),
    ("tokio", &["commands", "probe", "resolver", "runtime", "signals"]),
];

/// By module, the modules it uses.
type Arrows = BTreeMap<String, BTreeSet<String>>;

#[test]
fn the_picture_shows_the_arrows_of_the_code() {
    let (code, drawn) = (of_the_code(), drawn());
    let difference = |left: &Arrows, right: &Arrows| -> Vec<String> {
        let missing = |from: &str, to: &str| !right.get(from).is_some_and(|known| known.contains(to));
        let all = left
            .iter()
            .flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
        all.filter(|(from, to)| missing(from, to))
            .map(|(from, to)| format!("{from} --> {to}"))
            .collect()
    };
    let new = difference(&code, &drawn);
    assert!(
        new.is_empty(),
        "modules use others that ARCHITECTURE.md does not draw; find another way, or draw them: {new:?}"
    );
    let gone = difference(&drawn, &code);
    assert!(gone.is_empty(), "ARCHITECTURE.md draws what is gone: {gone:?}");
}

#[test]
fn no_arrow_leads_back() {
    let mut left = of_the_code();
    // Whoever uses nobody that is left can go; what never can is a circle.
    while let Some(free) = left
        .iter()
        .find(|(_, to)| to.iter().all(|to| !left.contains_key(to)))
        .map(|(from, _)| from.clone())
    {
        left.remove(&free);
    }
    assert!(left.is_empty(), "a circle: {left:?}");
}

#[test]
fn crates_stay_where_they_belong() {
    for (file, module) in sources() {
        let text = code_of(&file);
        for (name, owners) in CRATES {
            let known = paths(&text, &format!("{name}::")).count();
            assert!(
                known == 0 || owners.contains(&&*module),
                "{}: only {} may know {name}",
                file.display(),
                owners.join(", ")
            );
        }
    }
}

/// The `-->` lines of the picture.
fn drawn() -> Arrows {
    let picture = ARCHITECTURE
        .split("```mermaid")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .expect("there is a picture");
    let mut arrows = Arrows::new();
    for line in picture.lines() {
        if let Some((from, to)) = line.split_once("-->") {
            let to = to.split('&').map(|name| name.trim().to_owned());
            arrows.entry(from.trim().to_owned()).or_default().extend(to);
        }
    }
    assert!(arrows.len() > 5, "{arrows:?}");
    arrows
}

/// What the sources use of other modules of this crate.
fn of_the_code() -> Arrows {
    let modules: BTreeSet<String> = sources().into_iter().map(|(_, module)| module).collect();
    let mut arrows = Arrows::new();
    for (file, module) in sources() {
        let used = used(&code_of(&file), depth(&file));
        let others = used
            .into_iter()
            .filter(|name| *name != module && modules.contains(name));
        let known: BTreeSet<String> = others.collect();
        if LEAVES.contains(&&*module) {
            assert!(known.is_empty(), "{module} is for everybody and uses {known:?}");
        }
        let drawn = known.into_iter().filter(|name| !LEAVES.contains(&&**name));
        arrows.entry(module).or_default().extend(drawn);
    }
    arrows.retain(|_, to| !to.is_empty());
    arrows
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every source file and the module of the crate it belongs to; `lib.rs` and `main.rs` belong to none.
fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of sources") {
            let path = entry.expect("an entry of it").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let below = path.strip_prefix(root()).expect("it lies below");
                let first = below.iter().next().expect("it has a name").to_string_lossy();
                let module = first.trim_end_matches(".rs").to_owned();
                if !["lib", "main", "arrows"].contains(&&*module) {
                    found.push((path, module));
                }
            }
        }
    }
    assert!(found.len() > 100, "{}", found.len());
    found
}

/// How many `super::` lead from a file to the root of the crate.
fn depth(file: &Path) -> usize {
    file.strip_prefix(root())
        .expect("it lies below")
        .components()
        .count()
}

/// A file without its comments.
fn code_of(file: &Path) -> String {
    let text = fs::read_to_string(file).expect("a source file");
    let code = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    code.collect::<Vec<_>>().join("\n")
}

/// Names that follow the root of the crate, written as `crate::` or as enough `super::`.
fn used(code: &str, depth: usize) -> BTreeSet<String> {
    let supers = "super::".repeat(depth);
    paths(code, "crate::")
        .chain(paths(code, &supers))
        .flat_map(names)
        .collect()
}

/// What follows a prefix that is no part of a longer name.
fn paths<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    code.match_indices(prefix)
        .filter(move |(at, _)| !code[..*at].ends_with(is_part))
        .map(move |(at, _)| &code[at + prefix.len()..])
}

/// The first name of a path; of `{a::b, c}` those of every member.
fn names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else {
        return vec![first_name(path)];
    };
    let mut names = Vec::new();
    let mut level = 0;
    let mut begins = 0;
    for (at, character) in group.char_indices() {
        match character {
            '{' => level += 1,
            ',' | '}' if level == 0 => {
                names.push(first_name(group[begins..at].trim_start()));
                begins = at + 1;
            }
            '}' => level -= 1,
            _ => {}
        }
        if character == '}' && begins == at + 1 {
            break;
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn first_name(path: &str) -> String {
    let is_part = |character: &char| character.is_alphanumeric() || *character == '_';
    path.chars().take_while(is_part).collect()
}

#[test]
fn groups_and_supers_are_read() {
    let code = "use crate::{\n a::{b, c},\n d,\n};\nlet x = crate::e::f(); use super::super::g::h;\n";
    let all = |depth| used(code, depth).into_iter().collect::<Vec<_>>().concat();
    assert_eq!(all(2), "adeg");
    assert_eq!(all(3), "ade");
}
