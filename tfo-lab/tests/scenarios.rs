//! Runs every scenario in every combination and holds it against the kernel's own words: counters,
//! `tcp_info`, return values. Needs root; says `skipped: reason` otherwise.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Family},
    lab::{self, Lab},
    scenario::{Connection, Params, Run, Scenario},
};

/// Labs working in parallel. Most scenarios wait for the kernel's one-second SYN timer.
const LABS: usize = 12;

#[test]
fn every_scenario_in_every_combination() {
    if let Some(reason) = lab::why_not() {
        println!("skipped: {reason}");
        return;
    }
    let jobs: Vec<(Scenario, Params)> = Scenario::ALL
        .iter()
        .flat_map(|scenario| Params::all().map(|params| (*scenario, params)))
        .collect();
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..LABS {
            scope.spawn(|| {
                let mut lab = Lab::up_unique().unwrap();
                while let Some((scenario, params)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = check(&mut lab, *scenario, *params) {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("{} ({params}): {error:#}", scenario.name()));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {} failed:\n{}",
        failures.len(),
        jobs.len(),
        failures.join("\n")
    );
}

fn check(lab: &mut Lab, scenario: Scenario, params: Params) -> Result<()> {
    let run = scenario.run(lab, params)?;
    check_counters(&run)?;
    for connection in &run.connections {
        check_connection(&run, connection)
            .with_context(|| format!("{}: {:?}", connection.client.outcome, connection.report))?;
    }
    for connection in run.measured() {
        check_return_values(&run, connection)
            .with_context(|| format!("{}: {:?}", connection.client.outcome, connection.report.calls))?;
    }
    Ok(())
}

/// The identities of docs/kernel-facts.md section 3, over this scenario alone.
fn check_counters(run: &Run) -> Result<()> {
    for (expected, (side, counted)) in run
        .expected_counters()
        .into_iter()
        .zip([("client", &run.client_mib), ("server", &run.server_mib)])
    {
        let counted = counted.fast_open();
        ensure!(
            counted == expected,
            "{side} counters {counted:?}, expected {expected:?}"
        );
    }
    let again = run.client_mib.of("TCPSynRetrans");
    let late = run
        .connections
        .iter()
        .filter(|one| one.client.retransmitted)
        .count() as u64;
    ensure!(
        (again > 0) == (late > 0) && again >= late,
        "{again} SYNs sent again, by {late} connections"
    );
    let cookies = run.server_mib.of("SyncookiesSent");
    ensure!(
        (cookies > 0) == (run.scenario == "syncookie"),
        "SyncookiesSent {cookies}"
    );
    Ok(())
}

fn check_connection(run: &Run, connection: &Connection) -> Result<()> {
    let (view, report) = (connection.client, &connection.report);
    let remote_family = if report.remote.is_ipv4() { 4 } else { 6 };
    ensure!(remote_family == connection.family, "family on the wire");
    if !view.established {
        ensure!(report.error.is_some(), "no error reported");
        return Ok(());
    }
    ensure!(report.error.is_none(), "failed");
    // A squatter holds the queue of `queue-overflow` and never reads.
    let reads = !(run.scenario == "queue-overflow" && view.outcome == "accepted");
    ensure!(
        !reads || connection.payload == 0 || report.reply_matched,
        "echo differs"
    );
    let info = report.tcp_info.context("no tcp_info")?;
    let whole = view.syn_data_len > 0 && view.syn_data_acked == view.syn_data_len;
    ensure!(info.syn_data_acked() == whole, "SYN_DATA bit");
    ensure!(
        (info.client_fail == client_fail(connection)),
        "client_fail {}",
        info.client_fail
    );
    let handshake = report.handshake_us.context("no handshake time")?;
    // What was prompt may have taken longer on a machine that stood still: the kernel counts SYNs sent again.
    ensure!(
        !view.retransmitted || handshake > 900_000,
        "handshake took {handshake} us"
    );
    ensure!(handshake < 10_000_000, "handshake took {handshake} us");
    Ok(())
}

/// `tcpi_fastopen_client_fail` as docs/kernel-facts.md section 1.3 derives it.
fn client_fail(connection: &Connection) -> u8 {
    let view = connection.client;
    let unacked = view.syn_data_acked < view.syn_data_len;
    match (unacked, view.retransmitted) {
        (true, true) => 3,
        (true, false) => 2,
        // A local drop starts with a cached cookie: the request in its SYN is not for want of one.
        (false, _)
            if view.option_kind.is_some() && is_request(connection) && view.outcome != "local-drop" =>
        {
            1
        }
        (false, _) => 0,
    }
}

fn is_request(connection: &Connection) -> bool {
    connection.client.option_sent == tfo_lab::scenario::OptionSent::Request
}

/// The table of docs/kernel-facts.md section 1.1.
fn check_return_values(run: &Run, connection: &Connection) -> Result<()> {
    if !connection.tfo_requested {
        return Ok(());
    }
    let (view, report) = (connection.client, &connection.report);
    let deferred = connection.client.option_sent != tfo_lab::scenario::OptionSent::Request
        && view.outcome != "paused"
        || view.outcome == "local-drop";
    let capacity = run.params.syn_capacity();
    match (run.params.api, run.params.blocking, deferred) {
        (Api::MsgFastopen, true, _) if view.established => {
            expect(report, "sendto", i64::try_from(connection.payload)?)
        }
        // Without data there is nothing to report as taken.
        (Api::MsgFastopen, false, true) if connection.payload == 0 => {
            expect_errno(report, "sendto", "EINPROGRESS")
        }
        (Api::MsgFastopen, false, true) => {
            expect(report, "sendto", i64::try_from(connection.payload.min(capacity))?)
        }
        (Api::MsgFastopen, false, false) => expect_errno(report, "sendto", "EINPROGRESS"),
        (Api::FastopenConnect, _, true) => expect(report, "connect", 0),
        (Api::FastopenConnect, false, false) => expect_errno(report, "connect", "EINPROGRESS"),
        _ => Ok(()),
    }
}

fn expect(report: &tfo_lab::client::Report, call: &str, returned: i64) -> Result<()> {
    let call = report
        .call(call)
        .with_context(|| format!("{call} was not called"))?;
    ensure!(
        call.returned == returned,
        "{} returned {}, expected {returned}",
        call.call,
        call.returned
    );
    Ok(())
}

fn expect_errno(report: &tfo_lab::client::Report, call: &str, errno: &str) -> Result<()> {
    let call = report
        .call(call)
        .with_context(|| format!("{call} was not called"))?;
    ensure!(
        call.errno.as_deref() == Some(errno),
        "{}: {:?}, expected {errno}",
        call.call,
        call.errno
    );
    Ok(())
}

#[test]
fn every_word_of_the_design_has_a_scenario() {
    let client = [
        "accepted",
        "accepted-late",
        "partly-accepted",
        "cookie-granted",
        "cookie-refused",
        "cookie-only",
        "data-refused",
        "cookie-rejected",
        "syn-timeout",
        "reset",
        "failed",
        "paused",
        "local-drop",
        "plain",
    ];
    for word in client {
        assert!(word.parse::<Scenario>().is_ok(), "{word}");
    }
    assert_eq!(Params::all().count(), 12);
    assert_eq!(
        Params::all()
            .filter(|params| params.family == Family::Mapped)
            .count(),
        4
    );
}
