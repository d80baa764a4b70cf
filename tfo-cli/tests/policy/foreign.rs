//! Programs of others on the same cgroup and interface, attached before ours or after: they keep their place, their
//! packets and their verdicts whatever happens to the policy.

use std::{io::ErrorKind, net::UdpSocket, path::PathBuf};

use anyhow::{Context, Result, ensure};
use aya::programs::{SchedClassifier, TcAttachType, loaded_links};
use serde_json::Value;
use tfo_lab::{
    client::{Connect, Family},
    command,
    lab::{self, DEVICE, Lab},
    server::Server,
    undisturbed::undisturbed,
};

use crate::{
    enforce::{is_fast, primed, service},
    packets::{Ports, Watcher},
    policy::{self, add, ok},
    support::{
        foreign::{self as callbacks, Calls, Foreign},
        sandbox::Sandbox,
        wait_until,
    },
};

/// A port without a listener, to which a foreign program drops packets.
pub const REFUSED: u16 = 9;
/// UDP, for what comes behind.
const TAKEN: u16 = 10;
/// Of the names in the kernel, how ours begin.
const OURS: &str = "tfo_pol";

/// What is done to the policy while others look on, and whether the connection under watch is denied then.
pub const STEPS: [(&str, bool); 7] = [
    ("nothing is in force", false),
    ("add a rule for others", false),
    ("add", true),
    ("guard on", true),
    ("remove", false),
    ("guard off", false),
    ("flush", false),
];

pub fn step(name: &str, sandbox: &Sandbox, family: Family, more: &[&str]) -> Result<()> {
    let path = sandbox.path().to_string_lossy().into_owned();
    match name {
        "add a rule for others" => add(sandbox.path(), "192.0.2.0/24", more),
        "add" => add(sandbox.path(), &service(family, 0).to_string(), more),
        "guard on" => ok(&["guard", "on", "--cgroup", &path]).map(drop),
        "remove" => ok(&["policy", "remove", &policy::newest()?]).map(drop),
        "guard off" => ok(&["guard", "off", "--cgroup", &path]).map(drop),
        "flush" => policy::clear(),
        _ => Ok(()),
    }
}

/// One connection to the server under watch, closed at once.
pub fn connect_once(lab: &Lab, connect: &Connect, denied: bool) -> Result<()> {
    let connect = Connect {
        reset_on_close: true,
        ..connect.clone()
    };
    let report = connect.run_in(lab.client())?;
    ensure!(
        report.reply_matched && is_fast(&report) != denied,
        "denied: {denied}: {report:?}"
    );
    Ok(())
}

/// Root of the cgroup2 hierarchy, where ours are attached.
pub fn root(sandbox: &Sandbox) -> Result<PathBuf> {
    let parent = sandbox.path().parent();
    Ok(parent.context("the sandbox is not below the root")?.to_path_buf())
}

/// Programs on the root of the hierarchy as the kernel runs them, without ours: attach type and id.
fn on_root(sandbox: &Sandbox) -> Result<Vec<(String, u64)>> {
    let root = root(sandbox)?.to_string_lossy().into_owned();
    let list: Vec<Value> = serde_json::from_str(&command::run("bpftool", &["-j", "cgroup", "show", &root])?)?;
    list.iter()
        .filter(|one| !one["name"].as_str().is_some_and(|name| name.starts_with(OURS)))
        .map(|one| {
            let kind = one["attach_type"].as_str().context("attach_type")?.to_owned();
            Ok((kind, one["id"].as_u64().context("id")?))
        })
        .collect()
}

/// Links of programs: id of the link and of its program.
fn links_of(programs: &[u32]) -> Vec<(u32, u32)> {
    loaded_links()
        .flatten()
        .map(|link| (link.id(), link.program_id()))
        .filter(|(_, program)| programs.contains(program))
        .collect()
}

/// A datagram to the port that is dropped.
pub fn is_refused(lab: &Lab, family: Family) -> Result<bool> {
    lab.in_client(|| {
        let own = if family == Family::V6 {
            lab::client_v6(0)
        } else {
            lab::client_v4(0)
        };
        let socket = UdpSocket::bind((own, 0)).context("UDP")?;
        match socket.send_to(&[7; 64], (service(family, 0), REFUSED)) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(true),
            Err(error) => Err(error).context("UDP"),
        }
    })
}

