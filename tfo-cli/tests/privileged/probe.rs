//! `probe` against real servers, through every middlebox of the lab. Only the lab needs root, not `probe`.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    apps::Nginx,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Keys, Listen, Server},
};

use crate::support::{BINARY, ground::temporary_directory, needs_kernel, needs_programs, once};

/// What a probe said and its exit code.
struct Probed {
    verdict: String,
    code: i32,
    objects: Vec<Value>,
}

/// Probes from the client's namespace, without any capability.
fn probe(lab: &Lab, destination: &str, more: &[&str]) -> Result<Probed> {
    probe_with_hosts(lab, destination, more, "/etc/hosts")
}

/// The same with another `/etc/hosts`, in a mount namespace of its own.
fn probe_with_hosts(lab: &Lab, destination: &str, more: &[&str], hosts: &str) -> Result<Probed> {
    let script = "mount --bind \"$1\" /etc/hosts && shift && exec setpriv \"$@\"";
    let mut args = vec!["--mount", "sh", "-c", script, "sh", hosts];
    args.extend(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", BINARY]);
    args.extend(["probe", destination, "--format", "json"]);
    args.extend(more);
    let output = lab.client().run(|| {
        std::process::Command::new("unshare")
            .args(&args)
            .output()
            .context("run the probe")
    })?;
    let text = String::from_utf8(output.stdout)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let objects = text
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<Vec<Value>, _>>()?;
    let last = objects
        .last()
        .with_context(|| format!("the probe printed nothing: {stderr}"))?;
    ensure!(
        stderr.contains("plain connections"),
        "it says beforehand what it will send: {stderr}"
    );
    Ok(Probed {
        verdict: last["verdict"].as_str().context("no verdict")?.to_owned(),
        code: output.status.code().context("a signal ended it")?,
        objects,
    })
}

fn expect(lab: &Lab, destination: SocketAddr, verdict: &str, code: i32) -> Result<Probed> {
    let probed = probe(lab, &destination.to_string(), &[])?;
    ensure!(
        probed.verdict == verdict && probed.code == code,
        "{destination}: {} with exit code {}, expected {verdict} with {code}: {:#?}",
        probed.verdict,
        probed.code,
        probed.objects
    );
    Ok(probed)
}

/// Two addresses of the same service: one per family.
fn addresses(service: u8) -> [IpAddr; 2] {
    [lab::server_v4(service), lab::server_v6(service)]
}

#[test]
fn a_server_with_fast_open_works_and_one_without_does_not() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    for address in addresses(0) {
        let with = Server::start(lab.server(), &Listen::new((address, 0).into()))?;
        let probed = expect(&lab, with.address(), "works", 0)?;
        let steps: Vec<_> = probed.objects.iter().map(|object| &object["carried"]).collect();
        ensure!(
            steps[..3] == ["nothing", "request", "nothing"] && steps[3] == "data",
            "{steps:?}"
        );
        let accepted = probed.objects.iter().filter(|object| object["data"] == "acked");
        ensure!(accepted.count() == 3, "{:#?}", probed.objects);
    }
    for address in addresses(1) {
        let without = Listen {
            fast_open: None,
            ..Listen::new((address, 0).into())
        };
        let server = Server::start(lab.server(), &without)?;
        expect(&lab, server.address(), "no-server-support", 4)?;
    }
    Ok(())
}

#[test]
fn every_middlebox_gets_its_name() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let effects = [
        (Effect::DropSynData, "drops-data", 4),
        (Effect::DropTfoSyn, "drops-option", 4),
        (Effect::ResetSynData, "resets", 4),
        (Effect::ResetTfoSyn, "resets", 4),
        (Effect::StripSyn { experimental: false }, "stripped", 4),
        (Effect::StripSynAck { experimental: false }, "stripped", 4),
        (Effect::StripSyn { experimental: true }, "no-server-support", 4),
        (Effect::DropSyn, "offline", 1),
    ];
    for (service, (effect, verdict, code)) in (0..).zip(effects) {
        // Silence costs seconds: over one family in turns. What is answered is quick, over both.
        let family = usize::from(service % 2);
        let is_silent = matches!(effect, Effect::DropSynData | Effect::DropTfoSyn | Effect::DropSyn);
        for (index, address) in addresses(service).into_iter().enumerate() {
            if is_silent && index != family {
                continue;
            }
            let server = Server::start(lab.server(), &Listen::new((address, 0).into()))?;
            let _middlebox = Middlebox::on_path(&lab, &Rule::new(effect, address))?;
            expect(&lab, server.address(), verdict, code).with_context(|| format!("{effect:?}"))?;
        }
    }
    Ok(())
}

