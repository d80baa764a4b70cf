//! Programs from Debian's packages on a path that drops SYN data: without a rule they are a second late, with one they are
//! not.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Instant,
};

use anyhow::{Result, ensure};
use tfo_lab::{
    apps::{self, Nginx, Unbound},
    client::Family,
    command,
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{HANGING_US, SENT_AGAIN, SYN_TIMEOUT_US, counted, prefix, service},
    policy::{self, add, hits},
};

/// curl uses `TCP_FASTOPEN_CONNECT`, wget2 `MSG_FASTOPEN`.
pub fn web_clients() -> Result<()> {
    let lab = Lab::up_unique()?;
    if !command::is_installed("nginx") || !command::is_installed("curl") {
        println!("skipped: needs nginx and curl");
        return Ok(());
    }
    let target = SocketAddr::new(lab::server_v4(0), 8080);
    let _nginx = Nginx::start(&lab, target, Some(16))?;
    apps::curl(&lab, target, true)?;
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, target.ip()))?;
    let timed = |name: &str, args: &[&str]| -> Result<u128> {
        let begun = Instant::now();
        let output = lab.client().command(name, args)?;
        ensure!(output.contains("ok"), "{name}: {output:?}");
        Ok(begun.elapsed().as_micros())
    };
    let url = format!("http://{target}/");
    let curl = [
        "--silent",
        "--noproxy",
        "*",
        "--tcp-fastopen",
        "--max-time",
        "20",
        &url,
    ];
    let wget = ["-q", "--no-proxy", "-O", "-", &url];
    let mut programs = vec![("curl", &curl[..])];
    if command::is_installed("wget2") {
        programs.push(("wget2", &wget[..]));
    }
    for (name, args) in programs {
        policy::clear()?;
        let without = timed(name, args)?;
        add(Path::new("/"), "10.77.0.0/24", &[])?;
        let (with, again) = counted(&lab, SENT_AGAIN, || timed(name, args))?;
        println!(
            "  {name}: {without} us without a rule, {with} us with one, {} hits",
            hits("10.77.0.0/24")?
        );
        ensure!(without >= u128::from(SYN_TIMEOUT_US), "{name} does not use TFO");
        ensure!(
            again == 0 && with < u128::from(HANGING_US) && hits("10.77.0.0/24")? == 1,
            "{name}: {again} SYNs sent again, {with} us"
        );
    }
    Ok(())
}

/// unbound uses `MSG_FASTOPEN` for queries over TCP without being configured to.
pub fn resolver() -> Result<()> {
    const ANSWER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);
    if !command::is_installed("unbound") {
        println!("skipped: needs unbound");
        return Ok(());
    }
    for family in [Family::V4, Family::V6] {
        let lab = Lab::up_unique()?;
        let address = service(family, 0);
        let server = Unbound::server(&lab, SocketAddr::new(address, 53), ANSWER)?;
        let own: IpAddr = if family == Family::V6 {
            lab::client_v6(0)
        } else {
            lab::client_v4(0)
        };
        let forwarder = Unbound::forwarder(&lab, SocketAddr::new(own, 53), server.address())?;
        let timed = |name: &str| -> Result<u128> {
            let begun = Instant::now();
            let answer = apps::ask(&lab, forwarder.address(), name)?;
            ensure!(answer == ANSWER, "{name} is {answer}");
            Ok(begun.elapsed().as_micros())
        };
        timed("fetches.the.cookie.lab")?;
        let (healthy, active) = counted(&lab, "TCPFastOpenActive", || timed("healthy.lab"))?;
        ensure!(active >= 1, "{family:?}: unbound does not use TFO");

        let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, address))?;
        let without = timed("late.lab")?;
        // Before the kernel has given the first SYN up, unbound tries another connection.
        let dropped = path.hits()?;
        ensure!(
            without >= u128::from(SYN_TIMEOUT_US) && dropped >= 1,
            "{family:?}: {without} us, {dropped} SYNs dropped"
        );
        add(Path::new("/"), &address.to_string(), &["--port", "53"])?;
        let (with, again) = counted(&lab, SENT_AGAIN, || timed("at-once.lab"))?;
        println!(
            "  unbound, {family:?}: {healthy} us on a healthy path, {without} us without a rule, {with} us with one"
        );
        ensure!(
            again == 0
                && with < u128::from(HANGING_US)
                && path.hits()? == dropped
                && hits(&prefix(address))? == 1,
            "{family:?}: {again} SYNs sent again, {with} us, {}",
            policy::list()?
        );
        policy::clear()?;
    }
    Ok(())
}