pub fn on_the_same_cgroup() -> Result<()> {
    if !command::is_installed("bpftool") {
        println!("skipped: needs bpftool");
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (server, connect) = primed(&lab, family, 0)?;
        let ports = ports(&server);
        let root = root(&sandbox)?;
        // Alone below the root: there nobody else's connections are counted.
        let exact = Foreign::attach(sandbox.path())?;
        let alone = calls(&exact, || connect_once(&lab, &connect, false))?;

        let before = (Watcher::on_cgroup(&root, ports)?, Foreign::attach(&root)?);
        add(sandbox.path(), "198.51.100.0/24", &[])?;
        let after = (Watcher::on_cgroup(&root, ports)?, Foreign::attach(&root)?);
        let ids = [before.0.id()?, before.1.id()?, after.0.id()?, after.1.id()?];
        let theirs = (on_root(&sandbox)?, links_of(&ids));
        let place = |id: u32| theirs.0.iter().position(|(_, program)| *program == u64::from(id));
        ensure!(
            place(ids[0]) < place(ids[2]) && place(ids[1]) < place(ids[3]) && place(ids[0]).is_some(),
            "{theirs:?}, not in the order of {ids:?}"
        );
        ensure!(theirs.1.len() == ids.len(), "{theirs:?}");
        policy::clear()?;

        for (name, denied) in STEPS {
            step(name, &sandbox, family, &[])?;
            let what = format!("{family:?}, {name}");
            ensure!(
                (on_root(&sandbox)?, links_of(&ids)) == theirs,
                "{what}: {:?}, not {theirs:?}",
                on_root(&sandbox)?
            );
            let syns = (before.0.syns()?, after.0.syns()?);
            let seen = [before.1.calls()?, after.1.calls()?];
            let together = calls(&exact, || connect_once(&lab, &connect, denied)).context(what.clone())?;
            ensure!(together == alone, "{what}: {together:?}, alone {alone:?}");
            for (foreign, seen) in [&before.1, &after.1].into_iter().zip(&seen) {
                let now = foreign.calls()?.since(seen);
                ensure!(
                    now.of(callbacks::PASSIVE_ESTABLISHED) >= 1 && now.of(callbacks::STATE) >= 4,
                    "{what}: {now:?}"
                );
            }
            // A denied SYN is seen like any other, and then the bare one.
            let now = (before.0.syns()? - syns.0, after.0.syns()? - syns.1);
            let wanted = if denied { 2 } else { 1 };
            ensure!(now == (wanted, wanted), "{what}: {now:?} SYNs, not {wanted}");
            ensure!(is_refused(&lab, family)?, "{what}: the foreign verdict is lost");
        }
        drop(before);
        ensure!(is_refused(&lab, family)?, "the other one drops as well");
        drop(after);
        ensure!(
            !is_refused(&lab, family)?,
            "it was not the foreign programs that dropped"
        );
    }
    Ok(())
}

/// Calls of a foreign `sock_ops` program for one connection, once both ends are closed.
pub fn calls(foreign: &Foreign, connect: impl FnOnce() -> Result<()>) -> Result<Calls> {
    // At each end the change to ESTABLISHED and the one to CLOSE.
    const STATES: u64 = 2 * 2;
    let before = foreign.calls()?;
    connect()?;
    wait_until("both ends to close", || {
        Ok(foreign.calls()?.since(&before).of(callbacks::STATE) >= STATES)
    })?;
    Ok(foreign.calls()?.since(&before))
}

pub fn ports(server: &Server) -> Ports {
    Ports {
        counted: server.address().port(),
        dropped: REFUSED,
    }
}

/// Programs on the client's device without ours, in order, and the filters of its queueing disciplines.
fn on_device(lab: &Lab) -> Result<(Vec<u32>, String)> {
    let programs = lab.in_client(|| Ok(SchedClassifier::query_tcx(DEVICE, TcAttachType::Egress)?.1))?;
    let theirs = programs
        .iter()
        .filter(|program| !program.name_as_str().is_some_and(|name| name.starts_with(OURS)))
        .map(aya::programs::ProgramInfo::id)
        .collect();
    let tc = |args: &[&str]| lab.client().command("tc", args);
    let filters = tc(&["qdisc", "show", "dev", DEVICE])? + &tc(&["filter", "show", "dev", DEVICE, "egress"])?;
    Ok((theirs, filters))
}

