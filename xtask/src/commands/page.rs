//! `cargo xtask page`: the report of the shipped recording before an HTML validator and an accessibility checker, in a
//! headless browser, in both themes, at desk and phone width, and printed.

use std::fs;

use anyhow::{Context as _, Result};

use crate::test_log::TestLog;
use crate::{process, workspace};

/// Programs it needs; the browser and node are no packages of the other tests, because they are so large.
const PROGRAMS: [(&str, &str); 3] = [("node", "nodejs"), ("npm", "npm"), ("chromium", "chromium")];

/// What npm installs below target/, and nothing else.
const MODULES: [&str; 3] = [
    "html-validate@11.18.0",
    "axe-core@4.14.1",
    "puppeteer-core@24.43.1",
];

const SCRIPT: &str = "tfo-cli/tests/report/check.mjs";
const PAGE: &str = "docs/report-lab.html";

pub fn run() -> Result<()> {
    let mut log = TestLog::default();
    check(&mut log)?;
    for line in &log.skipped {
        println!("{line}");
    }
    Ok(())
}

/// A step of `cargo xtask verify`. Where the programs are not, it says so.
pub fn check(log: &mut TestLog) -> Result<()> {
    let missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| process::find(program).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !missing.is_empty() {
        log.skipped
            .push(format!("skipped: page: apt-get install {}", missing.join(" ")));
        return Ok(());
    }
    let directory = workspace::target("page");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut install = process::command("npm");
    install
        .current_dir(&directory)
        .args([
            "install",
            "--no-save",
            "--no-audit",
            "--no-fund",
            "--silent",
            "--prefix",
            ".",
        ])
        .args(MODULES);
    if let Err(error) = process::run(&mut install) {
        log.skipped.push(format!(
            "skipped: page: the checkers cannot be installed: {error:#}"
        ));
        return Ok(());
    }
    // Modules are looked for beside the script.
    let script = directory.join("check.mjs");
    workspace::copy_if_changed(&workspace::root().join(SCRIPT), &script)?;
    let mut node = process::command("node");
    node.current_dir(&directory)
        .arg(script)
        .arg(workspace::root().join(PAGE))
        .arg(&directory);
    process::run(&mut node).with_context(|| format!("{PAGE} is not as it should be"))?;
    log.passed += 1;
    log.notes.push(format!(
        "page: {PAGE} is valid and accessible; its pictures are in {}",
        directory.display()
    ));
    Ok(())
}
