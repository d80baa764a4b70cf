//! Rules with `strip`: no SYN has the TFO option, checksums are right, and the programs and filters of others stay.

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect, Family},
    command,
    lab::{DEVICE, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::{
    capture::Capture,
    enforce::{at_once, is_fast, late, primed, service},
    files::temporary,
    guards::{on, state},
    policy::{self, add_strip, counter, ok, run, told},
    support::sandbox::Sandbox,
};

/// Packets with a wrong checksum the server's namespace has seen.
fn checksum_errors(lab: &Lab) -> Result<String> {
    let text = lab.in_server(|| Ok(std::fs::read_to_string("/proc/thread-self/net/snmp")?))?;
    let mut lines = text.lines().filter(|line| line.starts_with("Tcp:"));
    let (names, values) = (lines.next().context("names")?, lines.next().context("values")?);
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    Ok(pairs
        .find(|(name, _)| *name == "InCsumErrors")
        .context("InCsumErrors")?
        .1
        .to_owned())
}

/// The same with filters of clsact, as on kernels before 6.6: also where others have the discipline.
pub fn no_option_leaves_before_tcx() -> Result<()> {
    policy::before_tcx(|| {
        no_option_leaves()?;
        disciplines_of_our_own()
    })
}

/// Where nobody has a clsact discipline, one is made, and is gone afterwards, unless somebody else uses it by then.
fn disciplines_of_our_own() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let netns = lab.client().label().to_owned();
    let tc = |args: &[&str]| lab.client().command("tc", args);
    let has_discipline =
        |dev: &str| -> Result<bool> { Ok(tc(&["qdisc", "show", "dev", dev])?.contains("clsact")) };
    let add = || add_strip(sandbox.path(), "10.77.0.2", &netns);
    ensure!(!has_discipline(DEVICE)? && !has_discipline("lo")?, "there before");
    // Somebody else's, until he removes it: the one that is made then is ours, and goes with us.
    tc(&["qdisc", "add", "dev", DEVICE, "clsact"])?;
    add()?;
    tc(&["qdisc", "del", "dev", DEVICE, "clsact"])?;
    ok(&["policy", "list"])?;
    ensure!(has_discipline(DEVICE)?, "not made again");
    policy::clear()?;
    ensure!(!has_discipline(DEVICE)?, "left behind");

    add()?;
    ensure!(has_discipline(DEVICE)? && has_discipline("lo")?, "not made");
    let filters = tc(&["filter", "show", "dev", DEVICE, "egress"])?;
    ensure!(filters.contains("tfo_pol_strip"), "{filters}");

    // Somebody removes it: the next command puts it back.
    tc(&["qdisc", "del", "dev", DEVICE, "clsact"])?;
    ok(&["policy", "list"])?;
    let filters = tc(&["filter", "show", "dev", DEVICE, "egress"])?;
    ensure!(filters.contains("tfo_pol_strip"), "{filters}");

    // Killed with the pin made and the filter not: the next command goes on.
    tc(&["filter", "del", "dev", DEVICE, "egress"])?;
    ok(&["policy", "list"])?;
    let filters = tc(&["filter", "show", "dev", DEVICE, "egress"])?;
    ensure!(filters.contains("tfo_pol_strip"), "{filters}");

    // An interface that cannot be stripped on stops nothing else: the older discipline has no way out.
    let ip = |args: &[&str]| lab.client().command("ip", args);
    ip(&["link", "add", "odd0", "type", "veth", "peer", "name", "odd1"])?;
    tc(&["qdisc", "add", "dev", "odd0", "ingress"])?;
    ip(&["link", "set", "odd0", "up"])?;
    ip(&["link", "set", "odd1", "up"])?;
    let output = run(&["policy", "list"])?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success()
            && stderr.contains("not stripping there: attach the option stripper to odd0")
            && stderr.contains("discipline ingress")
            && stderr.contains("stripping on odd1"),
        "{stderr}"
    );

    // A discipline in which others have a filter by now stays, with that filter alone.
    foreign_filter(&lab)?;
    policy::clear()?;
    ensure!(!has_discipline("lo")?, "left behind");
    let filters = tc(&["filter", "show", "dev", DEVICE, "egress"])?;
    ensure!(
        filters.contains("bytecode") && !filters.contains("tfo_pol_strip"),
        "{filters}"
    );
    Ok(())
}

/// A filter of somebody else that matches nothing.
fn foreign_filter(lab: &Lab) -> Result<()> {
    let filter = [
        "filter",
        "add",
        "dev",
        DEVICE,
        "egress",
        "bpf",
        "bytecode",
        "1,6 0 0 0",
    ];
    lab.client().command("tc", &filter).map(drop)
}

