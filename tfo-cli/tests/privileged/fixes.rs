//! Faults whose fix is a setting of the server, the client or the application: each is found, the fix that the finding
//! names is applied, and the fault is gone.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, ClientOption, Connect},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    netns::Namespace,
    server::{Keys, Listen, Server},
};

use crate::support::{
    found::{findings, ids, watch},
    needs_kernel, once,
    sandbox::Sandbox,
};

/// Longer than one SYN carries.
const LARGE: usize = 5_000;

/// What is found while this is done.
fn found(sandbox: &Sandbox, work: impl FnOnce() -> Result<()>) -> Result<Vec<Value>> {
    let diagnose = watch(sandbox)?;
    work()?;
    findings(&diagnose.stop()?)
}

/// Makes so many connections, each answered in full.
fn connect(lab: &Lab, connect: &Connect, times: usize) -> Result<()> {
    for _ in 0..times {
        let report = connect.run_in(lab.client())?;
        ensure!(report.error.is_none(), "{report:?}");
    }
    Ok(())
}

/// Runs the fix of a finding as it is printed, in this namespace.
fn apply(found: &[Value], id: &str, namespace: &Namespace) -> Result<()> {
    let one = found.iter().find(|one| one["id"] == id && one["fix"].is_string());
    let one = one.with_context(|| format!("{id} is missing, or has no command: {found:?}"))?;
    let command = one["fix"].as_str().context("no command")?;
    namespace.run(|| {
        let typed = command.replacen("sysctl ", "/sbin/sysctl ", 1);
        once::once(Command::new("sh").args(["-c", &typed]))?.ended(0)
    })?;
    Ok(())
}

#[test]
fn a_server_that_has_it_off() -> Result<()> {
    needs_kernel!();
    // The diagnosis.
    let id = "server-not-enabled";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    // A cookie belongs to the address, whatever the port.
    let granting = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    connect(&lab, &Connect::new(granting.address(), 100), 1)?;
    let off = Listen {
        fast_open: None,
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let server = Server::start(lab.server(), &off)?;
    let client = Connect::new(server.address(), 100);
    let faults = found(&sandbox, || connect(&lab, &client, 5))?;
    let here = faults
        .iter()
        .filter(|one| one["id"] == id && one["role"] == "server");
    let [one] = here.collect::<Vec<_>>()[..] else {
        anyhow::bail!("{faults:?}")
    };
    // As it is printed, without the question.
    let command = one["fix"].as_str().context("no command")?;
    let args: Vec<&str> = command.split_whitespace().skip(1).chain(["--yes"]).collect();
    once::run(&args)?.ended(0)?;
    let faults = found(&sandbox, || connect(&lab, &client, 5))?;
    ensure!(faults.is_empty(), "{faults:?}");
    Ok(())
}

#[test]
fn syn_cookies_that_are_always_sent() -> Result<()> {
    needs_kernel!();
    // The diagnosis.
    let id = "syncookies-active";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let client = Connect::new(server.address(), 100);
    connect(&lab, &client, 1)?;
    lab.server().set_sysctl("net/ipv4/tcp_syncookies", "2")?;
    let faults = found(&sandbox, || connect(&lab, &client, 3))?;
    // What is printed shows the settings; what it says of them is to set this one to 1.
    apply(&faults, id, lab.server())?;
    lab.server().set_sysctl("net/ipv4/tcp_syncookies", "1")?;
    let faults = found(&sandbox, || connect(&lab, &client, 3))?;
    ensure!(faults.is_empty(), "{faults:?}");
    Ok(())
}

#[test]
fn a_cache_that_somebody_empties() -> Result<()> {
    needs_kernel!();
    // The diagnosis.
    let id = "cookie-never-cached";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let client = Connect::new(server.address(), 100);
    let faults = found(&sandbox, || {
        (0..7).try_for_each(|_| {
            lab.client().flush_tcp_metrics()?;
            connect(&lab, &client, 1)
        })
    })?;
    ensure!(ids(&faults).contains(&id), "{faults:?}");
    // The fix: nobody empties it.
    let faults = found(&sandbox, || connect(&lab, &client, 7))?;
    ensure!(faults.is_empty(), "{faults:?}");
    Ok(())
}

#[test]
fn a_pause_that_one_path_brought_on() -> Result<()> {
    needs_kernel!();
    // The diagnosis.
    let id = "blackhole-paused";
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    lab.client()
        .set_sysctl("net/ipv4/tcp_fastopen_blackhole_timeout_sec", "3600")?;
    let serve = |index| Server::start(lab.server(), &Listen::new((lab::server_v4(index), 0).into()));
    let (bad, good) = (serve(0)?, serve(1)?);
    let client = Connect::new(good.address(), 100);
    connect(&lab, &client, 1)?;
    connect(&lab, &Connect::new(bad.address(), 100), 1)?;
    let blackhole = Rule::new(Effect::DropSyn, bad.address().ip()).port(bad.address().port());
    let path = Middlebox::on_path(&lab, &blackhole)?;
    let doomed = Connect {
        options: vec![ClientOption::SynCount(1)],
        ..Connect::new(bad.address(), 100)
    };
    let faults = found(&sandbox, || {
        let report = doomed.run_in(lab.client())?;
        ensure!(!report.established(), "{report:?}");
        drop(path);
        connect(&lab, &client, 1)
    })?;
    apply(&faults, id, lab.client())?;
    let faults = found(&sandbox, || connect(&lab, &client, 1))?;
    ensure!(faults.is_empty(), "{faults:?}");
    Ok(())
}

#[test]
fn first_writes_that_are_too_long_or_too_short() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let fitting = Connect::new(server.address(), 100);
    connect(&lab, &fitting, 1)?;
    for (id, length) in [("syn-data-capped", LARGE), ("application-misuse", 0)] {
        let client = Connect::new(server.address(), length);
        let faults = found(&sandbox, || connect(&lab, &client, 5))?;
        ensure!(ids(&faults) == [id], "{length} bytes: {faults:?}");
        // The fix: a request that is written at once, and fits.
        let faults = found(&sandbox, || connect(&lab, &fitting, 5))?;
        ensure!(faults.is_empty(), "{faults:?}");
    }
    Ok(())
}

