//! Rules with `no-data`: which connections are denied, and which are not.

use std::{net::IpAddr, path::Path};

use anyhow::{Context, Result, ensure};
use tfo_lab::{
    client::{Api, Connect, Family, Report},
    lab::{self, Lab},
    mib::Mib,
    server::{Listen, Server},
};

use crate::{
    policy::{self, add, counter, hits},
    support::sandbox::Sandbox,
};

/// Time that a lost SYN costs (`TCP_TIMEOUT_INIT`).
pub const SYN_TIMEOUT_US: u64 = 1_000_000;
/// A connection that takes this long may have lost a SYN, or waited for a busy machine.
const SUSPICIOUS_US: u64 = 900_000;
/// A connection that takes this long hangs: no machine stands still for so long.
pub const HANGING_US: u64 = 3_000_000;

/// Both families' addresses of service number `index`.
pub fn service(family: Family, index: u8) -> IpAddr {
    if family == Family::V6 {
        lab::server_v6(index)
    } else {
        lab::server_v4(index)
    }
}

/// A server with TFO, and a client that has its cookie.
pub fn primed(lab: &Lab, family: Family, index: u8) -> Result<(Server, Connect)> {
    let server = Server::start(lab.server(), &Listen::on(service(family, index), family))?;
    let connect = Connect {
        family,
        ..Connect::new(server.address(), 300)
    };
    connect.run_in(lab.client())?;
    Ok((server, connect))
}

/// Connects, and expects a complete reply without a SYN timeout.
pub fn at_once(lab: &Lab, connect: &Connect) -> Result<Report> {
    let report = run(lab, connect)?;
    ensure!(
        !is_late(&report),
        "{connect:?} took {} us: {report:?}",
        time(&report)
    );
    Ok(report)
}

/// Connects, and expects a complete reply after a SYN timeout.
pub fn late(lab: &Lab, connect: &Connect) -> Result<Report> {
    let report = run(lab, connect)?;
    ensure!(
        time(&report) >= SYN_TIMEOUT_US,
        "{connect:?} took only {} us",
        time(&report)
    );
    Ok(report)
}

fn run(lab: &Lab, connect: &Connect) -> Result<Report> {
    let report = connect.run_in(lab.client())?;
    ensure!(report.reply_matched, "{connect:?}: {report:?}");
    Ok(report)
}

/// Whether a connection has paid for a lost SYN, or hung. By the clock alone a machine that stood still would have, by the
/// kernel's count alone one that sent some data again.
pub fn is_late(report: &Report) -> bool {
    let sent_again = report.tcp_info.is_none_or(|info| info.total_retrans > 0);
    time(report) >= HANGING_US || time(report) >= SUSPICIOUS_US && sent_again
}

/// The kernel's count of SYNs sent again, by any connection.
pub const SENT_AGAIN: &str = "TCPSynRetrans";

/// By how much a counter of the client's namespace grew while `work` was done.
pub fn counted<T>(lab: &Lab, name: &str, work: impl FnOnce() -> Result<T>) -> Result<(T, u64)> {
    let before = Mib::read(lab.client())?;
    let done = work()?;
    Ok((done, Mib::read(lab.client())?.since(&before).of(name)))
}

/// Time to the first byte.
pub fn time(report: &Report) -> u64 {
    report.first_byte_us.unwrap_or(u64::MAX)
}

/// Whether the SYN's data was taken: TFO in full.
pub fn is_fast(report: &Report) -> bool {
    report.tcp_info.is_some_and(|info| info.syn_data_acked())
}

/// The rules as `policy list` prints them.
pub fn prefix(address: IpAddr) -> String {
    format!("{address}/{}", if address.is_ipv4() { 32 } else { 128 })
}

