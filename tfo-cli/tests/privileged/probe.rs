//! `probe` against real servers, through every middlebox of the lab. It needs no rights: only the lab does.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tfo_lab::{
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Keys, Listen, Server},
};

use crate::support::{BINARY, needs_kernel};

/// What a probe said and its exit code.
struct Probed {
    verdict: String,
    code: i32,
    objects: Vec<Value>,
}

/// Probes from the client's namespace, without any capability.
fn probe(lab: &Lab, destination: &str, more: &[&str]) -> Result<Probed> {
    let mut args = vec!["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", BINARY];
    args.extend(["probe", destination, "--format", "json"]);
    args.extend(more);
    let output = lab.client().run(|| {
        std::process::Command::new("setpriv")
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
