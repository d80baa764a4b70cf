//! The kernel's cookie cache: `cookies` shows what connections have left in it, and a cookie that `cookies forget` deletes
//! is requested again.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Connect, Family},
    command,
    lab::{self, Lab},
    mib::Mib,
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::support::{
    flow::Role,
    needs_kernel, needs_lab,
    once::{self, Copy},
    sandbox::Sandbox,
};

const PAYLOAD: usize = 100;

/// Entries of the client's namespace.
fn entries(lab: &Lab) -> Result<Vec<Value>> {
    let netns = lab.client().label();
    let shown = once::run(&["cookies", "--netns", netns, "--format", "json"])?.ended(0)?;
    ensure!(shown.stderr.is_empty(), "{shown:?}");
    let entries = shown.objects("cookie")?;
    let (inode, here) = (lab.client().inode()?, entries.iter());
    for entry in here {
        ensure!(entry["netns"] == inode && entry["netns_name"] == netns, "{entry}");
    }
    Ok(entries)
}

fn entry_of<'a>(entries: &'a [Value], destination: &str) -> Result<&'a Value> {
    let found = entries.iter().find(|entry| entry["destination"] == destination);
    found.with_context(|| format!("{destination} in {entries:?}"))
}

fn connect(lab: &Lab, server: &Server) -> Result<bool> {
    let report = Connect::new(server.address(), PAYLOAD).run_in(lab.client())?;
    ensure!(report.error.is_none(), "{report:?}");
    Ok(report.tcp_info.is_some_and(|info| info.syn_data_acked()))
}

#[test]
fn what_connections_leave_is_shown_and_what_is_forgotten_is_asked_for_again() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let start = |address| Server::start(lab.server(), &Listen::new((address, 0).into()));
    let (v4, v6, other) = (
        start(lab::server_v4(0))?,
        start(lab::server_v6(0))?,
        start(lab::server_v4(1))?,
    );
    ensure!(entries(&lab)?.is_empty(), "a new namespace has cookies");
    for server in [&v4, &v6, &other] {
        ensure!(!connect(&lab, server)?, "a first contact has no cookie");
    }

    let shown = entries(&lab)?;
    ensure!(shown.len() == 3, "{shown:?}");
    let first = entry_of(&shown, "10.77.0.2")?;
    ensure!(first["source"] == "10.77.0.1" && first["mss"] == 1460, "{first}");
    ensure!(first["cookie_len"] == 8 && first["syn_drops"] == 0, "{first}");
    ensure!(
        first["written_us_ago"].is_u64() && first["syn_drop_us_ago"].is_null(),
        "{first}"
    );
    let v6_entry = entry_of(&shown, "fd77::2")?;
    ensure!(
        v6_entry["source"] == "fd77::1" && v6_entry["cookie"] != first["cookie"],
        "{shown:?}"
    );
    // The same hash at every look, and never the cookie that `ip` prints.
    ensure!(
        entry_of(&entries(&lab)?, "10.77.0.2")?["cookie"] == first["cookie"],
        "the hash changes"
    );
    let raw = lab
        .client()
        .command("ip", &["tcp_metrics", "show", "10.77.0.2"])?;
    let cookie = raw
        .split("fo_cookie ")
        .nth(1)
        .context("no cookie in ip tcp_metrics")?;
    let cookie = cookie.split_whitespace().next().unwrap_or_default();
    let hash = first["cookie"].as_str().unwrap_or_default();
    ensure!(
        cookie.len() == 16 && hash.len() == 8 && !cookie.contains(hash),
        "{cookie} {hash}"
    );

    // Another user, without any right, sees the namespace they are in, and is told what they do not see.
    let copy = Copy::make()?;
    let nobody = copy.run_as_nobody(lab.client().label(), &["cookies"])?.ended(0)?;
    ensure!(nobody.stdout.contains(hash), "{nobody:?}");
    ensure!(
        nobody.stderr.contains("not looked at: ") && nobody.stderr.contains("as root"),
        "{nobody:?}"
    );
    let refused = copy
        .run_as_nobody(lab.client().label(), &["cookies", "forget", "10.77.0.2"])?
        .ended(3)?;
    ensure!(refused.stderr.contains("CAP_NET_ADMIN"), "{refused:?}");

    let netns = ["--netns", lab.client().label()];
    let forgot = once::run(&[&["cookies", "forget", "10.77.0.2/32"], &netns[..]].concat())?.ended(0)?;
    ensure!(
        forgot.stdout.contains("10.77.0.2") && forgot.stdout.contains("RTT, window"),
        "{forgot:?}"
    );
    let left = entries(&lab)?;
    ensure!(
        left.len() == 2 && entry_of(&left, "10.77.0.2").is_err(),
        "{left:?}"
    );
    ensure!(
        connect(&lab, &other)?,
        "the cookie of another destination is gone"
    );
    let before = Mib::read(lab.server())?;
    ensure!(!connect(&lab, &v4)?, "the cookie is still there");
    ensure!(
        Mib::read(lab.server())?
            .since(&before)
            .of("TCPFastOpenCookieReqd")
            == 1,
        "no request"
    );

    // Both at once; a second time there is nothing, which is no error.
    let all_v4 = [&["cookies", "forget", "10.77.0.0/24"], &netns[..]].concat();
    ensure!(
        once::run(&all_v4)?.ended(0)?.stdout.contains("2 entries"),
        "two destinations"
    );
    ensure!(
        once::run(&all_v4)?.ended(0)?.stdout.contains("nothing to forget"),
        "a third time"
    );
    ensure!(entries(&lab)?.len() == 1, "IPv6 went too");
    Ok(())
}

