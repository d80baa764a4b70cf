//! Diagnoses of real traffic: the lab makes a fault, `diagnose` names it; near misses it does not name.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    scenario::{Params, Scenario},
    server::{Keys, Listen, Server},
};

use crate::support::{
    found::{findings, ids, watch},
    needs_kernel, no_problems,
    sandbox::Sandbox,
};

/// Longer than two moments lie apart.
const MOMENTS: Duration = Duration::from_millis(2_200);

/// A scenario, how often it is played, and what has to be found.
const TABLE: [(Scenario, usize, &str); 15] = [
    (Scenario::SynTimeout, 3, "path-drops-syn-data"),
    (Scenario::RequestTimeout, 3, "path-drops-tfo-option"),
    (Scenario::OptionStripped, 3, "option-stripped"),
    (Scenario::AcceptedLate, 3, "synack-loss"),
    (Scenario::DataRefused, 5, "server-not-enabled"),
    (Scenario::NotEnabled, 3, "server-not-enabled"),
    (Scenario::QueueOverflow, 3, "tfo-queue-overflow"),
    (Scenario::Syncookie, 3, "syncookies-active"),
    (Scenario::CookieRejected, 1, "key-rotated"),
    (Scenario::BackupKey, 1, "alternate-key"),
    (Scenario::CookieGranted, 6, "cookie-never-cached"),
    (Scenario::Paused, 1, "blackhole-paused"),
    (Scenario::LocalDrop, 1, "local-drop"),
    (Scenario::LargePayload, 3, "syn-data-capped"),
    (Scenario::CookieOnly, 5, "application-misuse"),
];

/// Below the range of automatic ports.
const PORT: u16 = 7_000;

/// Played so again, a scenario meets the same destination.
fn again() -> Params {
    Params {
        first_port: Some(PORT),
        ..Params::default()
    }
}

#[test]
fn every_scenario_has_its_diagnosis() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let mut lab = Lab::up_unique()?;
    let mut problems = Vec::new();
    for (scenario, times, wanted) in TABLE {
        let diagnose = watch(&sandbox)?;
        for _ in 0..times {
            scenario.run(&mut lab, again())?;
        }
        let ended = diagnose.stop()?;
        let found = findings(&ended)?;
        let one = found.iter().find(|one| one["id"] == wanted);
        if one.is_none() {
            problems.push(format!(
                "{}: {wanted} is missing: {:?}",
                scenario.name(),
                ids(&found)
            ));
        }
        let has_failed = found.iter().any(|one| one["severity"] == "fail");
        let code = if has_failed { 4 } else { 0 };
        if ended.code != Some(code) {
            problems.push(format!("{}: exit {:?}, not {code}", scenario.name(), ended.code));
        }
        if one.is_some_and(|one| one["evidence"].as_array().is_none_or(Vec::is_empty)) {
            problems.push(format!("{}: no evidence", scenario.name()));
        }
    }
    no_problems(&problems)
}

#[test]
fn healthy_traffic_and_lost_syns_are_not_blamed() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let mut lab = Lab::up_unique()?;
    let diagnose = watch(&sandbox)?;
    // First contact, success, a plain connection, one lost SYN-ACK of each kind.
    for scenario in [
        Scenario::Accepted,
        Scenario::CookieGranted,
        Scenario::Plain,
        Scenario::AcceptedLate,
        Scenario::PlainLate,
        Scenario::RequestLate,
        Scenario::SynTimeout,
    ] {
        scenario.run(&mut lab, Params::default())?;
    }
    let found = findings(&diagnose.stop()?)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[test]
fn resets_are_blamed_while_the_port_is_open() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let mut lab = Lab::up_unique()?;
    let diagnose = watch(&sandbox)?;
    let begin = Instant::now();
    // Every run asks for a cookie, which succeeds, and then sends data.
    while begin.elapsed() < MOMENTS {
        Scenario::Reset.run(&mut lab, again())?;
    }
    let ended = diagnose.stop()?;
    ensure!(ended.code == Some(4), "{ended:?}");
    let found = findings(&ended)?;
    ensure!(ids(&found).contains(&"reset-on-syn-data"), "{found:?}");
    Ok(())
}

/// A port that is closed for a while refuses SYNs with data and SYNs without.
#[test]
fn a_server_that_restarts_is_not_blamed() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let diagnose = watch(&sandbox)?;
    let address = (lab::server_v4(0), PORT).into();
    let with = |api| Connect {
        api,
        ..Connect::new(address, 200)
    };
    let several = |is_open: bool| -> Result<()> {
        for api in [Api::MsgFastopen, Api::Plain].into_iter().cycle().take(6) {
            let report = with(api).run_in(lab.client())?;
            ensure!(report.error.is_none() == is_open, "{report:?}");
        }
        Ok(())
    };
    let server = Server::start(lab.server(), &Listen::new(address))?;
    several(true)?;
    drop(server);
    let begin = Instant::now();
    while begin.elapsed() < MOMENTS {
        several(false)?;
    }
    let _server = Server::start(lab.server(), &Listen::new(address))?;
    several(true)?;
    let found = findings(&diagnose.stop()?)?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[test]
fn servers_with_different_keys_and_with_the_same() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let mismatch = |second: &[u8; 16]| -> Result<Vec<Value>> {
        lab.client().flush_tcp_metrics()?;
        let serve = |key: &[u8; 16]| {
            Server::start(
                lab.server(),
                &Listen {
                    keys: Keys::One(*key),
                    ..Listen::new((lab::server_v4(0), 0).into())
                },
            )
        };
        let servers = [serve(b"key of backend 1")?, serve(second)?];
        let diagnose = watch(&sandbox)?;
        for server in servers.iter().cycle().take(10) {
            Connect::new(server.address(), 200).run_in(lab.client())?;
        }
        findings(&diagnose.stop()?)
    };
    let found = mismatch(b"key of backend 2")?;
    ensure!(ids(&found).contains(&"cookie-key-mismatch"), "{found:?}");
    // The fix it names: one key for all.
    let found = mismatch(b"key of backend 1")?;
    ensure!(found.is_empty(), "{found:?}");
    Ok(())
}

#[test]
fn a_path_of_plain_loss_is_not_blamed() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let connect = Connect::new(server.address(), 200);
    connect.run_in(lab.client())?;
    let diagnose = watch(&sandbox)?;
    let rule = Rule::new(Effect::Loss(100), server.address().ip()).port(server.address().port());
    let path = Middlebox::on_path(&lab, &rule)?;
    let plain = Connect {
        api: Api::Plain,
        ..connect.clone()
    };
    for _ in 0..20 {
        // What is lost meanwhile may fail as a whole: it is loss.
        let _ = connect.run_in(lab.client())?;
        let _ = plain.run_in(lab.client())?;
    }
    drop(path);
    let ended = diagnose.stop()?;
    let found = findings(&ended)?;
    ensure!(!ids(&found).contains(&"path-drops-syn-data"), "{found:?}");
    Ok(())
}
