//! What a guard holds responsible for failures: not Fast Open when a server restarts, not all services when one has
//! failed, and the network when every destination fails.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    os::unix::fs::chown,
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, ClientOption, Connect, Family, Source},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    responder::{Manner, Responder},
    server::{Listen, Server},
};

use crate::{
    dashboard,
    enforce::{at_once, is_fast, is_late, late, primed, service},
    guards::on,
    policy,
    support::sandbox::Sandbox,
};

/// The states of guards: of destinations or of networks.
fn known(what: &str) -> Result<Vec<Value>> {
    let status = policy::guards()?;
    Ok(status[what].as_array().cloned().unwrap_or_default())
}

/// A server that restarts refuses plain and Fast Open SYNs alike.
pub fn restart() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        // Plain ones first, after, and in between.
        for order in 0..3 {
            let lab = Lab::up_unique()?;
            let sandbox = Sandbox::enter()?;
            let (server, connect) = primed(&lab, family, 0)?;
            on(&sandbox, &[])?;
            let target = server.address();
            drop(server);
            let plain = Connect {
                api: Api::Plain,
                ..connect.clone()
            };
            let which: Vec<&Connect> = match order {
                0 => [[&plain; 8], [&connect; 8]].concat(),
                1 => [[&connect; 8], [&plain; 8]].concat(),
                _ => [[&connect, &plain]; 8].concat(),
            };
            for one in which {
                let report = one.run_in(lab.client())?;
                ensure!(report.error.as_deref() == Some("ECONNREFUSED"), "{report:?}");
            }
            let _server = Server::start(
                lab.server(),
                &Listen {
                    address: target,
                    ..Listen::on(service(family, 0), family)
                },
            )?;
            // In doubt one goes without data.
            for _ in 0..3 {
                at_once(&lab, &connect)?;
            }
            let known = known("destinations")?;
            ensure!(
                known
                    .iter()
                    .all(|one| one["state"] == "closed" && one["opened"] == 0),
                "{known:?}"
            );
            ensure!(is_fast(&at_once(&lab, &connect)?), "Fast Open is on: {known:?}");
            policy::clear()?;
        }
    }
    Ok(())
}

/// Given up after 200 ms with nothing else to go by that is no evidence; after many round trips it is.
pub fn given_up() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    on(&sandbox, &[])?;
    let hasty = Connect {
        blocking: false,
        timeout: Duration::from_millis(200),
        ..connect.clone()
    };
    let give_up = || -> Result<()> {
        let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSyn, service(Family::V4, 0)))?;
        for _ in 0..6 {
            // However the lab tells that nothing came.
            if let Ok(report) = hasty.run_in(lab.client()) {
                ensure!(!report.reply_matched, "{report:?}");
            }
        }
        Ok(())
    };
    give_up()?;
    ensure!(known("destinations")?.is_empty(), "{:?}", known("destinations")?);
    // Now its round trip is known.
    ensure!(is_fast(&at_once(&lab, &connect)?), "Fast Open works");
    give_up()?;
    let known = known("destinations")?;
    ensure!(
        known.len() == 1 && known[0]["failures"].as_u64() >= Some(5),
        "{known:?}"
    );
    Ok(())
}

/// On a path of 600 ms who gives up after 200 ms gives up before any answer can be there.
pub fn long_path() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let manner = Manner {
        delay: Duration::from_millis(600),
        ..Manner::default()
    };
    let far = Responder::start_as(&lab, SocketAddr::new(lab::server_v4(0), 8080), manner)?;
    let patient = Connect::new(far.address(), 300);
    // The first brings the cookie, both the round trip.
    patient.run_in(lab.client())?;
    on(&sandbox, &[])?;
    ensure!(is_fast(&patient.run_in(lab.client())?), "Fast Open works there");
    let hasty = Connect {
        blocking: false,
        timeout: Duration::from_millis(200),
        ..patient.clone()
    };
    for _ in 0..10 {
        // However the lab tells that nothing came.
        if let Ok(report) = hasty.run_in(lab.client()) {
            ensure!(!report.reply_matched, "{report:?}");
        }
    }
    let known = known("destinations")?;
    ensure!(known.is_empty(), "{known:?}");
    let report = patient.run_in(lab.client())?;
    ensure!(is_fast(&report), "{report:?}");
    Ok(())
}