#[test]
fn lost_syn_data_is_counted_with_its_age() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    connect(&lab, &server)?;
    let middlebox = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, lab::server_v4(0)))?;
    connect(&lab, &server)?;
    connect(&lab, &server)?;
    drop(middlebox);
    let shown = entries(&lab)?;
    let entry = entry_of(&shown, "10.77.0.2")?;
    ensure!(entry["syn_drops"] == 2, "{entry}");
    // Written down when the bare SYN was answered, a moment ago; the test may have stood still since.
    ensure!(
        entry["syn_drop_us_ago"]
            .as_u64()
            .is_some_and(|age| age < 600_000_000),
        "{entry}"
    );
    let table = once::run(&["cookies", "--netns", lab.client().label()])?.ended(0)?;
    ensure!(
        table.stdout.lines().count() == 2 && table.stdout.starts_with("NETNS"),
        "{table:?}"
    );
    Ok(())
}

/// Names are chosen by others: they reach a terminal as text.
#[test]
fn a_hostile_name_does_not_steer_the_terminal() -> Result<()> {
    needs_lab!();
    let name = format!("tfo-\u{1b}[31m\n{}", std::process::id());
    command::run("ip", &["netns", "add", &name])?;
    let shown =
        once::once(Command::new("ip").args(["netns", "exec", &name, crate::support::BINARY, "cookies"]));
    let odd = once::run(&["cookies", "--netns", "no\u{1b}such"]);
    command::run("ip", &["netns", "delete", &name])?;
    let (shown, odd) = (shown?.ended(0)?, odd?.ended(1)?);
    for text in [shown.stdout, shown.stderr, odd.stderr] {
        ensure!(!text.contains('\u{1b}'), "{text:?}");
    }
    Ok(())
}

#[test]
fn a_record_has_the_hash_that_the_cache_has() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let trace = sandbox.trace(&["--cookies"])?;
    let families = [
        (Family::V4, lab::server_v4(0)),
        (Family::V6, lab::server_v6(0)),
        (Family::Mapped, lab::server_v4(1)),
    ];
    let mut hashes = Vec::new();
    for (family, ip) in families {
        let server = Server::start(lab.server(), &Listen::on(ip, family))?;
        // One that asks for a cookie, one that has it.
        for _ in 0..2 {
            let connect = Connect {
                family,
                ..Connect::new(server.address(), PAYLOAD)
            };
            let report = connect.run_in(lab.client())?;
            ensure!(report.error.is_none(), "{report:?}");
        }
        let shown = entries(&lab)?;
        let hash = entry_of(&shown, &ip.to_string())?["cookie"].as_str();
        hashes.push((ip, hash.context("no cookie")?.to_owned()));
    }
    let (flows, _) = trace.stop()?.complete_records()?;
    for (ip, hash) in &hashes {
        let clients = flows
            .iter()
            .filter(|flow| flow.role == Role::Client && flow.remote_addr == *ip);
        let shown: Vec<_> = clients
            .map(|flow| (flow.outcome.as_str(), flow.cookie.as_deref()))
            .collect();
        let hash = Some(hash.as_str());
        ensure!(
            shown == [("cookie-granted", hash), ("accepted", hash)],
            "{ip}: {shown:?}, not {hash:?}"
        );
    }
    ensure!(
        flows
            .iter()
            .all(|flow| flow.role == Role::Client || flow.cookie.is_none()),
        "{flows:?}"
    );
    Ok(())
}
