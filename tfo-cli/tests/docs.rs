//! The documents agree with the code. Tables between `<!-- generated: NAME -->` and `<!-- end -->` are generated from the
//! code; `UPDATE_DOCS=1 cargo test -p tfo-cli --test docs` writes them again.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use clap::ValueEnum;
use tfo_cli::{
    model::{
        diagnosis::registry,
        filter::{KEYS, Metric},
    },
    output::{TraceFormat, column::COLUMNS},
    probe::verdict::Verdict,
    tui::{COMMANDS, Command as Bound, Keys},
};
use tfo_common::{Loss, Outcome, PolicyAction, Role, layout::Feature};

/// All documents, by path below the repository's root.
fn documents() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut paths = vec![
        root.join("README.md"),
        root.join("ARCHITECTURE.md"),
        root.join("CONTRIBUTING.md"),
    ];
    let entries = fs::read_dir(root.join("docs")).expect("docs/ is there");
    paths.extend(entries.map(|entry| entry.expect("it can be read").path()));
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a document can be read");
            (path, text)
        })
        .collect()
}

fn document(name: &str) -> String {
    let found = documents().into_iter().find(|(path, _)| path.ends_with(name));
    found.unwrap_or_else(|| panic!("no document {name}")).1
}

/// A table of markdown.
fn table(head: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|cell| (*cell).to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let rows = rows.into_iter().map(|cells| line(&cells));
    [line(&head), line(&rule)].into_iter().chain(rows).collect()
}

fn code(text: impl AsRef<str>) -> String {
    format!("`{}`", text.as_ref())
}

fn outcomes(role: Role) -> String {
    let rows = Outcome::ALL.into_iter().filter_map(|outcome| {
        let sentence = outcome.sentence(role)?;
        Some(vec![
            code(outcome.name()),
            outcome.group().name().to_owned(),
            sentence.to_owned(),
        ])
    });
    table(&[role.name(), "group", "what happened"], rows)
}

/// The table of this name.
fn generated(name: &str) -> Option<String> {
    Some(match name {
        "outcomes-client" => outcomes(Role::Client),
        "outcomes-server" => outcomes(Role::Server),
        "columns" => table(
            &["name", "heading", "what it says"],
            COLUMNS.iter().map(|look| {
                vec![
                    code(look.name),
                    look.title.to_owned(),
                    look.column.meaning().to_owned(),
                ]
            }),
        ),
        "keys" => {
            let keys = Keys::default();
            let rows = COMMANDS.iter().map(|info| {
                vec![
                    code(keys.label(info.command)),
                    code(info.name),
                    info.help.to_owned(),
                ]
            });
            table(&["keys", "name", "does"], rows)
        }
        "filter-keys" => table(
            &["key", "example"],
            KEYS.iter().map(|(key, example)| vec![code(key), code(example)]),
        ),
        "filter-metrics" => table(
            &["number", "what it is"],
            Metric::ALL
                .iter()
                .map(|(name, metric)| vec![code(name), metric.meaning().to_owned()]),
        ),
        "features" => table(
            &["name", "what ends"],
            Feature::ALL
                .into_iter()
                .map(|feature| vec![code(feature.name()), feature.describe().to_owned()]),
        ),
        "actions" => table(
            &["action", "effect"],
            PolicyAction::ALL
                .into_iter()
                .map(|action| vec![code(action.name()), action.describe().to_owned()]),
        ),
        "losses" => table(
            &["reason", "what is missing"],
            Loss::ALL
                .into_iter()
                .map(|loss| vec![code(loss.name()), loss.describe().to_owned()]),
        ),
        "probe-verdicts" => table(
            &["verdict", "meaning"],
            Verdict::ALL
                .into_iter()
                .map(|verdict| vec![code(verdict.name()), verdict.sentence().to_owned()]),
        ),
        "exit-codes" => table(
            &["code", "meaning"],
            tfo_cli::exit::ALL
                .iter()
                .map(|(code, meaning)| vec![code.to_string(), (*meaning).to_owned()]),
        ),
        _ => return None,
    })
}