/// The listener's queue takes nobody: cookies are granted by another listener with the same key.
#[test]
fn closed_ports_and_full_queues_are_told_apart() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let [address, _] = addresses(0);
    let open = Server::start(lab.server(), &Listen::new((address, 0).into()))?;
    expect(&lab, open.address(), "works", 0)?;
    let closed = SocketAddr::new(address, if open.address().port() == 9 { 10 } else { 9 });
    expect(&lab, closed, "offline", 1)?;
    // The cookie that the first listener granted is the address's, whatever the port (RFC 7413 section 4.1.3).
    let off = Listen {
        fast_open: None,
        ..Listen::new((address, 0).into())
    };
    let server = Server::start(lab.server(), &off)?;
    expect(&lab, server.address(), "refused", 4)?;
    Ok(())
}

/// A key that was changed once is no pool: the second attempt has the new cookie.
#[test]
fn a_changed_key_is_no_fault() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let [address, _] = addresses(0);
    let listen = |key: u8| Listen {
        keys: Keys::One([key; 16]),
        ..Listen::new((address, 0).into())
    };
    let before = Server::start(lab.server(), &listen(1))?;
    expect(&lab, before.address(), "works", 0)?;
    let after = Server::start(lab.server(), &listen(2))?;
    expect(&lab, after.address(), "works", 0)?;
    Ok(())
}

/// Two servers behind one address that do not share a key: each refuses the other's cookies and gives one of its own. That is
/// seen in the kernel's cache, which everybody may read.
#[test]
fn a_pool_that_does_not_share_a_key_is_named() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let [address, _] = addresses(0);
    let start = |key: u8| {
        let keys = Keys::One([key; 16]);
        Server::start(
            lab.server(),
            &Listen {
                keys,
                ..Listen::new((address, 0).into())
            },
        )
    };
    let (first, second) = (start(1)?, start(2)?);
    let balance = |first: &Server, second: &Server| {
        // SYNs with the option in turns; all others to the second.
        let to = |server: &Server| format!("dnat to {}", server.address());
        let rules = format!(
            "table ip pool {{\nchain c {{\ntype nat hook prerouting priority dstnat;\n\
             tcp dport 7 tcp option 34 exists numgen inc mod 2 == 0 {}\ntcp dport 7 {}\n}}\n}}\n",
            to(first),
            to(second)
        );
        let load = || tfo_lab::command::run_with_input("nft", &["-f", "-"], &rules).map(drop);
        lab.server().run(load)
    };
    balance(&first, &second)?;
    let pool = SocketAddr::new(address, 7);
    let probed = expect(&lab, pool, "key-mismatch", 4)?;
    let with_data: Vec<&Value> = probed
        .objects
        .iter()
        .filter(|object| object["carried"] == "data")
        .collect();
    ensure!(with_data.len() == 3, "{:#?}", probed.objects);
    for object in with_data {
        let (before, after) = (&object["cookie_before"], &object["cookie_after"]);
        ensure!(
            before.is_string() && after.is_string() && before != after,
            "{object}"
        );
    }
    // The near miss and the fix: the same pool with one key.
    lab.server().command("nft", &["delete", "table", "ip", "pool"])?;
    drop(first);
    let third = start(2)?;
    balance(&third, &second)?;
    expect(&lab, pool, "works", 0)?;
    Ok(())
}