pub fn scopes() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let inside = |connect: &Connect| sandbox.within("inside", || connect.run_in(lab.client()));
    let outside = |connect: &Connect| sandbox.within("outside", || connect.run_in(lab.client()));
    for family in [Family::V4, Family::V6] {
        let (_ruled, ruled) = primed(&lab, family, 0)?;
        let (_other, other) = primed(&lab, family, 1)?;
        let same_host = Server::start(lab.server(), &Listen::on(service(family, 0), family))?;
        let port = Connect {
            target: same_host.address(),
            ..ruled.clone()
        };
        outside(&ruled)?;
        inside(&ruled)?;
        let ports = format!("{},1-2", ruled.target.port());
        add(
            &sandbox.child("inside"),
            &service(family, 0).to_string(),
            &["--port", &ports],
        )?;
        for (what, report, fast) in [
            ("ruled", inside(&ruled)?, false),
            ("other destination", inside(&other)?, true),
            ("other port", inside(&port)?, true),
            ("other cgroup", outside(&ruled)?, true),
        ] {
            ensure!(
                report.reply_matched && is_fast(&report) == fast,
                "{what}: {report:?}"
            );
        }
        let plain = inside(&Connect {
            api: Api::Plain,
            ..ruled.clone()
        })?;
        ensure!(plain.reply_matched, "plain: {plain:?}");
        ensure!(hits(&prefix(service(family, 0)))? == 1, "{}", policy::list()?);
        policy::clear()?;
        ensure!(is_fast(&inside(&ruled)?), "TFO is back");
    }
    Ok(())
}

pub fn nearest_cgroup() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let fast = || -> Result<bool> { Ok(is_fast(&sandbox.within("leaf", || connect.run_in(lab.client()))?)) };
    ensure!(fast()?, "no rule");
    add(Path::new("/"), "10.77.0.2", &[])?;
    ensure!(!fast()?, "root");
    // A shorter prefix in a nearer cgroup beats a longer one farther away.
    add(sandbox.path(), "10.0.0.0/8", &["--action", "observe"])?;
    ensure!(fast()?, "the sandbox observes");
    ensure!(
        hits("10.0.0.0/8")? == 1 && counter("observed")? == 1,
        "{}",
        policy::list()?
    );
    add(&sandbox.child("leaf"), "0.0.0.0/0", &[])?;
    ensure!(!fast()?, "the leaf denies");
    // A prefix that does not match leaves the decision to the next cgroup.
    let leaf = policy::list()?["rules"][2]["id"].to_string();
    policy::ok(&["policy", "remove", &leaf])?;
    add(&sandbox.child("leaf"), "192.0.2.0/24", &[])?;
    ensure!(fast()?, "the sandbox decides again");
    // Ports select nothing: the nearest matching prefix decides, and leaves other ports alone.
    policy::ok(&["policy", "remove", "2"])?;
    add(sandbox.path(), "10.0.0.0/8", &["--port", "1"])?;
    ensure!(fast()?, "the sandbox's rule is for another port");
    Ok(())
}

pub fn prefixes_expiry_observe() -> Result<()> {
    let lab = Lab::up_unique()?;
    let (_server, connect) = primed(&lab, Family::V6, 0)?;
    let fast = || -> Result<bool> { Ok(is_fast(&connect.run_in(lab.client())?)) };
    add(Path::new("/"), "::/0", &[])?;
    ensure!(!fast()?, "shortest");
    add(Path::new("/"), "fd77::/64", &["--action", "observe"])?;
    ensure!(fast()?, "longer");
    add(
        Path::new("/"),
        "fd77::2",
        &["--ttl", "5s", "--note", "short-lived"],
    )?;
    ensure!(!fast()?, "longest");
    let left = policy::list()?["rules"][2]["left_us"]
        .as_u64()
        .context("time left")?;
    ensure!(left <= 5_000_000, "{left} us left");
    // The kernel ends it by itself; then the next shorter prefix decides.
    crate::support::wait_until("the rule to expire", fast)?;
    ensure!(hits("::/0")? == 1, "{}", policy::list()?);
    ensure!(
        policy::list()?["rules"].as_array().map(Vec::len) == Some(2),
        "the expired rule is removed"
    );
    Ok(())
}