/// The document with every generated table as it should be, and the names of its tables.
fn regenerate(text: &str) -> (String, Vec<String>) {
    const BEGIN: &str = "<!-- generated: ";
    const END: &str = "<!-- end -->";
    let mut out = String::new();
    let mut names = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(BEGIN) {
        let (before, marked) = rest.split_at(at);
        let name = marked[BEGIN.len()..]
            .split(" -->")
            .next()
            .expect("the marker ends");
        let end = marked
            .find(END)
            .unwrap_or_else(|| panic!("the table {name} does not end"));
        let table = generated(name).unwrap_or_else(|| panic!("nobody makes a table {name}"));
        out.extend([before, BEGIN, name, " -->\n", &table, END]);
        names.push(name.to_owned());
        rest = &marked[end + END.len()..];
    }
    (out + rest, names)
}

#[test]
fn the_page_of_diagnoses_is_the_table_in_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(registry::PAGE);
    let (current, text) = (registry::page(), fs::read_to_string(&path).expect("it is there"));
    if current != text {
        assert!(
            std::env::var_os("UPDATE_DOCS").is_some(),
            "{}: run `UPDATE_DOCS=1 cargo test -p tfo-cli --test docs`",
            path.display()
        );
        fs::write(&path, current).expect("a document can be written");
    }
}

#[test]
fn generated_tables_are_current_and_every_one_is_shown() {
    let mut shown = BTreeSet::new();
    for (path, text) in documents() {
        let (current, names) = regenerate(&text);
        shown.extend(names);
        if current != text {
            assert!(
                std::env::var_os("UPDATE_DOCS").is_some(),
                "{}: run `UPDATE_DOCS=1 cargo test -p tfo-cli --test docs`",
                path.display()
            );
            fs::write(&path, current).expect("a document can be written");
        }
    }
    let all = [
        "actions",
        "columns",
        "exit-codes",
        "features",
        "filter-keys",
        "filter-metrics",
        "keys",
        "losses",
        "outcomes-client",
        "outcomes-server",
        "probe-verdicts",
    ];
    assert_eq!(shown, all.map(str::to_owned).into());
}

/// Every page is in the index, and every link to a page leads to one.
#[test]
fn the_index_has_every_page_and_links_lead_somewhere() {
    let index = document("docs/README.md");
    for (path, text) in documents() {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .expect("it has a name");
        let in_docs = path.parent().is_some_and(|parent| parent.ends_with("docs"));
        if in_docs && name != "README.md" {
            assert!(
                index.contains(&format!("({name})")),
                "the index does not have {name}"
            );
        }
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        for target in targets.filter(|target| !target.contains("://") && !target.starts_with('#')) {
            let file = target.split('#').next().unwrap_or(target);
            let at = path.parent().expect("it lies somewhere").join(file);
            assert!(at.exists(), "{}: {target} leads nowhere", path.display());
        }
    }
}

/// The commands that the program lists.
fn commands() -> BTreeSet<String> {
    let help = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .arg("--help")
        .output()
        .expect("it runs");
    let help = String::from_utf8_lossy(&help.stdout).into_owned();
    let listed = help.split("Commands:").nth(1).expect("it lists commands");
    listed
        .lines()
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| !word.is_empty() && *word != "help")
        .map(str::to_owned)
        .collect()
}

/// Every `tfo-cli WORD` in a document is a command, and every command is in some document.
#[test]
fn commands_in_documents_exist_and_all_are_there() {
    let commands = commands();
    let mut shown = BTreeSet::new();
    for (path, text) in documents() {
        for (at, _) in text.match_indices("tfo-cli ") {
            let word = text[at + "tfo-cli ".len()..]
                .split(|end: char| !end.is_ascii_lowercase() && end != '-')
                .next()
                .unwrap_or_default();
            // Command lines only: prose and messages name the program, too.
            let before = &text[..at];
            let begins = ["`", "\n", "sudo ", "$ ", "# "]
                .iter()
                .any(|begin| before.ends_with(begin));
            if !begins || !is_code(before) || word.is_empty() || word.starts_with('-') {
                continue;
            }
            assert!(
                commands.contains(word),
                "{}: there is no `tfo-cli {word}`",
                path.display()
            );
            shown.insert(word.to_owned());
        }
    }
    let missing: Vec<_> = commands
        .iter()
        .filter(|command| !shown.contains(*command) && *command != "help")
        .collect();
    assert!(missing.is_empty(), "in no document: {missing:?}");
}

/// Whether the text ends inside a piece of code: after an odd number of backticks, or in a fenced block.
fn is_code(before: &str) -> bool {
    let in_fence = before.matches("\n```").count() % 2 == 1;
    let line = before.rsplit('\n').next().unwrap_or_default();
    in_fence || line.matches('`').count() % 2 == 1
}

