//! Whether Fast Open pays: a long way on which nobody uses it, and data in SYNs that is answered no sooner for it. Each is
//! found, its fix makes it go, and its near misses are not found.

use std::{net::SocketAddr, process::Command, thread, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tfo_lab::{
    client::{Api, Connect, Connection, Family},
    lab::{self, Lab},
    responder::{Manner, Responder},
    server::{Listen, Server},
};

use crate::support::{
    BINARY,
    found::{findings, watch},
    needs_kernel, once,
    sandbox::Sandbox,
    wait_until,
};

/// The diagnoses.
const UNUSED: &str = "not-used";
const NO_BENEFIT: &str = "no-benefit";
const LONG_LIVED: &str = "long-lived";
/// From which age on a connection counts as long-lived here.
const LONG: Duration = Duration::from_secs(2);
/// Below the range of automatic ports.
const PORT: u16 = 7_000;
/// Connections at the same time.
const AT_ONCE: usize = 10;

/// A server so far away, on address number `index`.
fn far(lab: &Lab, index: u8, round_trip: Duration, is_eager: bool) -> Result<Responder> {
    let address = SocketAddr::new(lab::server_v4(index), PORT);
    let manner = Manner {
        delay: round_trip,
        is_eager,
        ..Manner::default()
    };
    Responder::start_as(lab, address, manner)
}

/// Makes so many connections, several at a time.
fn connect(lab: &Lab, connect: &Connect, times: usize) -> Result<()> {
    let run = |share: usize| -> Result<()> {
        for _ in 0..share {
            let report = connect.run_in(lab.client())?;
            ensure!(report.reply_matched, "{report:?}");
        }
        Ok(())
    };
    thread::scope(|scope| {
        let shares = (0..AT_ONCE).map(|part| (times + part) / AT_ONCE);
        let threads: Vec<_> = shares.map(|share| scope.spawn(move || run(share))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().map_err(|_| anyhow::anyhow!("a client panicked"))?)
    })
}

/// What is found of this name, by the address it is about.
fn about<'a>(found: &'a [Value], id: &str, address: SocketAddr) -> Option<&'a Value> {
    let ip = address.ip().to_string();
    found
        .iter()
        .find(|one| one["id"] == id && one["remote_addr"] == *ip)
}

#[test]
fn a_long_way_that_could_be_shorter() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let server = far(&lab, 0, Duration::from_millis(25), true)?;
    // Near misses: too few connections, and too short a way.
    let few = far(&lab, 1, Duration::from_millis(25), true)?;
    let near = far(&lab, 2, Duration::ZERO, true)?;
    let plain = |to: &Responder| Connect {
        api: Api::Plain,
        ..Connect::new(to.address(), 100)
    };
    let diagnose = watch(&sandbox)?;
    connect(&lab, &plain(&server), 100)?;
    connect(&lab, &plain(&few), 99)?;
    connect(&lab, &plain(&near), 100)?;
    let found = findings(&diagnose.stop()?)?;
    let one = about(&found, UNUSED, server.address()).with_context(|| format!("{found:?}"))?;
    ensure!(one["counts"]["plain"] == 100, "{one}");
    let saved_us = one["cost_us_per_connection"].as_u64();
    ensure!(saved_us.is_some_and(|saved| saved >= 25_000), "{one}");
    for other in [&few, &near] {
        ensure!(
            about(&found, UNUSED, other.address()).is_none(),
            "{}: {found:?}",
            other.address()
        );
    }
    // The fix it names: first ask the server, then use it.
    let command = one["fix"].as_str().context("no fix")?;
    let args: Vec<&str> = command.split_whitespace().skip(1).collect();
    let probed = lab
        .client()
        .run(|| once::once(Command::new(BINARY).args(&args)))?
        .ended(0)?;
    ensure!(probed.stdout.contains("works"), "{probed:?}");
    let diagnose = watch(&sandbox)?;
    connect(&lab, &Connect::new(server.address(), 100), 100)?;
    let found = findings(&diagnose.stop()?)?;
    ensure!(
        about(&found, UNUSED, server.address()).is_none(),
        "{UNUSED}: {found:?}"
    );
    Ok(())
}