/// nginx as people run it, with and without `fastopen=`; and a name with both families.
#[test]
fn nginx_with_and_without_fastopen_and_a_name_with_both_families() -> Result<()> {
    needs_kernel!();
    needs_programs!("nginx");
    let lab = Lab::up_unique()?;
    let [v4, v6] = addresses(0);
    let with = Nginx::start(&lab, (v4, 80).into(), Some(64))?;
    let probed = expect(&lab, with.address(), "works", 0)?;
    let answered = |object: &&Value| object["data"] == "acked" && object["ttfb_us"].is_u64();
    ensure!(
        probed.objects.iter().filter(answered).count() == 3,
        "HEAD is answered: {:#?}",
        probed.objects
    );
    let without = Nginx::start(&lab, (addresses(1)[0], 80).into(), None)?;
    expect(&lab, without.address(), "no-server-support", 4)?;
    // The fix, and its undo: the same nginx, without a restart.
    let queue = |length: &str| {
        let selector = without.address().to_string();
        let netns = lab.server().label();
        once::run(&[
            "listeners",
            "set",
            &selector,
            "--qlen",
            length,
            "--yes",
            "--netns",
            netns,
        ])?
        .ended(0)
    };
    queue("64")?;
    expect(&lab, without.address(), "works", 0)?;
    queue("0")?;
    expect(&lab, without.address(), "refused", 4)?;
    // Fast Open on over IPv4 and off over IPv6: the worse of both counts, and each is told.
    let _over_v6 = Nginx::start(&lab, (v6, 80).into(), None)?;
    let directory = temporary_directory()?;
    let hosts = directory.join("hosts");
    std::fs::write(&hosts, format!("{v4} both.test\n{v6} both.test\n"))?;
    let both = probe_with_hosts(&lab, "both.test:80", &[], &hosts.to_string_lossy());
    std::fs::remove_dir_all(&directory)?;
    let both = both?;
    ensure!(both.code == 4, "{:#?}", both.objects);
    let verdicts: Vec<_> = both
        .objects
        .iter()
        .filter(|object| object["verdict"].is_string())
        .collect();
    ensure!(verdicts.len() == 2, "{verdicts:?}");
    for verdict in verdicts {
        let is_v4 = verdict["destination"] == format!("{v4}:80").as_str();
        let wanted = if is_v4 { "works" } else { "no-server-support" };
        ensure!(
            verdict["verdict"] == wanted && verdict["target"] == "both.test:80",
            "{verdict}"
        );
    }
    Ok(())
}

/// A port that answers nothing at all, and one whose packets a firewall refuses with ICMP.
#[test]
fn filtered_ports_are_offline_over_both_families() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    for (index, address) in addresses(0).into_iter().enumerate() {
        let table = format!(
            "table inet filtered{index} {{\nchain c {{\ntype filter hook input priority filter;\n\
             tcp dport 81 drop\ntcp dport 82 reject with icmpx admin-prohibited\n}}\n}}\n"
        );
        lab.server()
            .run(|| tfo_lab::command::run_with_input("nft", &["-f", "-"], &table).map(drop))?;
        for port in [81, 82] {
            let probed = probe(
                &lab,
                &SocketAddr::new(address, port).to_string(),
                &["--count", "1"],
            )?;
            ensure!(
                (probed.verdict.as_str(), probed.code) == ("offline", 1),
                "{:#?}",
                probed.objects
            );
        }
    }
    Ok(())
}

#[test]
fn a_probe_can_serve_itself() -> Result<()> {
    needs_kernel!();
    let lab = Lab::up_unique()?;
    let address = SocketAddr::new(addresses(0)[0], 4_040);
    let mut partner = lab.server().run(|| {
        std::process::Command::new(BINARY)
            .args(["probe", "--serve", &address.to_string(), "--qlen", "16"])
            .stderr(std::process::Stdio::piped())
            .spawn()
            .context("start the partner")
    })?;
    let said = partner.stderr.take().context("its stderr")?;
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(said), &mut line)?;
    ensure!(line.contains("listening on 10.77.0.2:4040"), "{line}");
    let probed = expect(&lab, address, "works", 0);
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(i32::try_from(partner.id())?),
        nix::sys::signal::Signal::SIGTERM,
    )?;
    ensure!(partner.wait()?.code() == Some(0));
    let probed = probed?;
    let last = probed.objects.last().context("it said something")?;
    ensure!(last["saving_ms"].is_number(), "{last}");
    Ok(())
}
