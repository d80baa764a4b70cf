//! The lab itself: it cleans up on every kind of end, keeps away from the host, and its tools do
//! what they say. Needs root; says `skipped: reason` otherwise.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::Context;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tfo_lab::{
    apps::{self, Nginx},
    client::{Api, Connect, Family},
    command,
    lab::{self, Lab},
    load::{Limit, Load},
    mib::Mib,
    middlebox::{Effect, Middlebox, Rule},
    netns::{NAMED_DIR, Namespace},
    server::{Listen, Server},
};

const BINARY: &str = env!("CARGO_BIN_EXE_tfo-lab");
const DEADLINE: Duration = Duration::from_secs(20);

/// Ends the test early, with the reason, where it cannot run.
macro_rules! needs_root {
    () => {
        if let Some(reason) = lab::why_not() {
            println!("skipped: {reason}");
            return;
        }
    };
}

fn named(lab_tag: &str) -> [PathBuf; 2] {
    ["client", "server"].map(|role| Path::new(NAMED_DIR).join(format!("tfo-{role}{lab_tag}")))
}

fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited {DEADLINE:?} for: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn a_dropped_lab_is_gone() {
    needs_root!();
    let lab = Lab::up_unique().unwrap();
    let paths = named(lab.tag());
    assert!(paths.iter().all(|path| path.exists()));
    assert_ne!(lab.client().inode().unwrap(), lab.server().inode().unwrap());
    drop(lab);
    assert!(!paths.iter().any(|path| path.exists()));
}

#[test]
fn a_panic_takes_the_lab_down() {
    needs_root!();
    let (send, receive) = std::sync::mpsc::channel();
    let panicked = thread::spawn(move || {
        let lab = Lab::up_unique().unwrap();
        send.send(named(lab.tag())).unwrap();
        panic!("on purpose");
    });
    assert!(panicked.join().is_err());
    assert!(!receive.recv().unwrap().iter().any(|path| path.exists()));
}

#[test]
fn host_settings_are_refused() {
    needs_root!();
    let before = fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap();
    let error = Namespace::current()
        .unwrap()
        .set_sysctl("net/ipv4/tcp_fastopen", "3")
        .unwrap_err();
    assert!(error.to_string().contains("refusing"), "{error:#}");
    let lab = Lab::up_unique().unwrap();
    assert_eq!(
        lab.server().sysctl("net/ipv4/tcp_fastopen").unwrap().as_deref(),
        Some("3")
    );
    assert_eq!(lab.server().sysctl("net/ipv4/no_such_setting").unwrap(), None);
    assert_eq!(
        fs::read_to_string("/proc/sys/net/ipv4/tcp_fastopen").unwrap(),
        before
    );
}

/// The demo under its plain names: every signal leaves nothing behind, SIGKILL included.
#[test]
fn traffic_ends_cleanly_by_any_signal() {
    needs_root!();
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGKILL] {
        let tag = format!("-{}-traffic", std::process::id());
        let (mut traffic, _output, first_line) = start_traffic(&tag).unwrap();
        assert!(named(&tag).iter().all(|path| path.exists()), "{first_line}");
        let server = Namespace::open_named(&format!("tfo-server{tag}")).unwrap();
        wait_until("rejected and accepted cookies", || {
            let mib = Mib::read(&server).unwrap();
            mib.get("TCPFastOpenPassive") > Some(2) && mib.get("TCPFastOpenPassiveFail") > Some(2)
        });
        drop(server);
        kill(Pid::from_raw(i32::try_from(traffic.id()).unwrap()), signal).unwrap();
        let status = traffic.wait().unwrap();
        assert_eq!(status.success(), signal != Signal::SIGKILL, "{signal}: {status}");
        wait_until("namespaces gone", || {
            !named(&tag).iter().any(|path| path.exists())
        });
        if let Some(cgroup) = first_line.split_whitespace().find(|word| word.starts_with('/')) {
            wait_until("cgroups gone", || !Path::new(cgroup).exists());
        }
    }
}

/// Starts the demo and waits for the line that says it is on.
fn start_traffic(tag: &str) -> anyhow::Result<(Child, BufReader<ChildStdout>, String)> {
    let mut traffic = Command::new(BINARY)
        .args(["traffic", "--tag", tag])
        .stdout(Stdio::piped())
        .spawn()?;
    let mut output = BufReader::new(traffic.stdout.take().context("no stdout")?);
    let mut first_line = String::new();
    output.read_line(&mut first_line)?;
    Ok((traffic, output, first_line))
}

