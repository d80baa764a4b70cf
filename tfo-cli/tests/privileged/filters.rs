//! Filters of `trace`: a copy of the tool with a filter prints exactly those flows of a copy without one that the filter
//! matches.

use std::{collections::BTreeSet, process};

use anyhow::{Result, ensure};
use tfo_lab::{
    client::{Connect, Family},
    lab::{self, Lab},
    server::{Listen, Server},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel, no_problems,
    round::{Pair, round},
    sandbox::Sandbox,
};

/// Flags, and what they mean.
struct Case {
    flags: Vec<String>,
    means: Box<dyn Fn(&Flow) -> bool>,
}

fn case(flags: &str, means: impl Fn(&Flow) -> bool + 'static) -> Case {
    Case {
        flags: flags.split(' ').map(str::to_owned).collect(),
        means: Box::new(means),
    }
}

/// Port of the service, as the flags mean it.
fn service(flow: &Flow) -> u16 {
    match flow.role {
        Role::Client => flow.remote_port,
        Role::Server => flow.local_port,
    }
}

fn cases(port: u16) -> Vec<Case> {
    vec![
        case("--outcome accepted,cookie-granted", |flow| {
            ["accepted", "cookie-granted"].contains(&&*flow.outcome)
        }),
        case("--outcome failure", |flow| {
            ["data-refused", "cookie-refused", "not-enabled"].contains(&&*flow.outcome)
        }),
        case("--role server", |flow| flow.role == Role::Server),
        case("--remote 10.77.0.2,fd77::2", |flow| {
            ["10.77.0.2", "fd77::2"].contains(&&*flow.remote_addr.to_string())
        }),
        case("--remote 10.77.0.0/24", |flow| flow.remote_addr.is_ipv4()),
        case("--family 6", |flow| flow.family == 6),
        case(&format!("--port {port}"), move |flow| service(flow) == port),
        case(&format!("--process {}", process::id()), |flow| {
            flow.role == Role::Client
        }),
        // The name of this test program.
        case("--process PRIVILEGED", |flow| flow.role == Role::Client),
        case("--process no-such-program", |_| false),
        case("--role client --family 4 --outcome accepted", |flow| {
            flow.role == Role::Client && flow.family == 4 && flow.outcome == "accepted"
        }),
        case("--filter syn>0", |flow| flow.syn_data_len > 0),
        case("--filter !outcome:accepted", |flow| flow.outcome != "accepted"),
    ]
}

#[test]
fn a_filter_prints_what_it_means() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    let v6 = Server::start(lab.server(), &Listen::on(lab::server_v6(0), Family::V6))?;
    let cases = cases(pair.address().port());
    let everything = sandbox.trace(&["--all"])?;
    let mut traces = Vec::new();
    for case in &cases {
        let mut flags = vec!["--all"];
        flags.extend(case.flags.iter().map(String::as_str));
        traces.push(sandbox.trace(&flags)?);
    }
    round(&lab, &pair)?;
    for _ in 0..2 {
        Connect::new(v6.address(), 50).run_in(lab.client())?;
    }
    let (all, _) = everything.stop()?.complete_records()?;

    let mut problems = Vec::new();
    for (case, trace) in cases.iter().zip(traces) {
        let (flows, summary) = trace.stop()?.complete_records()?;
        let meant: BTreeSet<_> = all.iter().filter(|flow| (case.means)(flow)).map(name).collect();
        let printed: BTreeSet<_> = flows.iter().map(name).collect();
        if meant != printed || flows.len() != printed.len() || summary.printed != flows.len() as u64 {
            problems.push(format!("{:?}: printed {printed:?}, meant {meant:?}", case.flags));
        }
        // A filter that lets everything through would not have been tested.
        ensure!(meant.len() < all.len(), "{:?} means everything", case.flags);
        ensure!(
            summary.events == all.len() as u64,
            "{:?}: {summary:?}",
            case.flags
        );
    }
    no_problems(&problems)
}

/// A flow, for comparing and for reading.
fn name(flow: &Flow) -> String {
    format!(
        "{:?} {} {} {}",
        flow.role,
        flow.local(),
        flow.remote(),
        flow.outcome
    )
}

#[test]
fn a_cgroup_means_only_its_own_connections() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let pair = Pair::start(&lab, 0)?;
    sandbox.within("inner", || Ok(()))?;
    let inner = sandbox.child("inner").to_string_lossy().into_owned();
    let trace =
        crate::support::tool::Tool::attached(&["trace", "--all", "--format", "json", "--cgroup", &inner])?;
    round(&lab, &pair)?;
    let made = sandbox.within("inner", || round(&lab, &pair))?;
    round(&lab, &pair)?;
    let (flows, summary) = trace.stop()?.complete_records()?;

    let ports: BTreeSet<_> = made.iter().map(|one| one.local.port()).collect();
    let seen: BTreeSet<_> = flows.iter().map(|flow| flow.local_port).collect();
    ensure!(
        seen == ports && flows.len() == made.len(),
        "{flows:?}, made {made:?}"
    );
    let path = format!("{}/inner", sandbox.name()?);
    for flow in &flows {
        ensure!(flow.role == Role::Client, "servers are outside: {flow:?}");
        ensure!(
            flow.cgroup.as_deref() == Some(&*path),
            "expected {path}: {flow:?}"
        );
    }
    ensure!(summary.sum(true) == made.len() as u64, "{summary:?}");
    Ok(())
}
