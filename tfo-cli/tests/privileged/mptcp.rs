//! MPTCP sockets at either end, over IPv4 and IPv6: the records are those of the TCP connections below them, further
//! paths included. Listeners of Go programs are MPTCP unless told otherwise.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use anyhow::{Context as _, Result, ensure};
use tfo_lab::{
    client::{Api, ClientOption, Connect, Connection, Report},
    lab::{self, Lab},
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::{
    flow::{Flow, Role},
    needs_kernel, no_problems,
    sandbox::Sandbox,
    wait_until,
};

const PAYLOAD: usize = 200;

/// Why this kernel has nothing to show, or `None`.
fn without_mptcp(lab: &Lab) -> Result<Option<&'static str>> {
    let enabled = lab.server().sysctl("net/mptcp/enabled")?;
    Ok((enabled.as_deref() != Some("1")).then_some("this kernel has no MPTCP"))
}

/// One connection, and what its records must say.
struct Made {
    what: String,
    report: Report,
    outcome: &'static str,
}

/// What is wrong with the records of both ends.
fn problems(lab: &Lab, made: &[Made], flows: &[Flow]) -> Result<Vec<String>> {
    let (client, server) = (lab.client().inode()?, lab.server().inode()?);
    let mut problems = Vec::new();
    for one in made {
        let local = one.report.local.context("own address unknown")?;
        for (netns, role, near, far) in [
            (client, Role::Client, local, one.report.remote),
            (server, Role::Server, one.report.remote, local),
        ] {
            let is_it = |flow: &&Flow| {
                flow.netns == Some(netns) && flow.role == role && (flow.local(), flow.remote()) == (near, far)
            };
            let found: Vec<&Flow> = flows.iter().filter(is_it).collect();
            let data = if one.outcome == "accepted" { PAYLOAD } else { 0 };
            let sound = |flow: &Flow| {
                flow.outcome == one.outcome && (flow.syn_data_len, flow.syn_data_acked) == (data, data)
            };
            if found.len() != 1 || !sound(found[0]) {
                problems.push(format!("{}, {role:?}, not {}: {found:?}", one.what, one.outcome));
            }
        }
    }
    Ok(problems)
}

#[test]
fn mptcp_sockets_have_the_records_of_what_is_below_them() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    if let Some(reason) = without_mptcp(&lab)? {
        println!("skipped: {reason}");
        return Ok(());
    }
    let trace = sandbox.trace(&["--all"])?;
    let mut made = Vec::new();
    for address in [lab::server_v4, lab::server_v6] {
        for (index, (client, server)) in (0..).zip([(true, true), (true, false), (false, true)]) {
            let listener = Server::start(
                lab.server(),
                &Listen {
                    mptcp: server,
                    ..Listen::new((address(index), 0).into())
                },
            )?;
            // What a client asks for, and what becomes of it: the first one has no cookie yet.
            for (api, outcome) in [
                (Api::Plain, "plain"),
                (Api::MsgFastopen, "cookie-granted"),
                (Api::MsgFastopen, "accepted"),
                (Api::FastopenConnect, "accepted"),
            ] {
                let connect = Connect {
                    api,
                    options: if client {
                        vec![ClientOption::Mptcp]
                    } else {
                        Vec::new()
                    },
                    ..Connect::new(listener.address(), PAYLOAD)
                };
                let what = format!(
                    "{api:?} from {} to {} at {}",
                    kind(client),
                    kind(server),
                    listener.address()
                );
                let report = connect.run_in(lab.client()).with_context(|| what.clone())?;
                ensure!(report.reply_matched, "{what}: {report:?}");
                made.push(Made {
                    what,
                    report,
                    outcome,
                });
            }
        }
    }
    let (flows, summary) = trace.stop()?.complete_records()?;
    let problems = problems(&lab, &made, &flows)?;
    no_problems(&problems)?;
    ensure!(
        flows.len() == 2 * made.len(),
        "{} records: {summary:?}",
        flows.len()
    );
    Ok(())
}

fn kind(mptcp: bool) -> &'static str {
    if mptcp { "MPTCP" } else { "TCP" }
}

/// Lets a namespace use so many further paths, from this address where it is the client.
fn allow_paths(namespace: &Namespace, from: Option<IpAddr>) -> Result<()> {
    namespace.command(
        "ip",
        &[
            "mptcp",
            "limits",
            "set",
            "subflows",
            "2",
            "add_addr_accepted",
            "2",
        ],
    )?;
    if let Some(from) = from {
        let from = from.to_string();
        namespace.command(
            "ip",
            &["mptcp", "endpoint", "add", &from, "dev", lab::DEVICE, "subflow"],
        )?;
    }
    Ok(())
}

/// A further path is a connection of its own (`MP_JOIN`), made by the kernel: nobody asks for Fast Open on it.
#[test]
fn further_paths_are_plain_connections() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    for (address, own, extra) in [
        (lab::server_v4(0), lab::client_v4(0), lab::client_v4(1)),
        (lab::server_v6(0), lab::client_v6(0), lab::client_v6(1)),
    ] {
        let lab = Lab::up_unique()?;
        if let Some(reason) = without_mptcp(&lab)? {
            println!("skipped: {reason}");
            return Ok(());
        }
        allow_paths(lab.client(), Some(extra))?;
        allow_paths(lab.server(), None)?;
        let server = Server::start(
            lab.server(),
            &Listen {
                mptcp: true,
                ..Listen::new((address, 0).into())
            },
        )?;
        let trace = sandbox.trace(&["--all"])?;
        let open = || -> Result<Connection> {
            let connect = Connect {
                options: vec![ClientOption::Mptcp],
                ..Connect::new(server.address(), PAYLOAD)
            };
            lab.in_client(|| {
                let mut connection = connect.open()?;
                connection.exchange()?;
                Ok(connection)
            })
        };
        // Asks for a cookie, uses it; each gets a second path once data has come back.
        let open = [open()?, open()?];
        let joins = || {
            let lines = trace.lines();
            let from_extra = format!("\"local_addr\":\"{extra}\"");
            lines.iter().filter(|line| line.contains(&from_extra)).count()
        };
        wait_until("the further paths", || Ok(joins() >= 2))?;
        drop(open);
        let (flows, _) = trace.stop()?.complete_records()?;
        let mut found: BTreeMap<(String, IpAddr, String), usize> = BTreeMap::new();
        for flow in &flows {
            let client = if flow.role == Role::Client {
                flow.local()
            } else {
                flow.remote()
            };
            let key = (
                format!("{:?}", flow.role),
                SocketAddr::ip(&client),
                flow.outcome.clone(),
            );
            *found.entry(key).or_default() += 1;
        }
        let want = |role: &str, ip, outcome: &str| (role.to_owned(), ip, outcome.to_owned());
        for role in ["Client", "Server"] {
            for (key, count) in [
                (want(role, own, "cookie-granted"), 1),
                (want(role, own, "accepted"), 1),
                (want(role, extra, "plain"), 2),
            ] {
                ensure!(found.get(&key) == Some(&count), "{key:?} in {found:?}: {flows:?}");
            }
        }
        ensure!(found.len() == 6, "{found:?}");
    }
    Ok(())
}