/// One user may have many cgroups, and let SYNs die in each of them: that is one witness. Another user's is the second.
pub fn owners() -> Result<()> {
    let (lab, sandbox) = (Lab::up_unique()?, Sandbox::enter()?);
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    on(&sandbox, &["--failures", "2", "--of", "2"])?;
    // SYNs with data and a hop limit of one do not arrive, as those of a user who raises the limit of his socket once the
    // first is lost.
    lab.server().command(
        "nft",
        &[
            "add table inet hops; add chain inet hops in { type filter hook input priority -200; }; \
           add rule inet hops in ip ttl 1 ip length > 200 tcp flags & (syn | ack) == syn drop",
        ],
    )?;
    let dying = Connect {
        options: vec![ClientOption::HopLimit(1)],
        ..connect.clone()
    };
    let fail_in = |name: &str, uid: u32| -> Result<()> {
        sandbox.within(name, || Ok(()))?;
        chown(sandbox.child(name), Some(uid), None)?;
        sandbox.within(name, || {
            for _ in 0..2 {
                late(&lab, &dying)?;
            }
            Ok(())
        })
    };
    let is_fast_for_others = || sandbox.within("others", || Ok(is_fast(&at_once(&lab, &connect)?)));
    for name in ["one", "two", "three"] {
        fail_in(name, 1_001)?;
        ensure!(
            is_fast_for_others()?,
            "{name} of the same user: {:?}",
            known("destinations")?
        );
    }
    let alone = known("destinations")?;
    let own = alone.iter().filter(|one| !one["own_cgroup_id"].is_null());
    ensure!(own.clone().count() == 3, "each harms itself: {alone:?}");
    ensure!(own.clone().all(|one| one["state"] != "closed"), "{alone:?}");
    fail_in("four", 1_002)?;
    let all = known("destinations")?;
    let everybody = all.iter().find(|one| one["own_cgroup_id"].is_null());
    ensure!(
        everybody.is_some_and(|one| one["state"] != "closed"),
        "two users saw it: {all:?}"
    );
    Ok(())
}

/// Failures of one service count for that service; failures of two count for all.
pub fn witnesses() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    on(&sandbox, &["--failures", "2", "--of", "2"])?;
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
    let open_for = |name: &str| {
        sandbox.within(name, || {
            for _ in 0..2 {
                late(&lab, &connect)?;
            }
            at_once(&lab, &connect).map(drop)
        })
    };
    open_for("one")?;
    // Nobody else is concerned.
    open_for("other")?;
    sandbox.within("third", || at_once(&lab, &connect).map(drop))?;
    let known = known("destinations")?;
    let everybody = known.iter().filter(|one| one["own_cgroup_id"].is_null());
    let open: Vec<&Value> = everybody.filter(|one| one["state"] == "open").collect();
    ensure!(known.len() == 3 && open.len() == 1, "{known:?}");
    Ok(())
}

const DESTINATIONS: u8 = 50;

/// Addresses of their own for each destination of a network.
fn place(index: u8) -> IpAddr {
    Ipv4Addr::new(10, 77, 0, 30 + index).into()
}

/// A server that takes connections at each of them, and how to connect.
fn places(lab: &Lab) -> Result<(Server, Vec<Connect>)> {
    let addresses = lab.server().command("ip", &["-o", "-4", "addr", "show"])?;
    let line = addresses.lines().find(|line| line.contains("10.77.0.2/"));
    let device = line
        .and_then(|line| line.split_whitespace().nth(1))
        .unwrap_or("eth0");
    for index in 0..DESTINATIONS {
        let address = format!("{}/24", place(index));
        lab.server()
            .command("ip", &["addr", "add", &address, "dev", device])?;
    }
    let any = Ipv4Addr::UNSPECIFIED.into();
    let server = Server::start(lab.server(), &Listen::on(any, Family::V4))?;
    let port = server.address().port();
    let connects: Vec<Connect> = (0..DESTINATIONS)
        .map(|index| Connect::new(SocketAddr::new(place(index), port), 300))
        .collect();
    for connect in &connects {
        connect.run_in(lab.client())?;
    }
    Ok((server, connects))
}

/// A gateway near the client drops SYN data to every destination.
pub fn network() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connects) = places(&lab)?;
    let other = Connect {
        source: Source::Bound(SocketAddr::new(lab::client_v4(1), 0)),
        ..connects[0].clone()
    };
    other.run_in(lab.client())?;
    on(&sandbox, &[])?;
    // Three bad ones among the others are bad destinations.
    {
        let _bad: Vec<Middlebox> = [3, 20, 41]
            .map(|index| Rule::new(Effect::DropSynData, place(index)))
            .iter()
            .map(|rule| Middlebox::on_path(&lab, rule))
            .collect::<Result<_>>()?;
        for _ in 0..3 {
            for connect in &connects {
                connect.run_in(lab.client())?;
            }
        }
    }
    let networks = known("networks")?;
    ensure!(
        networks.len() == 1 && networks[0]["state"] == "closed" && networks[0]["opened"] == 0,
        "{networks:?}"
    );
    let _gateway: Vec<Middlebox> = (0..DESTINATIONS)
        .map(|index| {
            let rule = Rule::new(Effect::DropSynData, place(index)).client(lab::client_v4(0));
            Middlebox::on_path(&lab, &rule)
        })
        .collect::<Result<_>>()?;
    let mut timeouts = 0;
    for connect in &connects {
        timeouts += u32::from(is_late(&connect.run_in(lab.client())?));
    }
    println!(
        "  {timeouts} timeouts for {DESTINATIONS} destinations: {:?}",
        known("networks")?
    );
    ensure!((1..=8).contains(&timeouts), "{timeouts} timeouts");
    dashboard::shows_the_network(&sandbox, &lab, &connects[49])?;
    // The other network is as good as before.
    ensure!(
        is_fast(&at_once(&lab, &other)?),
        "another network keeps Fast Open"
    );
    Ok(())
}
