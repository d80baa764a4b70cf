//! Every outcome and variant, produced by real sockets and nftables: `trace` has one record per end and connection, and
//! every field of it is as the scenario says.

use std::{
    collections::HashMap,
    fs, process,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, ensure};
use tfo_common::Outcome;
use tfo_lab::{
    lab::Lab,
    scenario::{Connection, OptionSent, Params, Run, Scenario, View},
};

use crate::support::{
    flow::{Flow, Key, Role, by_connection},
    needs_kernel, no_problems,
    sandbox::Sandbox,
};

/// Labs working in parallel. Most scenarios wait for the kernel's one-second SYN timer.
const LABS: usize = 12;
/// Just below the SYN timer of one second: what took less has not lost a SYN. What took longer may have waited for a
/// busy machine; whether it has lost one is told by `syn_retrans`.
const PROMPT_US: u64 = 900_000;
/// What an application may read its clock too early or too late on a loaded machine.
const CLOCK_US: u64 = 500_000;
/// One SYN timer and a machine that stood still.
const LATE_US: u64 = 10_000_000;

#[test]
fn every_outcome_and_variant_reads_back() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    // Records wait for their first byte as long as it takes, also where everything stands still for a while.
    let trace = sandbox.trace(&["--all", "--ttfb-wait", "20s"])?;
    let runs = run_everything()?;
    let (flows, summary) = trace.stop()?.complete_records()?;

    let found = by_connection(&flows);
    let expected = Expected::of(&sandbox)?;
    let mut problems = Vec::new();
    let mut ends = 0;
    for run in &runs {
        for connection in &run.connections {
            ends += 1 + usize::from(connection.server.is_some());
            expected.check(run, connection, &found, &mut problems)?;
        }
    }
    if ends != flows.len() {
        problems.push(format!("{} records for {ends} ends", flows.len()));
    }
    if summary.sum(true) != flows.len() as u64 {
        problems.push(format!("{} records, totals {:?}", flows.len(), summary.totals));
    }
    problems.extend(without_scenario(&flows));
    no_problems(&problems)
}

/// Outcomes that no scenario made. A new outcome needs one; what a policy does has tests of its own.
fn without_scenario(flows: &[Flow]) -> Vec<String> {
    Outcome::ALL
        .iter()
        .filter(|outcome| **outcome != Outcome::Denied)
        .filter(|outcome| !flows.iter().any(|flow| flow.outcome == outcome.name()))
        .map(|outcome| format!("{}: no scenario makes it", outcome.name()))
        .collect()
}

/// Plays all scenarios in all combinations, in labs side by side.
fn run_everything() -> Result<Vec<Run>> {
    let jobs: Vec<(Scenario, Params)> = Scenario::ALL
        .iter()
        .flat_map(|scenario| Params::all().map(|params| (*scenario, params)))
        .collect();
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(Vec::new());
    thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            let mut lab = Lab::up_unique()?;
            while let Some((scenario, params)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let run = scenario.run(&mut lab, *params)?;
                runs.lock().expect("no thread panics with it").push(run);
            }
            Ok(())
        };
        let workers: Vec<_> = (0..LABS).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().expect("a lab does not panic")?;
        }
        Ok(())
    })?;
    let runs = runs.into_inner().expect("no thread panicked with it");
    ensure!(runs.len() == jobs.len(), "{} of {} ran", runs.len(), jobs.len());
    Ok(runs)
}

/// What is the same in all records of this test.
struct Expected {
    pid: u32,
    comm: String,
    cgroup_id: u64,
    cgroup: String,
}

impl Expected {
    fn of(sandbox: &Sandbox) -> Result<Self> {
        // The name of the process, not that of the thread that connects.
        let comm = fs::read_to_string("/proc/self/comm").context("/proc/self/comm: reading it")?;
        Ok(Self {
            pid: process::id(),
            comm: comm.trim_end().to_owned(),
            cgroup_id: sandbox.id()?,
            cgroup: sandbox.name()?,
        })
    }

    /// Holds the records of one connection, at both ends, against what the scenario promises.
    fn check(
        &self,
        run: &Run,
        connection: &Connection,
        found: &HashMap<Key, Vec<&Flow>>,
        problems: &mut Vec<String>,
    ) -> Result<()> {
        let local = connection.report.local.context("own address unknown")?;
        let remote = connection.report.remote;
        let client = (Some(run.client_netns), Role::Client, local, remote);
        let server = (Some(run.server_netns), Role::Server, remote, local);
        // What fills a queue never gets its last ACK through: its server may send the SYN-ACK again.
        let fills = run.scenario == "queue-overflow" && connection.priming;
        let late = connection.client.retransmitted || fills;
        let ends = [
            (client, Some(&connection.client)),
            (server, connection.server.as_ref()),
        ];
        for (key, view) in ends {
            let label = format!(
                "{} ({}){} {:?} {local} {remote}",
                run.scenario,
                run.params,
                if connection.priming { ", priming" } else { "" },
                key.1,
            );
            match (found.get(&key).map_or(&[][..], Vec::as_slice), view) {
                ([flow], Some(view)) => {
                    let mut differ = |what: &str, got: String, want: String| {
                        if got != want {
                            problems.push(format!("{label}: {what} is {got}, expected {want}"));
                        }
                    };
                    self.common(flow, connection, &mut differ);
                    wire(flow, view, &mut differ);
                    match key.1 {
                        Role::Client => {
                            client_costs(flow, view, &mut differ);
                            witnessed(flow, connection, &mut differ);
                        }
                        Role::Server => server_costs(flow, view, late, &mut differ),
                    }
                }
                ([], None) => {}
                (flows, view) => problems.push(format!(
                    "{label}: {} records, expected {}: {flows:?}",
                    flows.len(),
                    u8::from(view.is_some())
                )),
            }
        }
        Ok(())
    }

