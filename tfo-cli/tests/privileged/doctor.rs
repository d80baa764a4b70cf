//! `doctor` on live hosts that lack something: what it says is so, and the fix it prints ends it.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Connect,
    command,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    BINARY, NO_CONFIG, needs_lab,
    once::{self, Copy, Once},
};

/// Whatever this host is like besides.
fn doctor() -> Result<Once> {
    once::run(&["doctor", "--format", "json", "--watch", "0"])
}

/// The check with this id about a namespace, or about the host.
fn check(of: &Once, id: &str, netns: Option<&str>) -> Result<Value> {
    for line in of.stdout.lines() {
        let value: Value = serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))?;
        let right = value["schema"] == 1 && value["type"] == "check" && value["what"].is_string();
        ensure!(
            right && (value["status"] == "pass") == value["fix"].is_null(),
            "{value}"
        );
        if value["id"] == id && (netns.is_none() || value["netns_name"].as_str() == netns) {
            return Ok(value);
        }
    }
    anyhow::bail!("{id} {netns:?}: {of:?}")
}

/// Does what a fix says, up to its remarks.
fn apply(check: &Value) -> Result<()> {
    let fix = check["fix"].as_str().context("no fix")?;
    let line = fix.split("    (").next().unwrap_or(fix);
    command::run("sh", &["-c", line]).map(drop)
}

#[test]
fn a_server_whose_namespace_is_off_fails_until_the_fix_is_applied() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let _server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let netns = Some(lab.server().label());
    let well = doctor()?;
    // A namespace that is well has no line of its own, unless it is the only one.
    ensure!(
        check(&well, "tcp-fastopen", netns).map_or(true, |found| found["status"] == "pass"),
        "{well:?}"
    );

    lab.server().set_sysctl("net/ipv4/tcp_fastopen", "1")?;
    let off = doctor()?.ended(4)?;
    let failed = check(&off, "tcp-fastopen", netns)?;
    ensure!(failed["status"] == "fail", "{failed}");
    ensure!(
        failed["what"]
            .as_str()
            .is_some_and(|what| what.contains("0x1 lacks 0x2")),
        "{failed}"
    );
    apply(&failed)?;
    ensure!(
        lab.server().sysctl("net/ipv4/tcp_fastopen")?.as_deref() == Some("3"),
        "{failed}"
    );
    let fixed = doctor()?;
    ensure!(
        check(&fixed, "tcp-fastopen", netns).map_or(true, |found| found["status"] == "pass"),
        "{fixed:?}"
    );
    Ok(())
}

#[test]
fn rules_on_syn_data_and_the_option_fail_until_they_are_removed() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let netns = Some(lab.server().label());
    for (effect, words) in [
        (Effect::DropSynData, "carry data"),
        (Effect::DropTfoSyn, "with the Fast Open option"),
        (Effect::ResetSynData, "carry data"),
    ] {
        let middlebox = Middlebox::on_path(&lab, &Rule::new(effect, lab::server_v4(0)))?;
        // One rule for each length of a TCP header: each fix removes one.
        for _ in 0..16 {
            let found = doctor()?;
            let Ok(failed) = check(&found, "firewall", netns) else {
                break;
            };
            if failed["status"] != "fail" {
                break;
            }
            ensure!(
                failed["what"].as_str().is_some_and(|what| what.contains(words)),
                "{effect:?}: {failed}"
            );
            ensure!(found.code == Some(4), "{found:?}");
            apply(&failed)?;
        }
        let listing = lab.server().command("nft", &["list", "ruleset"])?;
        ensure!(
            !listing.contains("drop") && !listing.contains("reject"),
            "{effect:?}: {listing}"
        );
        drop(middlebox);
    }
    // Near miss: loss of any packet is no rule on Fast Open.
    let _loss = Middlebox::on_path(&lab, &Rule::new(Effect::Loss(10), lab::server_v4(0)))?;
    let found = doctor()?;
    ensure!(
        check(&found, "firewall", netns).map_or(true, |found| found["status"] == "pass"),
        "{found:?}"
    );
    Ok(())
}

#[test]
fn the_first_line_tells_whether_it_worked_within_the_last_seconds() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let mut doctor = Command::new(BINARY)
        .args(["doctor", "--watch", "4s"])
        .envs(NO_CONFIG)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("doctor")?;
    // All the while it looks.
    while doctor.try_wait()?.is_none() {
        let report = Connect::new(server.address(), 100).run_in(lab.client())?;
        ensure!(report.reply_matched, "{report:?}");
    }
    let output = doctor.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let first = text.lines().next().unwrap_or_default();
    ensure!(
        first.starts_with("Fast Open is ") && first.contains(" for servers; in the last 4.0s it worked "),
        "{first}"
    );
    ensure!(
        !first.contains("worked 0 times") && !first.contains("and 0 times as server"),
        "{first}"
    );
    Ok(())
}