pub fn no_option_leaves() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let (_server, connect) = primed(&lab, family, 0)?;
        let (_other, other) = primed(&lab, family, 1)?;
        let fresh_server = Server::start(lab.server(), &Listen::on(service(family, 2), family))?;
        let fresh = Connect {
            family,
            ..Connect::new(fresh_server.address(), 300)
        };
        let tc = |args: &[&str]| lab.client().command("tc", args);
        tc(&["qdisc", "add", "dev", DEVICE, "clsact"])?;
        foreign_filter(&lab)?;
        let foreign = || -> Result<String> {
            let all =
                tc(&["qdisc", "show", "dev", DEVICE])? + &tc(&["filter", "show", "dev", DEVICE, "egress"])?;
            let others = all.lines().filter(|line| !line.contains("pref 34 "));
            Ok(others.collect::<Vec<_>>().join("\n"))
        };
        let before = foreign()?;
        // A label of an address is listed like an interface.
        let label = format!("{DEVICE}:1");
        lab.client().command(
            "ip",
            &["addr", "add", "10.77.9.1/32", "dev", DEVICE, "label", &label],
        )?;
        let netns = lab.client().label().to_owned();
        for index in [0, 2] {
            add_strip(sandbox.path(), &service(family, index).to_string(), &netns)?;
        }
        // Drops requests as well as cookies, of either kind.
        let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, service(family, 0)))?;
        let fresh_path = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, service(family, 2)))?;
        let capture = Capture::start(&lab)?;
        for offload in ["on", "off"] {
            if offload == "off" && !switch_offload_off(&lab) {
                println!("  checksum offload cannot be switched off here");
                continue;
            }
            for api in [Api::MsgFastopen, Api::FastopenConnect] {
                for (blocking, payload) in [(true, 300), (false, 300), (true, 5_000)] {
                    for to in [&connect, &fresh] {
                        let variant = Connect {
                            api,
                            blocking,
                            payload,
                            reply: payload,
                            ..to.clone()
                        };
                        let report = at_once(&lab, &variant)?;
                        ensure!(!is_fast(&report), "offload {offload}: {report:?}");
                    }
                }
            }
        }
        ensure!(path.hits()? == 0 && fresh_path.hits()? == 0, "an option left");
        ensure!(
            counter("strip_failed")? == 0 && counter("stripped")? >= 12,
            "{}",
            policy::list()?
        );
        ensure!(
            checksum_errors(&lab)? == "0",
            "{} wrong checksums",
            checksum_errors(&lab)?
        );
        ensure!(
            is_fast(&at_once(&lab, &other)?),
            "the other destination keeps TFO"
        );
        if let Some(capture) = capture {
            let syns = capture.syns(&lab)?;
            for syn in &syns {
                let ruled = syn.port != other.target.port();
                ensure!(!ruled || !syn.option && syn.payload == 0, "{syn:?}");
                ensure!(ruled || syn.option, "{syn:?}");
            }
        }
        ensure!(foreign()? == before, "the foreign filter changed: {}", foreign()?);

        // An interface that comes up later is stripped on from the next command on; one that goes is let go.
        lab.client().command(
            "ip",
            &["link", "add", "late0", "type", "veth", "peer", "name", "late1"],
        )?;
        lab.client().command("ip", &["link", "set", "late0", "up"])?;
        let stderr = told(&["policy", "list"])?;
        ensure!(stderr.contains("stripping on late0"), "{stderr}");
        lab.client().command("ip", &["link", "del", "late0"])?;
        let stderr = told(&["policy", "list"])?;
        ensure!(
            stderr.contains("1 interfaces that were stripped on are gone"),
            "{stderr}"
        );
        policy::clear()?;
        ensure!(foreign()? == before, "the foreign filter went with ours");
        let left = tc(&["filter", "show", "dev", DEVICE, "egress"])?;
        ensure!(!left.contains("tfo_pol_strip"), "left behind: {left}");
    }
    Ok(())
}

/// A namespace that gets the number of one that is gone is another one: nothing is taken for attached there.
pub fn numbers_of_namespaces_are_given_again() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let places = || -> Result<Vec<String>> {
        let names = std::fs::read_dir(policy::PINS)?.flatten();
        let names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
        Ok(names
            .filter(|name| ["tcx-", "every-"].iter().any(|kind| name.starts_with(kind)))
            .collect())
    };
    let lab = Lab::up_unique()?;
    let numbers = [lab.client().inode()?, lab.server().inode()?];
    let netns = lab.client().label().to_owned();
    add_strip(sandbox.path(), "192.0.2.0/24", &netns)?;
    let before = places()?;
    ensure!(before.len() == 3, "one for all, lo and {DEVICE}: {before:?}");
    drop(lab);

    // The kernel gives the lowest number that is free.
    let lab = Lab::up_unique()?;
    let again = [lab.client().inode()?, lab.server().inode()?];
    println!("  numbers {numbers:?}, then {again:?}");
    let stderr = told(&["policy", "list"])?;
    ensure!(
        stderr.contains("2 interfaces that were stripped on are gone"),
        "{stderr}"
    );
    ensure!(places()?.is_empty(), "{before:?}, then {:?}", places()?);
    let netns = lab.client().label().to_owned();
    add_strip(sandbox.path(), "198.51.100.0/24", &netns)?;
    ensure!(places()?.len() == 3, "{:?}", places()?);
    Ok(())
}