/// A rotation whose new key is primary at once refuses each client once; one with a backup refuses nobody.
#[test]
fn a_rotation_with_a_backup() -> Result<()> {
    needs_kernel!();
    // The diagnoses.
    let (rotated, alternate) = ("key-rotated", "alternate-key");
    let (old, new) = (*b"the old key 16 b", *b"the new key 16 b");
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let during = |keys: Keys| -> Result<Vec<Value>> {
        let address = (lab::server_v4(0), 0).into();
        let serve = |keys| {
            let listen = Listen {
                keys,
                ..Listen::new(address)
            };
            Server::start(lab.server(), &listen)
        };
        lab.client().flush_tcp_metrics()?;
        let before = serve(Keys::One(old))?;
        connect(&lab, &Connect::new(before.address(), 100), 2)?;
        let after = serve(keys)?;
        found(&sandbox, || connect(&lab, &Connect::new(after.address(), 100), 3))
    };
    let faults = during(Keys::One(new))?;
    ensure!(ids(&faults) == [rotated], "{faults:?}");
    let faults = during(Keys::WithBackup(new, old))?;
    ensure!(ids(&faults) == [alternate], "{faults:?}");
    // The rotation is over: the clients have cookies of the new key.
    let after = Listen {
        keys: Keys::One(new),
        ..Listen::new((lab::server_v4(0), 0).into())
    };
    let after = Server::start(lab.server(), &after)?;
    let faults = found(&sandbox, || connect(&lab, &Connect::new(after.address(), 100), 3))?;
    ensure!(faults.is_empty(), "{faults:?}");
    Ok(())
}

/// Not Fast Open's fault, and nothing to mend here: the path is, and then the finding is gone.
#[test]
fn paths_that_others_mend() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let client = Connect::new(server.address(), 100);
    connect(&lab, &client, 1)?;
    let effects = [
        ("synack-loss", Effect::DropEarlySynAcks),
        ("option-stripped", Effect::StripSyn { experimental: true }),
    ];
    for (id, effect) in effects {
        let rule = Rule::new(effect, server.address().ip()).port(server.address().port());
        let path = Middlebox::on_path(&lab, &rule)?;
        let faults = found(&sandbox, || connect(&lab, &client, 3))?;
        ensure!(ids(&faults).contains(&id), "{faults:?}");
        drop(path);
        let faults = found(&sandbox, || connect(&lab, &client, 3))?;
        ensure!(faults.is_empty(), "{id}: {faults:?}");
        // Near miss: no Fast Open, no finding.
        let plain = Connect {
            api: Api::Plain,
            ..client.clone()
        };
        let path = Middlebox::on_path(&lab, &rule)?;
        let faults = found(&sandbox, || connect(&lab, &plain, 1))?;
        ensure!(faults.is_empty(), "{id}: {faults:?}");
        drop(path);
    }
    Ok(())
}
