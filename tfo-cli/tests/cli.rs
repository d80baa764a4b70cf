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
        "tfo-cli: --duration soon: 'soon' is not a duration: use for example 500ms, 30s, 10m, 1h30m or 2d\n"
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
fn rules_are_changed_on_a_terminal_only() {
    let output = tfo(&["top", "--allow-policy"]);
    assert_eq!(
        (output.status.code(), stderr(&output).as_str()),
        (
            Some(2),
            "tfo-cli: --allow-policy: only the dashboard can change rules, and stdout is not a terminal\n  \
             use `tfo-cli policy add`, `remove` or `apply`\n"
        )
    );
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

/// A recording of the scripted host of the tests, which is removed at the end of the test.
struct Recording(std::path::PathBuf);

impl Recording {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("tfo-cli-{name}-{}.tfo", std::process::id()));
        let this = Self(path);
        let output = tfo(&[
            "bench-model",
            "--destinations",
            "20",
            "--seconds",
            "5",
            "--recording",
            this.path(),
        ]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        this
    }

    fn path(&self) -> &str {
        self.0.to_str().expect("the temporary directory has a plain name")
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_recording_is_diagnosed_and_the_exit_code_says_so() {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
    let json = tfo(&["diagnose", "--replay", recording, "--format", "json"]);
    assert_eq!(json.status.code(), Some(4), "{}", stderr(&json));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&json.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("one object per line"))
        .collect();
    let first = &lines[0];
    assert_eq!(
        (
            &first["type"],
            &first["id"],
            &first["severity"],
            &first["destination"]
        ),
        (
            &"diagnosis".into(),
            &"path-drops-syn-data".into(),
            &"fail".into(),
            &"10.77.0.3:5432".into()
        )
    );
    assert_eq!(first["counts"]["unanswered"], 105);
    assert_eq!(first["example"]["outcome"], "syn-timeout");
    let last = lines.last().expect("there is a summary");
    assert_eq!((&last["type"], &last["fail"]), (&"summary".into(), &1.into()));

    // What the filter leaves out is no failure either.
    let elsewhere = tfo(&["diagnose", "--replay", recording, "--filter", "port:8080"]);
    assert_eq!(elsewhere.status.code(), Some(0), "{}", stderr(&elsewhere));
    for format in ["text", "markdown"] {
        let shown = tfo(&["diagnose", "--replay", recording, "--details", "--format", format]);
        assert_eq!(shown.status.code(), Some(4));
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        for part in [
            "path-drops-syn-data",
            "policy add --cgroup /tfo-lab-rec/billing",
            "105 of 105",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }
}

#[test]
fn a_recording_is_shown_without_root() {
    let recording = Recording::new("shown");
    let top = tfo(&["top", "--replay", recording.path()]);
    assert_eq!(top.status.code(), Some(0), "{}", stderr(&top));
    let table = String::from_utf8_lossy(&top.stdout).into_owned();
    assert!(
        table.contains("checkout.service") && table.contains("path-drops-syn-data"),
        "{table}"
    );

    let trace = tfo(&[
        "trace",
        "--replay",
        recording.path(),
        "--format",
        "json",
        "--outcome",
        "syn-timeout",
    ]);
    assert_eq!(trace.status.code(), Some(0), "{}", stderr(&trace));
    let lines: Vec<serde_json::Value> = String::from_utf8_lossy(&trace.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).expect("each line is JSON"))
        .collect();
    assert_eq!(lines.len(), 16, "three a second, and the summary");
    assert!(
        lines[..15]
            .iter()
            .all(|line| line["outcome"] == "syn-timeout" && line["unit"] == "checkout.service")
    );
    assert_eq!(lines[15]["printed"], 15);
}

#[test]
fn a_recording_that_is_cut_short_foreign_or_there_already_is_said_so() {
    let recording = Recording::new("cut");
    let again = tfo(&["bench-model", "--seconds", "1", "--recording", recording.path()]);
    assert_eq!(again.status.code(), Some(1));
    assert!(stderr(&again).contains("never overwritten"), "{}", stderr(&again));

    let whole = std::fs::read(&recording.0).expect("it is there");
    std::fs::write(&recording.0, &whole[..whole.len() - 5]).expect("it is written");
    let cut = tfo(&["top", "--once", "--replay", recording.path()]);
    assert_eq!(cut.status.code(), Some(0));
    assert!(stderr(&cut).contains("ends in the middle"), "{}", stderr(&cut));

    std::fs::write(&recording.0, "not at all").expect("it is written");
    let foreign = tfo(&["trace", "--replay", recording.path()]);
    assert_eq!(foreign.status.code(), Some(1));
    assert!(
        stderr(&foreign).contains("not a recording of tfo-cli"),
        "{}",
        stderr(&foreign)
    );
}

#[test]
fn a_wrong_configuration_is_named_with_its_line() {
    let path = std::env::temp_dir().join(format!("tfo-cli-config-{}.toml", std::process::id()));
    std::fs::write(&path, "sort = \"hit\"\ncolour = true\n").expect("it is written");
    let output = tfo(&["top", "--config", path.to_str().expect("a plain name")]);
    let _ = std::fs::remove_file(&path);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        stderr(&output).contains("line 2: unknown field `colour`"),
        "{}",
        stderr(&output)
    );
}