/// What is found after a dozen connections with Fast Open to a server that answers so.
fn answered(sandbox: &Sandbox, lab: &Lab, is_eager: bool) -> Result<bool> {
    let server = far(lab, 0, Duration::from_millis(300), is_eager)?;
    lab.client().flush_tcp_metrics()?;
    let connect_once = Connect::new(server.address(), 100);
    // The first one only asks for a cookie.
    connect_once.run_in(lab.client())?;
    let diagnose = watch(sandbox)?;
    connect(lab, &connect_once, 15)?;
    let found = findings(&diagnose.stop()?)?;
    Ok(about(&found, NO_BENEFIT, server.address()).is_some())
}

#[test]
fn answers_that_wait_for_the_end_of_the_handshake() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    // A machine that stands still makes late answers later: then once more.
    let found = (0..5).try_fold(false, |found, _| {
        Ok::<_, anyhow::Error>(found || answered(&sandbox, &lab, false)?)
    })?;
    ensure!(found, "{NO_BENEFIT} is not found");
    // The fix: a server that answers what the SYN brought.
    ensure!(
        !answered(&sandbox, &lab, true)?,
        "{NO_BENEFIT} of a server that answers at once"
    );
    Ok(())
}

/// Connections that live on, with Fast Open or without.
fn open(lab: &Lab, connect: &Connect, times: u64) -> Result<Vec<Connection>> {
    let open = || -> Result<Connection> {
        lab.in_client(|| {
            let mut connection = connect.open()?;
            connection.exchange()?;
            Ok(connection)
        })
    };
    (0..times).map(|_| open()).collect()
}

/// Closes them, and waits until the sockets are gone.
fn close(lab: &Lab, living: Vec<Connection>) -> Result<()> {
    for connection in living {
        connection.close()?;
    }
    wait_until("the connections have ended", || {
        let connected = ["-Htn", "state", "connected", "exclude", "time-wait"];
        Ok(lab.client().command("ss", &connected)?.trim().is_empty())
    })
}

/// How often connections that lived long are counted until none is missing.
const TRIES: usize = 5;
/// Connections that live long, to each server.
const LIVING: u64 = 12;

/// What is found of the connections to this server, unless some are missing. The slot in which the birth of a connection stands
/// may be taken by another socket, those of other tests too, and where two slabs meet (`tfo_common::slots::near`) many are taken
/// at once: then the connections count as not seen. One may be missing.
fn counted<'a>(found: &'a [Value], server: &Server) -> Result<Option<&'a Value>> {
    let Some(one) = about(found, LONG_LIVED, server.address()) else {
        return Ok(None);
    };
    let ended = one["counts"]["ended"].as_u64().context("no count")?;
    ensure!(ended <= LIVING, "{one}");
    Ok((ended + 1 >= LIVING).then_some(one))
}

/// Tries until the connections that lived long are counted: new sockets have other slots.
fn until_counted(mut is_counted: impl FnMut() -> Result<bool>) -> Result<()> {
    for _ in 0..TRIES {
        if is_counted()? {
            return Ok(());
        }
    }
    bail!("connections that lived long are missing in each of {TRIES} tries")
}

