//! Every way to connect with TFO, on a path that eats SYN data: with a rule each of them is as fast and complete
//! as with working TFO, and the application gets the same return values. None hangs.

use std::{path::Path, thread};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Call, ClientOption, Connect, Family, Report},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::{
    enforce::{SENT_AGAIN, counted, is_fast, is_late, late, prefix, service, time},
    policy::{self, add, counter, hits},
    support::no_problems,
};

/// What it takes as a rule.
const USUAL_US: u64 = 5_000;
/// Below, at and above what a SYN holds.
const PAYLOADS: [usize; 5] = [1, 300, 1_400, 5_000, 100_000];
/// Set before connecting. The first two are those that would stall without the push.
const OPTIONS: [Option<ClientOption>; 6] = [
    Some(ClientOption::QuickAckOff),
    Some(ClientOption::DeferAccept),
    Some(ClientOption::Cork),
    Some(ClientOption::More),
    Some(ClientOption::NoDelay),
    None,
];
/// How many of them would stall.
const STALLING: u64 = 2;
/// Connections at a time, where nobody looks at the clock closely: corked ones wait for 200 ms.
const AT_A_TIME: usize = 8;

/// Interfaces, blocking and not, and payloads, with one option.
fn variants(connect: &Connect, option: Option<ClientOption>) -> Vec<Connect> {
    let mut all = Vec::new();
    for api in [Api::MsgFastopen, Api::FastopenConnect] {
        for blocking in [true, false] {
            for payload in PAYLOADS {
                let options = connect.options.iter().copied().chain(option).collect();
                all.push(Connect {
                    api,
                    blocking,
                    payload,
                    reply: payload,
                    options,
                    ..connect.clone()
                });
            }
        }
    }
    all
}

/// Makes every connection, several at a time.
pub fn run_all(lab: &Lab, all: &[Connect]) -> Result<Vec<Report>> {
    let share = |share: &[Connect]| {
        share
            .iter()
            .map(|one| one.run_in(lab.client()).with_context(|| format!("{one:?}")))
            .collect::<Result<Vec<_>>>()
    };
    let shares: Vec<Result<Vec<_>>> = thread::scope(|scope| {
        let threads: Vec<_> = all
            .chunks(all.len().div_ceil(AT_A_TIME))
            .map(|chunk| scope.spawn(move || share(chunk)))
            .collect();
        threads
            .into_iter()
            .map(|one| one.join().expect("it does not panic"))
            .collect()
    });
    Ok(shares.into_iter().collect::<Result<Vec<_>>>()?.concat())
}

/// The whole product: plain sockets one after the other, for their times; the rest together.
fn product(lab: &Lab, connect: &Connect) -> Result<Vec<(Connect, Report)>> {
    let mut made = Vec::new();
    for variant in variants(connect, None) {
        let report = variant.run_in(lab.client())?;
        made.push((variant, report));
    }
    let others: Vec<Connect> = OPTIONS
        .iter()
        .filter(|option| option.is_some())
        .flat_map(|option| variants(connect, *option))
        .collect();
    let reports = run_all(lab, &others)?;
    made.extend(others.into_iter().zip(reports));
    Ok(made)
}

/// The calls up to the one that sends the SYN. What is sent after the handshake comes in pieces of any size.
fn first_calls(report: &Report) -> &[Call] {
    let syn = |call: &Call| matches!(call.call, "sendto" | "send");
    let end = report.calls.iter().position(syn).map_or(0, |at| at + 1);
    &report.calls[..end]
}

/// What is wrong with a connection under a rule, compared with the same one on a healthy path.
fn difference(report: &Report, healthy: &Report) -> Option<String> {
    if !report.reply_matched || report.error.is_some() {
        return Some("incomplete".into());
    }
    if is_late(report) {
        return Some(format!("{} us, healthy {} us", time(report), time(healthy)));
    }
    if first_calls(report) != first_calls(healthy) {
        return Some(format!("{:?}, healthy {:?}", report.calls, healthy.calls));
    }
    match report.tcp_info {
        // Retransmitted data is what a busy machine does to 100 kB; SYNs are counted by the kernel.
        Some(info) if !info.syn_data_acked() => None,
        other => Some(format!("{other:?}")),
    }
}

pub fn as_with_working_tfo() -> Result<()> {
    let mut problems = Vec::new();
    let mut times = Vec::new();
    let mut connections = 0;
    for family in [Family::V4, Family::V6, Family::Mapped] {
        for no_cookie in [false, true] {
            let lab = Lab::up_unique()?;
            let listen = Listen {
                no_cookie,
                ..Listen::on(service(family, 0), family)
            };
            let server = Server::start(lab.server(), &listen)?;
            let mut connect = Connect {
                family,
                ..Connect::new(server.address(), 300)
            };
            if no_cookie {
                connect.options.push(ClientOption::NoCookie);
            }
            connect.run_in(lab.client())?;
            let healthy = product(&lab, &connect)?;
            for (variant, report) in &healthy {
                ensure!(
                    is_fast(report) && report.reply_matched && !is_late(report),
                    "no TFO on a healthy path: {variant:?}: {report:?}"
                );
            }

            let address = service(family, 0);
            let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, address))?;
            late(&lab, &connect)?;
            add(Path::new("/"), &address.to_string(), &[])?;
            let dropped = path.hits()?;
            let (ruled, again) = counted(&lab, SENT_AGAIN, || product(&lab, &connect))?;
            ensure!(again == 0, "{again} SYNs were sent again");
            for ((variant, report), (_, healthy)) in ruled.iter().zip(&healthy) {
                if let Some(what) = difference(report, healthy) {
                    problems.push(format!("{variant:?}: {what}"));
                }
                if variant.options.len() == connect.options.len() {
                    times.push(time(report));
                }
            }
            let count = ruled.len() as u64;
            connections += count;
            let stalling = count / OPTIONS.len() as u64 * STALLING;
            let in_force = policy::list()?;
            ensure!(hits(&prefix(address))? == count, "not {count} hits: {in_force}");
            for (name, wanted) in [
                ("denied", count),
                ("pushed", count),
                ("push_failed", 0),
                ("at_risk", stalling),
                ("at_risk_ended", stalling),
                ("passed_at_risk", 0),
                ("passed_no_mark", 0),
            ] {
                ensure!(counter(name)? == wanted, "{name}, not {wanted}: {in_force}");
            }
            ensure!(path.hits()? == dropped, "SYNs with data left");
            policy::clear()?;
            late(&lab, &connect)?;
        }
    }
    times.sort_unstable();
    let (median, most) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "  {connections} connections; {} of them one by one: first byte after {median} us (median), {most} us (most)",
        times.len()
    );
    no_problems(&problems)?;
    ensure!(median < USUAL_US, "median {median} us: {times:?}");
    Ok(())
}