#[test]
fn every_middlebox_can_be_installed_and_removed() {
    needs_root!();
    let lab = Lab::up_unique().unwrap();
    let effects = [
        Effect::DropSynData,
        Effect::DropTfoSyn,
        Effect::DropSyn,
        Effect::DropEarlySynAcks,
        Effect::DropAfterSyn,
        Effect::DropServerReset,
        Effect::Loss(50),
        Effect::StripSyn { experimental: true },
        Effect::StripSynAck { experimental: true },
        Effect::ResetSynData,
        Effect::ResetTfoSyn,
    ];
    for ip in [lab::server_v4(0), lab::server_v6(0)] {
        let install = |effect| Middlebox::on_path(&lab, &Rule::new(effect, ip).client(peer_of(ip))).unwrap();
        let installed: Vec<_> = effects.into_iter().map(install).collect();
        assert!(installed.iter().all(|middlebox| middlebox.hits().unwrap() == 0));
    }
    for namespace in [lab.server(), lab.client()] {
        assert_eq!(namespace.command("nft", &["list", "ruleset"]).unwrap(), "");
    }
}

fn peer_of(ip: std::net::IpAddr) -> std::net::IpAddr {
    if ip.is_ipv4() {
        lab::client_v4(0)
    } else {
        lab::client_v6(0)
    }
}

#[test]
fn loss_loses_some_and_not_all() {
    needs_root!();
    let lab = Lab::up_unique().unwrap();
    let server = Server::start(lab.server(), &Listen::on(lab::server_v4(0), Family::V4)).unwrap();
    let loss = Middlebox::on_path(&lab, &Rule::new(Effect::Loss(100), server.address().ip())).unwrap();
    let connect = Connect {
        timeout: Duration::from_mins(1),
        ..Connect::new(server.address(), 20_000)
    };
    for _ in 0..15 {
        assert!(connect.run_in(lab.client()).unwrap().reply_matched);
    }
    assert!(loss.hits().unwrap() > 0);
}

#[test]
fn client_tfo_switched_off_is_reported_not_hidden() {
    needs_root!();
    let lab = Lab::up_unique().unwrap();
    let server = Server::start(lab.server(), &Listen::on(lab::server_v4(0), Family::V4)).unwrap();
    lab.client().set_sysctl("net/ipv4/tcp_fastopen", "2").unwrap();
    let connect = Connect::new(server.address(), 10);
    let report = connect.run_in(lab.client()).unwrap();
    assert_eq!(report.error.as_deref(), Some("EOPNOTSUPP"));
    let report = Connect {
        api: Api::FastopenConnect,
        ..connect
    }
    .run_in(lab.client())
    .unwrap();
    assert_eq!(
        report.call("TCP_FASTOPEN_CONNECT").unwrap().errno.as_deref(),
        Some("EOPNOTSUPP")
    );
    assert!(report.reply_matched, "falls back to a plain connect");
}

#[test]
fn load_counts_exactly() {
    needs_root!();
    let kinds = [(true, false), (false, false), (true, true)];
    let loads = kinds.into_iter().flat_map(|kind| [(kind, false), (kind, true)]);
    for ((fast_open, v6), both_ends) in loads {
        let load = Load {
            fast_open,
            v6,
            both_ends,
            ..Load::new(Limit::Connections(3001))
        };
        let report = load.run().unwrap();
        assert_eq!((report.connections, report.errors), (3001, 0), "{report:?}");
        assert_eq!(
            (report.active_opens, report.passive_opens),
            (3001, 3001),
            "{report:?}"
        );
        assert_eq!(report.accepted, if fast_open { 3001 } else { 0 }, "{report:?}");
    }
}

#[test]
fn nginx_and_curl_use_fast_open() {
    needs_root!();
    if let Some(missing) = ["nginx", "curl"]
        .into_iter()
        .find(|program| !command::is_installed(program))
    {
        println!("skipped: `{missing}` is not installed");
        return;
    }
    let lab = Lab::up_unique().unwrap();
    for ip in [lab::server_v4(0), lab::server_v6(0)] {
        let nginx = Nginx::start(&lab, SocketAddr::new(ip, 8080), Some(64)).unwrap();
        apps::curl(&lab, nginx.address(), true).unwrap();
        let before = Mib::read(lab.server()).unwrap();
        let report = apps::curl(&lab, nginx.address(), true).unwrap();
        assert_eq!((report.status, report.body.as_str()), (200, "ok"));
        apps::curl(&lab, nginx.address(), false).unwrap();
        let moved = Mib::read(lab.server()).unwrap().since(&before);
        assert_eq!(moved.of("TCPFastOpenPassive"), 1, "{moved:?}");
    }
}

#[test]
fn the_vm_scenario_needs_nothing_but_a_kernel() {
    needs_root!();
    let namespace = Namespace::anonymous("vm").unwrap();
    let run = |args: &[&str]| {
        namespace
            .run(|| Ok(Command::new(BINARY).args(args).env_clear().output()?))
            .unwrap()
    };
    let refused = run(&["vm-scenario"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("--i-am-a-throwaway-vm"));
    let shown = run(&["vm-scenario", "--i-am-a-throwaway-vm"]);
    let text = String::from_utf8(shown.stdout).unwrap();
    let outcomes: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["scenario"].to_string())
        .collect();
    assert_eq!(outcomes.len(), 8, "{text}");
    let mib = Mib::read(&namespace).unwrap();
    assert_eq!(mib.get("TCPFastOpenActive"), Some(3));
    assert_eq!(mib.get("TCPFastOpenPassiveFail"), Some(1));
}