/// Where so long a life is asked for, the kernel side looks up the age only of those that did not end in the epoch in which they
/// began (`tfo_common::slots::EPOCH_NS`, 17 s).
#[test]
fn connections_that_outlive_an_epoch() -> Result<()> {
    const EPOCH: Duration = Duration::from_nanos(tfo_common::slots::EPOCH_NS);
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let serve = |index| Server::start(lab.server(), &Listen::on(lab::server_v4(index), Family::V4));
    let (old, young) = (serve(0)?, serve(1)?);
    let to = |server: &Server| Connect::new(server.address(), 500);
    let long = format!("{}ms", (EPOCH + Duration::from_millis(500)).as_millis());
    until_counted(|| {
        let diagnose = sandbox.tool(
            "diagnose",
            &["--format", "json", "--duration", "10m", "--long-lived", &long],
        )?;
        let living = open(&lab, &to(&old), LIVING)?;
        thread::sleep(EPOCH + Duration::from_secs(1));
        drop(open(&lab, &to(&young), LIVING)?);
        close(&lab, living)?;
        let found = findings(&diagnose.stop()?)?;
        ensure!(about(&found, LONG_LIVED, young.address()).is_none(), "{found:?}");
        Ok(counted(&found, &old)?.is_some())
    })
}

#[test]
fn connections_that_live_long() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let serve = |family, index| {
        let ip = if family == Family::V6 {
            lab::server_v6(index)
        } else {
            lab::server_v4(index)
        };
        Server::start(lab.server(), &Listen::on(ip, family))
    };
    let to = |server: &Server, family| Connect {
        family,
        ..Connect::new(server.address(), 500)
    };
    let long = format!("{}ms", LONG.as_millis());
    let watch = || {
        sandbox.tool(
            "diagnose",
            &["--format", "json", "--duration", "10m", "--long-lived", &long],
        )
    };
    let families = [Family::V4, Family::V6, Family::Mapped];
    let servers: Vec<(Family, Server)> = families
        .iter()
        .zip(0..)
        .map(|(family, index)| Ok((*family, serve(*family, index)?)))
        .collect::<Result<_>>()?;
    // Near misses: nine only; long lives without Fast Open; a few long lives among many short ones.
    let (few, plain, mixed) = (
        serve(Family::V4, 4)?,
        serve(Family::V4, 5)?,
        serve(Family::V4, 6)?,
    );
    until_counted(|| {
        let diagnose = watch()?;
        let mut living = Vec::new();
        for (family, server) in &servers {
            living.extend(open(&lab, &to(server, *family), LIVING)?);
        }
        living.extend(open(&lab, &to(&few, Family::V4), 9)?);
        let without = Connect {
            api: Api::Plain,
            ..to(&plain, Family::V4)
        };
        living.extend(open(&lab, &without, LIVING)?);
        living.extend(open(&lab, &to(&mixed, Family::V4), 10)?);
        drop(open(&lab, &to(&mixed, Family::V4), 40)?);
        thread::sleep(LONG + LONG / 4);
        close(&lab, living)?;
        let found = findings(&diagnose.stop()?)?;
        for near in [&few, &plain, &mixed] {
            ensure!(
                about(&found, LONG_LIVED, near.address()).is_none(),
                "{}: {found:?}",
                near.address()
            );
        }
        for (family, server) in &servers {
            let Some(one) = counted(&found, server)? else {
                return Ok(false);
            };
            let mean_us = one["counts"]["mean-us"].as_u64().context("no mean")?;
            ensure!(u128::from(mean_us) >= LONG.as_micros(), "{family:?}: {one}");
            // 500 bytes there and back, and a FIN each.
            let bytes = one["counts"]["mean-bytes"].as_u64().context("no bytes")?;
            ensure!((1_000..=1_002).contains(&bytes), "{family:?}: {one}");
        }
        Ok(true)
    })?;
    // What it says may be done, and costs nothing: without Fast Open there is no finding.
    let diagnose = watch()?;
    let (_, server) = &servers[0];
    let without = Connect {
        api: Api::Plain,
        ..to(server, Family::V4)
    };
    let living = open(&lab, &without, LIVING)?;
    thread::sleep(LONG + LONG / 4);
    close(&lab, living)?;
    let found = findings(&diagnose.stop()?)?;
    ensure!(about(&found, LONG_LIVED, server.address()).is_none(), "{found:?}");
    Ok(())
}
