//! `listeners set` on a terminal: it asks, and only a yes changes anything.

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    lab::{self, Lab},
    server::{Listen, Server},
};

use crate::support::{
    BINARY, NO_CONFIG, ground::temporary_directory, needs_lab, needs_programs, once, wait_until,
};

/// The queue that the kernel shows for the lab's only listener.
fn queue(lab: &Lab) -> Result<Value> {
    let shown = once::run(&["listeners", "--netns", lab.server().label(), "--format", "json"])?.ended(0)?;
    let objects = shown.objects("listener")?;
    let [one] = &objects[..] else {
        anyhow::bail!("{objects:?}")
    };
    Ok(one["queue_limit"].clone())
}

#[test]
fn only_a_yes_on_the_terminal_changes_a_queue() -> Result<()> {
    needs_lab!();
    needs_programs!("script");
    let lab = Lab::up_unique()?;
    let listen = Listen {
        fast_open: Some(8),
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let server = Server::start(lab.server(), &listen)?;
    let selector = server.address().to_string();
    let netns = lab.server().label();
    // Without a terminal nobody can be asked.
    let nobody = once::run(&["listeners", "set", &selector, "--qlen", "16", "--netns", netns])?.ended(2)?;
    ensure!(nobody.stderr.contains("--yes"), "{nobody:?}");
    for (answer, code, length, said) in [
        ("n\n", 1, 8, "nothing was changed"),
        ("\n", 1, 8, "nothing was changed"),
        ("yesterday\n", 1, 8, "nothing was changed"),
        ("y\n", 0, 16, "undo: tfo-cli listeners set"),
    ] {
        let directory = temporary_directory()?;
        let line = format!(
            "'{BINARY}' listeners set '{selector}' --qlen 16 --netns '{netns}'; printf 'ended %s.' $?"
        );
        let mut terminal = Command::new("script")
            .args(["-qfec", &line, "typescript"])
            .current_dir(&directory)
            .envs(NO_CONFIG)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("script: starting it")?;
        let typescript = || {
            let bytes = fs::read(directory.join("typescript")).unwrap_or_default();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let asked = wait_until("the question", || {
            Ok(typescript().contains("change 1 socket? [y/N]"))
        });
        let before = queue(&lab);
        let mut keys = terminal.stdin.take().context("no stdin")?;
        keys.write_all(answer.as_bytes())?;
        keys.flush()?;
        let ended = wait_until("its end", || {
            Ok(["ended 0.", "ended 1."]
                .iter()
                .any(|end| typescript().contains(end)))
        });
        drop(keys);
        let _ = terminal.kill();
        terminal.wait()?;
        let text = typescript();
        fs::remove_dir_all(&directory)?;
        asked.and(ended).with_context(|| text.clone())?;
        ensure!(before? == 8, "it was changed before the answer");
        ensure!(
            text.contains(&format!("ended {code}.")) && text.contains(said),
            "{answer:?}: {text}"
        );
        ensure!(queue(&lab)? == length, "{answer:?}: {text}");
    }
    Ok(())
}