/// The recording of the lab that ships with the project: a healthy service, a path that drops SYN data, servers with
/// different keys, a listener without Fast Open, and IPv6.
#[test]
fn the_recording_that_ships_shows_every_story_of_the_lab() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
    let output = tfo(&["top", "--replay", path, "--format", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let value: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    let rows = value["destinations"].as_array().expect("it is a list");
    assert_eq!(
        rows[0]["verdict"], "syn-timeout",
        "the path that eats SYN data comes first"
    );
    for verdict in ["accepted", "cookie-rejected", "data-refused", "not-enabled"] {
        assert!(rows.iter().any(|row| row["verdict"] == verdict), "{verdict}");
    }
    assert!(
        rows.iter()
            .any(|row| row["family"] == 6 && row["verdict"] == "accepted")
    );
    assert_eq!(value["lost"]["ring-full"], 0);
}

/// The same below the findings of `diagnose`, and as an order of rows in `top`.
#[test]
fn findings_have_sums_by_network_and_rows_stand_together() {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
    let file = std::env::temp_dir().join(format!("tfo-cli-by-network-{}", std::process::id()));
    std::fs::write(&file, "10.77.0.0/24 = lab\n10.77.0.2 = first\nfd77::/64 = lab6\n")
        .expect("it is written");
    let networks = file.to_str().expect("it has a name").to_owned();
    let on = |command: &[&str]| {
        let all = [command, &["--replay", recording, "--networks", &networks]].concat();
        String::from_utf8_lossy(&tfo(&all).stdout).into_owned()
    };
    let found = on(&["diagnose"]);
    assert!(
        found.contains("NETWORK  PEERS") && found.contains("\nfirst "),
        "{found}"
    );
    let found = on(&["diagnose", "--format", "markdown"]);
    assert!(found.contains("    NETWORK  PEERS"), "{found}");
    let found = on(&["diagnose", "--format", "json", "--filter", "network:first"]);
    let summary = found.lines().last().expect("a summary");
    let summary: serde_json::Value = serde_json::from_str(summary).expect("it is JSON");
    assert_eq!(summary["networks"].as_array().map(Vec::len), Some(1), "{summary}");
    assert_eq!(summary["networks"][0]["network"], "first", "{summary}");
    let sorted = on(&["top", "--once", "--sort", "network", "--format", "json"]);
    let sorted: serde_json::Value = serde_json::from_str(&sorted).expect("it is JSON");
    let rows = sorted["destinations"].as_array().expect("rows");
    let mut labels: Vec<String> = rows.iter().map(|row| row["network"].to_string()).collect();
    labels.dedup();
    let kinds: std::collections::BTreeSet<&String> = labels.iter().collect();
    assert!(kinds.len() == labels.len() && labels.len() > 2, "{labels:?}");
    std::fs::remove_file(&file).expect("it is ours");
}

/// Labels instead of addresses: as a column, as a filter, and added up.
#[test]
fn networks_are_named_filtered_and_added_up() {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
    let file = std::env::temp_dir().join(format!("tfo-cli-networks-{}", std::process::id()));
    std::fs::write(
        &file,
        "10.77.0.0/24 = lab # all of it\n10.77.0.2 = first\nfd77::/64 = lab6\n",
    )
    .expect("it is written");
    let networks = file.to_str().expect("it has a name").to_owned();
    let on = |command: &[&str], more: &[&str]| {
        let all = [command, &["--replay", recording, "--networks", &networks], more].concat();
        let output = tfo(&all);
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr(&output),
        )
    };
    let json = |text: &str| -> Vec<serde_json::Value> {
        let lines = text.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("it is JSON")
    };
    let flows = |more: &[&str]| {
        let (code, text, said) = on(&["trace", "--format", "json"], more);
        // 1 where the recording itself says that something was lost.
        assert!(matches!(code, Some(0 | 1)), "{said}");
        let mut objects = json(&text);
        objects.retain(|object| object["type"] == "flow");
        objects
    };
    let all = flows(&[]);
    let named = |label: &str| all.iter().filter(|flow| flow["network"] == label).count();
    assert!(named("lab") > 0 && named("first") > 0, "{}", all.len());
    for flow in &all {
        let is_first = flow["remote_addr"] == "10.77.0.2";
        assert_eq!(flow["network"] == "first", is_first, "{flow}");
    }
    let first = flows(&["--filter", "network:first"]);
    assert_eq!(first.len(), named("first"));
    assert!(first.iter().all(|flow| flow["network"] == "first"));

    let (_, table, _) = on(&["top", "--once"], &[]);
    let sums = table.split("NETWORK  PEERS").nth(1).expect("a table of networks");
    assert!(
        table.contains("PLAIN") && sums.contains("\nlab ") && sums.contains("\nfirst "),
        "{table}"
    );
    let (_, snapshot, _) = on(
        &["top", "--once", "--format", "json"],
        &["--filter", "!network:first"],
    );
    let snapshot = &json(&snapshot)[0];
    let labels = |list: &str| -> std::collections::BTreeSet<String> {
        let list = snapshot[list].as_array().expect("a list");
        list.iter().map(|one| one["network"].to_string()).collect()
    };
    assert_eq!(labels("destinations"), labels("networks"));
    assert!(!labels("networks").contains("\"first\"") && labels("networks").contains("\"lab\""));

    let (_, findings, _) = on(&["diagnose", "--format", "json"], &["--filter", "network:lab"]);
    let findings = json(&findings);
    let about =
        |finding: &&serde_json::Value| finding["type"] == "diagnosis" && finding["scope"] == "destination";
    assert!(
        findings.iter().any(|finding| finding["network"] == "lab"),
        "{findings:?}"
    );
    assert!(
        findings
            .iter()
            .filter(about)
            .all(|finding| finding["network"] != "first"),
        "{findings:?}"
    );
    let (_, text, _) = on(&["diagnose"], &[]);
    assert!(text.contains(" lab  "), "{text}");

    for (line, part) in [
        (
            &["trace", "--filter", "network:cellar"][..],
            "network:cellar: no network of",
        ),
        (
            &["diagnose", "--filter", "network:cellar"],
            "network:cellar: no network of",
        ),
        (
            &["top", "--once", "--filter", "network:cellar"],
            "network:cellar: no network of",
        ),
    ] {
        let (code, _, said) = on(line, &[]);
        assert!(code == Some(2) && said.contains(part), "{said}");
    }
    std::fs::remove_file(&file).expect("it is there");
}