/// Sends one datagram to the port that is dropped and one to another: the device keeps their order.
fn arrives(lab: &Lab, family: Family) -> Result<bool> {
    let bind = |port| {
        lab.in_server(|| {
            let socket = UdpSocket::bind((service(family, 0), port)).context("UDP")?;
            socket.set_read_timeout(Some(crate::support::DEADLINE))?;
            Ok(socket)
        })
    };
    let (refused, taken) = (bind(REFUSED)?, bind(TAKEN)?);
    lab.in_client(|| {
        let own = if family == Family::V6 {
            lab::client_v6(0)
        } else {
            lab::client_v4(0)
        };
        let socket = UdpSocket::bind((own, 0)).context("UDP")?;
        for port in [REFUSED, TAKEN] {
            socket
                .send_to(&[7; 64], (service(family, 0), port))
                .context("UDP")?;
        }
        Ok(())
    })?;
    undisturbed(|| taken.recv(&mut [0; 64]).context("the datagram nobody drops"))?;
    refused.set_nonblocking(true)?;
    Ok(refused.recv(&mut [0; 64]).is_ok())
}

pub fn on_the_same_interface() -> Result<()> {
    if !command::is_installed("tc") {
        println!("skipped: needs tc");
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (server, connect) = primed(&lab, family, 0)?;
        let netns = lab.client().label().to_owned();
        let strip = ["--action", "strip", "--netns", &netns, "--dev", DEVICE];
        let counting = Ports {
            dropped: 0,
            ..ports(&server)
        };
        lab.client()
            .command("tc", &["qdisc", "add", "dev", DEVICE, "clsact"])?;
        let before = lab.in_client(|| Watcher::on_tcx(DEVICE, counting))?;
        add(sandbox.path(), "198.51.100.0/24", &strip)?;
        let after = lab.in_client(|| Watcher::on_tcx(DEVICE, ports(&server)))?;
        let filter = lab.in_client(|| Watcher::on_clsact(DEVICE, counting))?;
        let all = lab.in_client(|| Ok(SchedClassifier::query_tcx(DEVICE, TcAttachType::Egress)?.1))?;
        let names: Vec<_> = all.iter().filter_map(|program| program.name_as_str()).collect();
        // Ours is first, whenever it comes: it passes every packet on, and theirs may not.
        ensure!(names == ["tfo_pol_strip", "foreign", "foreign"], "{names:?}");
        let ids = [before.id()?, after.id()?];
        let theirs = (on_device(&lab)?, links_of(&ids));
        ensure!(
            theirs.0.0 == ids && theirs.1.len() == 2,
            "{theirs:?}, not {ids:?}"
        );
        ensure!(
            theirs.0.1.contains("clsact") && theirs.0.1.contains(&format!("id {} ", filter.id()?)),
            "{theirs:?}"
        );
        policy::clear()?;

        for (name, denied) in STEPS {
            step(name, &sandbox, family, &strip)?;
            let what = format!("{family:?}, {name}");
            let now = (on_device(&lab)?, links_of(&ids));
            ensure!(now == theirs, "{what}: {now:?}, not {theirs:?}");
            let watchers = [&before, &after, &filter];
            let syns: Vec<u64> = watchers.iter().map(|one| one.syns()).collect::<Result<_>>()?;
            connect_once(&lab, &connect, denied).context(what.clone())?;
            // A denied SYN never comes so far; the bare one does.
            for (watcher, before) in watchers.iter().zip(syns) {
                ensure!(
                    watcher.syns()? == before + 1,
                    "{what}: {} SYNs",
                    watcher.syns()? - before
                );
            }
            ensure!(!arrives(&lab, family)?, "{what}: the foreign verdict is lost");
        }
        drop(after);
        ensure!(
            arrives(&lab, family)?,
            "it was not the foreign program that dropped"
        );
    }
    Ok(())
}