#[test]
fn keys_are_those_of_the_dashboard() {
    let page = document("docs/policy.md");
    let rows: Vec<Vec<&str>> = page
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
    let bound: Vec<(String, Bound)> = rows
        .iter()
        .filter_map(|cells| Some((cells[1].to_owned(), Bound::from_name(cells[2])?)))
        .collect();
    let known = [Bound::AddRule, Bound::ExpireRule, Bound::RemoveRule];
    assert_eq!(bound, known.map(|command| (keys.label(command), command)));
}

#[test]
fn the_file_it_shows_is_that_of_the_help() {
    let page = document("docs/policy.md");
    let lines = tfo_cli::policy::file::FORMAT.lines().skip(1);
    let shown = lines.map(str::trim_start).collect::<Vec<_>>().join("\n");
    assert!(page.contains(&shown), "{shown}");
    tfo_cli::policy::file::parse(&shown).expect("it is a file");
}

/// Each field of a record is a column of CSV; the page explains every one.
#[test]
fn every_field_of_a_record_is_explained() {
    let page = document("docs/trace.md");
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(["trace", "--format", "csv", "--count", "1", "--replay"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo"))
        .output()
        .expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let fields: Vec<&str> = text.lines().next().expect("a heading").split(',').collect();
    assert!(fields.len() > 20, "{fields:?}");
    for field in fields {
        assert!(
            page.contains(&code(field)),
            "docs/trace.md does not explain {field}"
        );
    }
}

/// Each command stands in the table of what commands may do.
#[test]
fn every_command_has_its_rights_explained() {
    let page = document("docs/security.md");
    let rows: String = page.lines().filter(|line| line.starts_with("| `")).collect();
    for command in commands() {
        let is_there = [format!("`{command}`"), format!("`{command} ")]
            .iter()
            .any(|name| rows.contains(name));
        assert!(is_there, "docs/security.md does not say what `{command}` may do");
    }
}

/// What stands there is shown by a test, and a test that is renamed takes its place in the page along.
#[test]
fn tests_that_the_security_page_names_are_there() {
    let page = document("docs/security.md");
    let named = page
        .split('`')
        .skip(1)
        .step_by(2)
        .filter_map(|text| text.split_once("::"));
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let read = |path: &str| fs::read_to_string(tests.join(path)).unwrap_or_default();
    let policy = read("policy/main.rs");
    let mut count = 0;
    for (file, name) in named {
        let function = format!("fn {name}()");
        let is_there = policy.contains(&format!("\"{file}::{name}\""))
            || read(&format!("privileged/{file}.rs")).contains(&function)
            || read(&format!("{file}.rs")).contains(&function);
        assert!(is_there, "docs/security.md: there is no test {file}::{name}");
        count += 1;
    }
    assert!(count > 20, "{count} tests are named");
    let rows = page
        .lines()
        .filter(|line| line.starts_with("| `") && line.contains("| none"));
    assert!(
        rows.clone().all(|row| row.contains("::")),
        "{:?}",
        rows.collect::<Vec<_>>()
    );
}

#[test]
fn the_record_names_every_action() {
    let page = document("docs/trace.md");
    let row = page
        .lines()
        .find(|line| line.starts_with("| `policy` |"))
        .expect("its row");
    for action in PolicyAction::ALL {
        assert!(row.contains(&code(action.name())), "docs/trace.md: {row}");
    }
}

#[test]
fn the_readme_is_short_and_nothing_cites_what_is_not_here() {
    let readme = document("README.md");
    assert!(readme.lines().count() <= 120, "{} lines", readme.lines().count());
    for (path, text) in documents() {
        for absent in ["DESIGN.md", "KERNEL-FACTS", "ECOSYSTEM.md"] {
            assert!(!text.contains(absent), "{} cites {absent}", path.display());
        }
    }
}

/// `cargo xtask picture` makes the picture again.
#[test]
fn the_picture_is_what_the_dashboard_shows() {
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(["debug", "picture"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo"))
        .output()
        .expect("it runs");
    let picture = String::from_utf8(output.stdout).expect("it is text");
    assert!(
        picture.contains("path-drops-syn"),
        "the fault of the recording is in it"
    );
    let committed = include_str!("../../docs/dashboard.svg");
    assert!(
        picture == committed,
        "docs/dashboard.svg is old: run `cargo xtask picture`"
    );
}

/// Both ways: what the kernel side names is explained, and nothing is explained that it does not name.
#[test]
fn degradations_are_those_the_kernel_side_names() {
    let source = [
        include_str!("../src/kernel/layout.rs"),
        include_str!("../src/kernel/optional.rs"),
        include_str!("../src/kernel/programs.rs"),
        include_str!("../src/kernel/session.rs"),
        include_str!("../src/kernel/rights.rs"),
        include_str!("../src/model/overhead.rs"),
    ]
    .concat();
    let page = document("docs/limits.md");
    let rows: Vec<&str> = page
        .lines()
        .skip_while(|line| !line.starts_with("| name | without it |"))
        .take_while(|line| line.starts_with('|'))
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect();
    assert!(rows.len() >= 5, "{rows:?}");
    for name in &rows {
        assert!(source.contains(&format!("\"{name}\"")), "{name} is named nowhere");
    }
    // Names are kebab-case literals of their own; tracepoints and messages are not. Those of one word are found where
    // they stand: in a list of what is optional.
    let optional: Vec<&str> = tfo_cli::kernel::degradations().collect();
    let kebab = source.split('"').skip(1).step_by(2).filter(|text| {
        text.contains('-') && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-')
    });
    for name in kebab.chain(optional) {
        let is_feature = Feature::ALL.iter().any(|feature| feature.name() == name);
        assert!(
            is_feature || rows.contains(&name),
            "docs/limits.md does not explain {name}"
        );
    }
}

#[test]
fn every_format_of_trace_is_documented() {
    let page = document("docs/trace.md");
    for format in TraceFormat::value_variants() {
        let value = format.to_possible_value().expect("a format has a name");
        let option = format!("--format {}`", value.get_name());
        assert!(
            *format == TraceFormat::Text || page.contains(&option),
            "docs/trace.md does not tell what `{option} is for"
        );
    }
}

/// Every file of the sources.
fn sources(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory of the sources");
    let paths = entries.map(|entry| entry.expect("it can be read").path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                return sources(&path);
            }
            let is_code = path.extension().is_some_and(|extension| extension == "rs");
            is_code
                .then(|| fs::read_to_string(&path).expect("a source can be read"))
                .into_iter()
                .collect()
        })
        .collect()
}

/// Placeholders for the variable parts of messages, in the first columns of the tables of messages.
const VALUES: &[&str] = &[
    "...", "ADDRESS", "load", "attach", "CAP_...", "CGROUP", "FILE", "ID", "MEMBER", "N", "NAME", "PATH",
    "RULE", "SERVICE", "WHY",
];

/// What stays the same in a message, in the source (`{name}`) as in a document (`NAME`). Shorter pieces say nothing.
fn fixed_parts(message: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for word in message.split_inclusive(' ') {
        let bare = word.trim_matches([' ', ':', ';', ',', '(', ')']);
        if bare.contains('{') || VALUES.contains(&bare) {
            parts.push(String::new());
        } else if let Some(part) = parts.last_mut() {
            part.push_str(word);
        }
    }
    let trimmed = parts
        .iter()
        .map(|part| part.trim_matches([' ', ':', ';', '(', ')']));
    trimmed
        .filter(|part| part.len() >= 8)
        .map(str::to_owned)
        .collect()
}

/// Both ways: each message of an error type is explained, and nothing is explained that nobody says.
#[test]
fn messages_are_those_of_the_program() {
    let code = sources(&PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src")).join("\n");
    let page = document("docs/faq.md");
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let explained = rows.join("\n");
    let messages = code
        .split("#[error(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next());
    let mut seen = 0;
    for part in messages.flat_map(fixed_parts) {
        seen += 1;
        assert!(
            explained.contains(&part),
            "docs/faq.md does not explain the message: {part}"
        );
    }
    assert!(seen > 25, "messages are found: {seen}");
    // Lines of long texts are joined as the compiler joins them.
    let said = code.replace("\\\n", " ");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    for row in rows {
        let cell = row.split(" | ").next().unwrap_or_default();
        for message in cell
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|text| text.contains(' '))
        {
            for part in fixed_parts(message) {
                assert!(
                    said.contains(&part),
                    "docs/faq.md explains what nobody says: {part}"
                );
            }
        }
    }
}