#[test]
fn a_file_of_networks_that_is_wrong_or_missing_is_said_so() {
    let recording = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/lab.tfo");
    let without = tfo(&["trace", "--replay", recording, "--filter", "network:lab"]);
    assert!(
        without.status.code() == Some(2) && stderr(&without).contains("--networks FILE"),
        "{without:?}"
    );
    let file = std::env::temp_dir().join(format!("tfo-cli-no-networks-{}", std::process::id()));
    std::fs::write(&file, "10.0.0.0/8 is the office\n").expect("it is written");
    let name = file.to_str().expect("it has a name");
    for (file, part) in [
        (name, "line 1: not 'prefix = label'"),
        ("/no/such/file", "No such file"),
    ] {
        let output = tfo(&["trace", "--replay", recording, "--networks", file]);
        assert!(
            output.status.code() == Some(2) && stderr(&output).contains(part),
            "{output:?}"
        );
    }
    std::fs::remove_file(&file).expect("it is there");
}

#[test]
fn a_probe_warns_before_it_sends_what_must_not_be_done_twice() {
    let directory = std::env::temp_dir().join(format!("tfo-cli-probe-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory");
    // Nobody listens there: a port that was just given back.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port();
    for (request, warned) in [
        ("POST /orders HTTP/1.1\r\n\r\n", true),
        ("GET /orders HTTP/1.1\r\n\r\n", false),
    ] {
        let file = directory.join("request");
        std::fs::write(&file, request).expect("a file");
        let target = format!("127.0.0.1:{port}");
        let file = file.to_string_lossy();
        let output = tfo(&["probe", &target, "--count", "1", "--data", &file]);
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(
            said.contains("warning: not-idempotent: what is sent begins like POST, PATCH or CONNECT"),
            warned,
            "{said}"
        );
        assert!(!said.contains("/orders"), "{said}");
    }
    std::fs::remove_dir_all(&directory).expect("the directory goes");
}