    /// Who and where.
    fn common(&self, flow: &Flow, connection: &Connection, differ: &mut dyn FnMut(&str, String, String)) {
        let client = flow.role == Role::Client;
        let mut same = |what: &str, got: &dyn std::fmt::Debug, want: &dyn std::fmt::Debug| {
            differ(what, format!("{got:?}"), format!("{want:?}"));
        };
        same("family", &flow.family, &connection.family);
        same("cgroup_id", &flow.cgroup_id, &Some(self.cgroup_id));
        same("cgroup", &flow.cgroup.as_deref(), &Some(&*self.cgroup));
        same("pid", &flow.pid, &client.then_some(self.pid));
        same("comm", &flow.comm.as_deref(), &client.then_some(&*self.comm));
        if client {
            same("tfo_requested", &flow.tfo_requested, &connection.tfo_requested);
        }
        same("ts in UTC", &flow.ts.ends_with('Z'), &true);
    }
}

/// Outcome and what was on the wire.
fn wire(flow: &Flow, view: &View, differ: &mut dyn FnMut(&str, String, String)) {
    let option = match view.option_sent {
        OptionSent::None => "none",
        OptionSent::Request => "request",
        OptionSent::Cookie => "cookie",
    };
    let mut same = |what: &str, got: &dyn std::fmt::Debug, want: &dyn std::fmt::Debug| {
        differ(what, format!("{got:?}"), format!("{want:?}"));
    };
    same("outcome", &flow.outcome, &view.outcome);
    same("option_sent", &flow.option_sent, &option);
    same("option_kind", &flow.option_kind, &view.option_kind);
    same("syn_data_len", &flow.syn_data_len, &view.syn_data_len);
    same("syn_data_acked", &flow.syn_data_acked, &view.syn_data_acked);
    if flow.role == Role::Client {
        same("cookie_received", &flow.cookie_received, &view.cookie_in_syn_ack);
    }
}

/// A SYN timeout costs about a second; what is answered at once costs nothing; what is accepted saves one
/// round trip.
fn client_costs(flow: &Flow, view: &View, differ: &mut dyn FnMut(&str, String, String)) {
    let mut within = |what: &str, got: Option<u64>, from: u64, below: u64| {
        if !got.is_some_and(|us| (from..below).contains(&us)) {
            differ(what, format!("{got:?}"), format!("{from} to {below}"));
        }
    };
    let retrans = u64::from(flow.syn_retrans);
    match (view.established, view.retransmitted) {
        (true, false) => {
            within("handshake_us", flow.handshake_us, 1, LATE_US);
            within("syn_retrans", Some(retrans), 0, 1);
        }
        (true, true) => {
            within("handshake_us", flow.handshake_us, PROMPT_US, LATE_US);
            within("syn_retrans", Some(retrans), 1, 3);
        }
        (false, late) => {
            differ(
                "handshake_us",
                format!("{:?}", flow.handshake_us),
                "None".to_owned(),
            );
            differ("syn retransmitted", (retrans > 0).to_string(), late.to_string());
        }
    }
    let mut within = |what: &str, got: u64, from: u64, below: u64| {
        if !(from..below).contains(&got) {
            differ(what, got.to_string(), format!("{from} to {below}"));
        }
    };
    let handshake = flow.handshake_us.unwrap_or(0);
    match view.outcome {
        "syn-timeout" | "accepted-late" => within("lost_us", flow.lost_us, PROMPT_US, handshake + 1),
        _ => within("lost_us", flow.lost_us, 0, 1),
    }
    if saves_round_trip(view.outcome) {
        within("saved_us", flow.saved_us, handshake.max(1), handshake + 1);
    } else {
        within("saved_us", flow.saved_us, 0, 1);
    }
}

fn saves_round_trip(name: &str) -> bool {
    Outcome::from_name(name).is_some_and(Outcome::saves_round_trip)
}

/// The application watches its own clock: the record cannot be far from it. The first byte is noted with the
/// segment that acks it, which may leave after the application has read.
fn witnessed(flow: &Flow, connection: &Connection, differ: &mut dyn FnMut(&str, String, String)) {
    let report = &connection.report;
    if let (Some(known), Some(handshake)) = (report.handshake_us, flow.handshake_us)
        && handshake > known + CLOCK_US
    {
        differ(
            "handshake_us",
            handshake.to_string(),
            format!("{known} at most, as the application"),
        );
    }
    if let (Some(read), Some(handshake)) = (report.first_byte_us, flow.handshake_us) {
        let range = handshake..read + CLOCK_US;
        if !flow.ttfb_us.is_some_and(|us| range.contains(&us)) {
            differ("ttfb_us", format!("{:?}", flow.ttfb_us), format!("{range:?}"));
        }
    }
}

/// A server loses nothing by TFO; its handshake takes as long as its SYN-ACK is under way.
fn server_costs(flow: &Flow, view: &View, late: bool, differ: &mut dyn FnMut(&str, String, String)) {
    differ("lost_us", flow.lost_us.to_string(), "0".to_owned());
    if !saves_round_trip(view.outcome) {
        differ("saved_us", flow.saved_us.to_string(), "0".to_owned());
    }
    if !late {
        differ("syn_retrans", flow.syn_retrans.to_string(), "0".to_owned());
        if flow.handshake_us.is_some_and(|us| us >= LATE_US) {
            differ(
                "handshake_us",
                format!("{:?}", flow.handshake_us),
                format!("below {LATE_US}"),
            );
        }
    }
}
