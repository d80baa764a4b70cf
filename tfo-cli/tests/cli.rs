//! The program as a user runs it, without root: help, wrong usage, closed pipes.

use std::process::{Command, Output, Stdio};

fn tfo(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(args)
        .stdin(Stdio::null())
        .output()
        .expect("the program starts")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn help_and_version_go_to_stdout() {
    for args in [
        &["--help"][..],
        &["--version"],
        &["top", "--help"],
        &["trace", "-h"],
        &["help", "trace"],
    ] {
        let output = tfo(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}");
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{args:?}");
    }
}

#[test]
fn wrong_usage_is_2_with_one_message_and_a_hint() {
    let output = tfo(&["trace", "--duration", "soon"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        stderr(&output),
        "tfo-cli: --duration soon: not a duration\n  use for example 500ms, 30s, 5m or 1h30m\n"
    );
    let output = tfo(&["frobnicate"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).starts_with("tfo-cli: unrecognized subcommand 'frobnicate'"),
        "{}",
        stderr(&output)
    );
    assert_eq!(tfo(&[]).status.code(), Some(2));
}

#[test]
fn completions_and_manual_are_printed() {
    for args in [
        &["completions", "bash"][..],
        &["completions", "fish"],
        &["man"],
        &["man", "trace"],
    ] {
        let output = tfo(args);
        assert_eq!(output.status.code(), Some(0), "{args:?}: {}", stderr(&output));
        assert!(output.stdout.len() > 200, "{args:?}");
    }
    assert_eq!(tfo(&["man", "nothing"]).status.code(), Some(2));
}

#[test]
fn a_closed_pipe_is_a_clean_end() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tfo-cli"))
        .args(["completions", "bash"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!((output.status.code(), stderr(&output).as_str()), (Some(0), ""));
}