#[test]
fn without_root_it_is_useful_and_says_what_it_did_not_see() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let copy = Copy::make()?;
    let netns = lab.server().label();
    let seen = copy
        .run_as_nobody(netns, &["doctor", "--watch", "0", "--format", "json"])?
        .ended(0)?;
    let first: Value = serde_json::from_str(seen.stdout.lines().next().context("nothing")?)?;
    ensure!(first["id"] == "fast-open" && first["status"] == "pass", "{first}");
    let what = first["what"].as_str().unwrap_or_default();
    ensure!(
        what.contains("on for clients") && what.contains(&server.address().to_string()),
        "{what}"
    );
    ensure!(check(&seen, "cap-bpf", None)?["status"] == "warn", "{seen:?}");
    let unseen = check(&seen, "namespaces", None)?;
    ensure!(
        unseen["what"]
            .as_str()
            .is_some_and(|what| what.contains("not looked at: ")),
        "{unseen}"
    );
    Ok(())
}

#[test]
fn a_host_without_bpffs_is_told_to_mount_it() -> Result<()> {
    needs_lab!();
    let run = |script: &str| {
        let mut unshare = Command::new("unshare");
        unshare.args(["--mount", "sh", "-ec", script, BINARY]);
        once::once(&mut unshare)
    };
    let umount = "umount --lazy /sys/fs/bpf 2>/dev/null || true";
    let doctor = "\"$0\" doctor --watch 0 --format json";
    if !Path::new("/sys/fs/bpf").is_dir() {
        println!("skipped: needs /sys/fs/bpf");
        return Ok(());
    }
    let without = run(&format!("{umount}; {doctor} || [ $? = 4 ]"))?.ended(0)?;
    let found = check(&without, "bpffs", None)?;
    ensure!(found["status"] == "warn", "{found}");
    let fix = found["fix"].as_str().context("no fix")?;
    let with = run(&format!("{umount}; {fix}; {doctor} || [ $? = 4 ]"))?.ended(0)?;
    ensure!(check(&with, "bpffs", None)?["status"] == "pass", "{with:?}");
    Ok(())
}

/// Root in namespaces of its own, without the rights of the host's root.
#[test]
fn in_a_container_rights_are_named_one_by_one() -> Result<()> {
    needs_lab!();
    let mut container = Command::new("unshare");
    container.args(["--net", "--mount", "--pid", "--fork", "--mount-proc"]);
    container.args(["setpriv", "--bounding-set=-sys_admin,-bpf,-perfmon,-sys_ptrace"]);
    let seen = once::once(
        container
            .arg(BINARY)
            .args(["doctor", "--watch", "0", "--format", "json"]),
    )?;
    ensure!(matches!(seen.code, Some(0 | 4)), "{seen:?}");
    for (id, status) in [
        ("cap-net-admin", "pass"),
        ("cap-bpf", "warn"),
        ("cap-perfmon", "warn"),
        ("cap-sys-admin", "warn"),
        ("cap-sys-ptrace", "warn"),
    ] {
        ensure!(check(&seen, id, None)?["status"] == status, "{id}: {seen:?}");
    }
    let first: Value = serde_json::from_str(seen.stdout.lines().next().context("nothing")?)?;
    ensure!(
        first["what"]
            .as_str()
            .is_some_and(|what| what.contains("on for clients, off")),
        "{first}"
    );
    Ok(())
}

/// It looks: no rule, mount, pin, program or setting is different afterwards.
#[test]
fn it_changes_nothing() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let state = || -> Result<Vec<String>> {
        Ok(vec![
            std::fs::read_to_string("/proc/self/mounts")?,
            command::run("sh", &["-c", "ls -laR /sys/fs/bpf 2>&1 | grep -v ' \\.\\.$'"])?,
            command::run(
                "sh",
                &[
                    "-c",
                    "sysctl -a 2>/dev/null | grep -E 'fastopen|somaxconn|syn|mptcp'",
                ],
            )?,
            lab.server().command(
                "sh",
                &[
                    "-c",
                    "nft list ruleset; tc qdisc show; ip tcp_metrics show | cut -d' ' -f1",
                ],
            )?,
        ])
    };
    let loaded = crate::support::kernel::Loaded::now();
    let before = state()?;
    doctor()?;
    ensure!(state()? == before, "something has changed: {before:?}");
    loaded.nothing_added("doctor")
}
