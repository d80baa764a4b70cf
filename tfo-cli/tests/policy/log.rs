//! What the commands say of what they change: what, where and why, with the journal's level only in the journal,
//! and not without end.

use std::{
    fs::{self, File},
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use crate::{
    files::temporary,
    support::{BINARY, NO_CONFIG, sandbox::Sandbox},
};

/// Lines of one kind before the rest is summed up.
const MOST: usize = 20;
/// As many changes as the test makes at once.
const CHANGES: usize = 30;

/// Whose stream `JOURNAL_STREAM` names.
#[derive(Clone, Copy)]
enum Journal {
    /// The command's own stderr: it is run by a unit.
    Own,
    /// Another one: a shell inside a unit has redirected it.
    Another,
    /// There is no such variable.
    None,
}

/// Runs a command and returns the lines it wrote to stderr.
fn said(args: &[&str], journal: Journal) -> Result<Vec<String>> {
    let path = temporary("stderr", "")?;
    let stderr = File::create(&path).with_context(|| path.clone())?;
    let metadata = stderr.metadata()?;
    let mut command = Command::new(BINARY);
    command
        .args(args)
        .envs(NO_CONFIG)
        .env_remove("JOURNAL_STREAM")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(stderr);
    let inode = match journal {
        Journal::Own => Some(metadata.ino()),
        Journal::Another => Some(metadata.ino() + 1),
        Journal::None => None,
    };
    if let Some(inode) = inode {
        command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.dev()));
    }
    let status = command.status().context(BINARY)?;
    let lines: Vec<String> = fs::read_to_string(&path)?.lines().map(str::to_owned).collect();
    ensure!(status.success(), "{args:?}: {status}: {lines:?}");
    Ok(lines)
}

pub fn changes() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let name = sandbox.name()?;
    let rules: Vec<String> = (0..CHANGES)
        .map(|net| {
            format!("[[rule]]\ncgroup = \"{name}\"\ndst = \"10.{net}.0.0/16\"\nnote = \"why {net}\"\n")
        })
        .collect();
    let file = temporary("log.toml", &rules.concat())?;
    let lines = said(&["policy", "apply", &file], Journal::Own)?;
    ensure!(lines.len() == MOST + 2, "{lines:#?}");
    for (net, line) in lines[..MOST].iter().enumerate() {
        let wanted = format!("<5>tfo-cli: policy: added no-data for {name} to 10.{net}.0.0/16 (why {net})");
        ensure!(*line == wanted, "{line}, not {wanted}");
    }
    ensure!(
        lines[MOST] == format!("<5>tfo-cli: policy: ... and {} more", CHANGES - MOST),
        "{lines:#?}"
    );
    ensure!(
        lines[MOST + 1]
            == format!(
                "<5>tfo-cli: policy: applied {file}: {CHANGES} to add, 0 to change, 0 to remove, 0 unchanged"
            ),
        "{lines:#?}"
    );

    // What the file does not list any more goes, and that is why. Not in the journal: no levels.
    let shorter = temporary("log.toml", &rules[..2].concat())?;
    let lines = said(&["policy", "apply", &shorter], Journal::Another)?;
    let wanted = format!(
        "tfo-cli: policy: removed rule 3: no-data for {name} to 10.2.0.0/16 (why 2); {shorter} does not list it"
    );
    ensure!(
        lines.len() == MOST + 2 && lines[0] == wanted,
        "{lines:#?}, not {wanted}"
    );

    let path = sandbox.path().to_string_lossy().into_owned();
    let add = [
        "policy",
        "add",
        "--cgroup",
        &path,
        "--dst",
        "192.0.2.0/24",
        "--note",
        "ticket 4711",
    ];
    let lines = said(&add, Journal::None)?;
    ensure!(
        lines
            == [format!(
                "tfo-cli: policy: added no-data for {name} to 192.0.2.0/24 (ticket 4711)"
            )],
        "{lines:#?}"
    );
    let lines = said(&["policy", "remove", "1"], Journal::Own)?;
    ensure!(
        lines
            == [format!(
                "<5>tfo-cli: policy: removed rule 1: no-data for {name} to 10.0.0.0/16 (why 0)"
            )],
        "{lines:#?}"
    );
    // Looking changes nothing and says nothing.
    ensure!(
        said(&["policy", "list"], Journal::Own)?.is_empty(),
        "list says something"
    );
    let lines = said(&["policy", "flush"], Journal::Own)?;
    ensure!(
        lines
            == [
                format!("<5>tfo-cli: policy: removed rule 2: no-data for {name} to 10.1.0.0/16 (why 1)"),
                format!(
                    "<5>tfo-cli: policy: removed rule 31: no-data for {name} to 192.0.2.0/24 (ticket 4711)"
                ),
                format!(
                    "<5>tfo-cli: policy: removed everything in {}",
                    crate::policy::PINS
                ),
            ],
        "{lines:#?}"
    );
    Ok(())
}