/// Interfaces that are named count for rules that are there already.
pub fn named_later() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let name = sandbox.name()?;
    let file = temporary(
        "strip.toml",
        &format!("[[rule]]\ncgroup = \"{name}\"\ndst = \"192.0.2.0/24\"\naction = \"strip\"\n"),
    )?;
    ok(&["policy", "apply", &file, "--dev", "lo"])?;
    let place = format!("{DEVICE} (netns {})", lab.client().inode()?);
    let places = || -> Result<String> { Ok(policy::list()?["stripping_on"].to_string()) };
    ensure!(
        places()?.contains("\"lo (netns") && !places()?.contains(&place),
        "{}",
        places()?
    );
    let netns = lab.client().label().to_owned();
    let stderr = told(&["policy", "apply", &file, "--netns", &netns])?;
    ensure!(
        stderr.contains(&format!("stripping on {place}")) && stderr.contains("1 unchanged"),
        "{stderr}"
    );
    ensure!(places()?.contains(&place), "{}", places()?);
    let text = ok(&["policy", "list"])?;
    ensure!(text.contains("\nstripping on lo (netns"), "{text}");
    Ok(())
}

/// The same for option 254, to which a client moves on where 34 is not answered.
pub fn no_experimental_option_leaves() -> Result<()> {
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let sandbox = Sandbox::enter()?;
        let server = Server::start(lab.server(), &Listen::on(service(family, 0), family))?;
        let connect = Connect {
            family,
            ..Connect::new(server.address(), 300)
        };
        let unanswered = Rule::new(Effect::StripSynAck { experimental: false }, service(family, 0));
        let _path = Middlebox::on_path(&lab, &unanswered)?;
        let Some(capture) = Capture::start(&lab)? else {
            return Ok(());
        };
        for _ in 0..2 {
            at_once(&lab, &connect)?;
        }
        ensure!(
            is_fast(&at_once(&lab, &connect)?),
            "TFO by 254 does not work here"
        );
        let netns = lab.client().label().to_owned();
        let dst = service(family, 0).to_string();
        add_strip(sandbox.path(), &dst, &netns)?;
        let _drops = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, service(family, 0)))?;
        for payload in [300, 5_000] {
            let variant = Connect {
                payload,
                reply: payload,
                ..connect.clone()
            };
            at_once(&lab, &variant)?;
        }
        ensure!(
            counter("stripped")? == 2 && counter("strip_failed")? == 0 && checksum_errors(&lab)? == "0",
            "{}",
            policy::list()?
        );
        policy::clear()?;
        let last = Connect {
            api: Api::Plain,
            ..connect.clone()
        };
        at_once(&lab, &last)?;
        let syns = capture.syns(&lab)?;
        ensure!(syns.len() == 6, "{syns:?}");
        ensure!(
            syns[1].experimental && syns[2].experimental && syns[2].payload == 300,
            "{syns:?}"
        );
        ensure!(
            syns[3..5].iter().all(|syn| !syn.option && syn.payload == 0),
            "{syns:?}"
        );
    }
    Ok(())
}

/// Lets the kernel calculate checksums itself; false where that cannot be done.
fn switch_offload_off(lab: &Lab) -> bool {
    command::is_installed("ethtool")
        && lab
            .client()
            .command("ethtool", &["-K", DEVICE, "tx", "off"])
            .is_ok()
}

pub fn escalates() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let netns = lab.client().label().to_owned();
    on(
        &sandbox,
        &[
            "--failures",
            "2",
            "--of",
            "3",
            "--backoff",
            "5s",
            "--escalate",
            "--netns",
            &netns,
        ],
    )?;
    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, service(Family::V4, 0)))?;
    // Two with data, then two without that still carry the option.
    for paid in 0..4 {
        late(&lab, &connect).with_context(|| format!("connection {paid}"))?;
    }
    at_once(&lab, &connect)?;
    let stripped = state()?;
    ensure!(
        stripped["state"] == "open" && stripped["action"] == "strip",
        "{stripped}"
    );
    drop(path);
    // Back in two steps: the option first, then data.
    crate::support::wait_until("TFO to come back", || Ok(is_fast(&connect.run_in(lab.client())?)))?;
    let closed = state()?;
    ensure!(closed["state"] == "closed", "{closed}");
    Ok(())
}
