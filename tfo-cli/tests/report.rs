//! The report of the recording that is shipped, as the documents show it.
//!
//! `UPDATE_EXAMPLES=1 cargo test -p tfo-cli --test report` makes the examples again.

use std::{fs, path::Path, process::Command};

const EXAMPLES: [(&str, &str); 2] = [
    ("markdown", "docs/report-lab.md"),
    ("html", "docs/report-lab.html"),
];

fn report(args: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(["report", "--replay", "recordings/lab.tfo"])
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("it runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("it is UTF-8")
}

#[test]
fn examples_are_what_the_program_writes() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for (format, file) in EXAMPLES {
        let made = report(&["--format", format]);
        let path = root.join(file);
        if std::env::var_os("UPDATE_EXAMPLES").is_some() {
            fs::write(&path, &made).expect("the example can be written");
        }
        let example = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            made == example,
            "{file} is not what the program writes; make it again: UPDATE_EXAMPLES=1 cargo test -p tfo-cli --test report"
        );
    }
}

#[test]
fn a_redacted_report_names_nobody() {
    for (format, _) in EXAMPLES {
        let text = report(&["--format", format, "--redact"]);
        for secret in ["10.77.", "fd77:", "tfo-lab", "billing", "lab.tfo"] {
            assert!(!text.contains(secret), "{secret} in {text}");
        }
        assert!(text.contains("address-1") && text.contains("service-1"), "{text}");
    }
}

#[test]
fn a_file_that_exists_is_left_alone() {
    let path = std::env::temp_dir().join(format!("tfo-report-{}.html", std::process::id()));
    let run = || {
        Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
            .args(["report", "--replay", "recordings/lab.tfo", "-o"])
            .arg(&path)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("it runs")
    };
    let first = run();
    let page = fs::read_to_string(&path).unwrap_or_default();
    let second = run();
    fs::remove_file(&path).expect("the first one wrote it");
    assert!(
        first.status.success() && page.starts_with("<!DOCTYPE html>"),
        "{page}"
    );
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("exists"));
}

#[test]
fn networks_are_added_up_in_a_section_of_their_own() {
    let file = std::env::temp_dir().join(format!("tfo-report-networks-{}", std::process::id()));
    fs::write(&file, "10.77.0.0/24 = acme\nfd77::/64 = acme-six\n").expect("it is written");
    let networks = file.to_str().expect("it has a name").to_owned();
    let of = |more: &[&str]| report(&[&["--networks", &networks], more].concat());
    let text = of(&["--format", "markdown"]);
    let section = text.split("\n## By network\n").nth(1).expect("a section");
    let section = section.split("\n## ").next().expect("its text");
    let rows: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| acme"))
        .collect();
    assert_eq!(rows.len(), 2, "{section}");
    for row in &rows {
        assert_eq!(row.matches('|').count(), 9, "{row}");
    }
    let page = of(&["--format", "html"]);
    assert!(
        page.contains("<caption>Destinations added up by network</caption>")
            && page.contains("<th scope=\"row\">acme-six</th>"),
        "{page}"
    );
    // What networks are called names somebody, too.
    for format in ["markdown", "html"] {
        let text = of(&["--format", format, "--redact"]);
        assert!(!text.contains("acme") && text.contains("network-1"), "{text}");
    }
    let without = report(&["--format", "markdown"]);
    assert!(!without.contains("By network"), "{without}");
    fs::remove_file(&file).expect("it is ours");
}
