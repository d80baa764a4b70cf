//! Network namespaces that come and go: nothing of them stays, and one that only a thread is in is found.

use std::{fs, net::Ipv4Addr, path::Path, process, thread, time::Duration};

use anyhow::{Context, Result, ensure};
use aya::maps::{Map, MapData, PerCpuHashMap, loaded_maps};
use tfo_common::{CrossCheck, maps};
use tfo_lab::{
    client::{Api, Connect},
    netns::Namespace,
    server::{Listen, Server},
};

use crate::support::{flow::Role, needs_kernel, sandbox::Sandbox, tool::Tool, wait_until};

/// How many come and go: more than there are rows for. `cargo xtask verify` takes 5,000.
const CHURN: u32 = 1_300;
/// So many between two looks: the table must not be full before the dead have been found out.
const BATCH: u32 = 400;
/// Rows that may be there when the dead are gone.
const FEW: usize = 16;
/// What the tool may grow by once half of them have come and gone.
const GROWTH_KIB: u64 = 4 * 1024;
/// What an idle tool may take of a CPU, in hundredths. A walk of /proc for every reading takes more.
const IDLE_PERCENT: u64 = 10;

fn count() -> u32 {
    let set = std::env::var("TFO_CHURN").ok().and_then(|text| text.parse().ok());
    set.unwrap_or(CHURN)
}

/// What a process holds and has used.
#[derive(Clone, Copy, Debug)]
struct Uses {
    rss_kib: u64,
    descriptors: usize,
    /// In ticks of 10 ms (`USER_HZ`).
    ticks: u64,
}

impl Uses {
    fn of(id: u32) -> Result<Self> {
        let process = Path::new("/proc").join(id.to_string());
        let status = fs::read_to_string(process.join("status")).context("its status")?;
        let rss = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let stat = fs::read_to_string(process.join("stat")).context("its stat")?;
        let after_name = stat.rsplit(')').next().unwrap_or_default();
        let times = after_name.split_whitespace().skip(11).take(2);
        Ok(Self {
            rss_kib: rss
                .and_then(|rest| rest.split_whitespace().next()?.parse().ok())
                .context("its memory")?,
            descriptors: fs::read_dir(process.join("fd"))
                .context("its descriptors")?
                .count(),
            ticks: times.filter_map(|ticks| ticks.parse::<u64>().ok()).sum(),
        })
    }
}

/// Rows of namespaces in the tool's table.
fn rows() -> Result<usize> {
    let mut rows = 0;
    // A map that went away meanwhile is none of ours.
    for info in loaded_maps()
        .flatten()
        .filter(|info| info.name_as_str() == Some(maps::NETNS))
    {
        let data = MapData::from_id(info.id()).context("open the table of namespaces")?;
        let table: PerCpuHashMap<_, u32, [u64; CrossCheck::COUNT]> = Map::PerCpuHashMap(data).try_into()?;
        rows += table.keys().flatten().count();
    }
    Ok(rows)
}

/// A cookie is asked for and granted: both move a counter of the namespace.
fn traffic() -> Result<()> {
    let namespace = Namespace::anonymous("churn")?;
    namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    let server = Server::start(&namespace, &Listen::new((Ipv4Addr::LOCALHOST, 0).into()))?;
    let connect = Connect {
        api: Api::MsgFastopen,
        reset_on_close: true,
        ..Connect::new(server.address(), 100)
    };
    let report = connect.run_in(&namespace)?;
    ensure!(report.reply_matched, "{report:?}");
    Ok(())
}

#[test]
fn namespaces_and_cgroups_that_come_and_go_cost_nothing_for_ever() -> Result<()> {
    needs_kernel!();
    let sandbox = Sandbox::enter()?;
    let recording = std::env::temp_dir().join(format!("tfo-churn-{}.tfo", process::id()));
    let _ = fs::remove_file(&recording);
    // A small table of destinations is full early: what still grows afterwards grows for ever.
    let trace = sandbox.trace(&[
        "--all",
        "--destinations",
        "512",
        "--record",
        &recording.to_string_lossy(),
    ])?;
    let (count, mut made, mut half) = (count(), 0, None);
    while made < count {
        for number in made..(made + BATCH).min(count) {
            let name = format!("churn-{number}");
            sandbox.within(&name, traffic)?;
            // A thread may be a moment from its end; the sandbox takes along what is left.
            let _ = fs::remove_dir(sandbox.child(&name));
        }
        made = (made + BATCH).min(count);
        wait_until("rows of dead namespaces to go", || Ok(rows()? <= FEW))?;
        if half.is_none() && made >= count / 2 {
            half = Some(idle(trace.id())?);
        }
    }
    let half = half.context("it took no half")?;
    let end = idle(trace.id())?;
    let (flows, summary) = trace.stop()?.records()?;
    let _ = fs::remove_file(&recording);
    println!("{count} namespaces: {half:?}, at the end {end:?}");
    let losses = summary.losses();
    ensure!(
        u32::try_from(flows.len()) == Ok(2 * count) && losses.iter().all(|(name, _)| *name == "dest-evicted"),
        "{} records: {summary:?}",
        flows.len()
    );
    ensure!(
        end.descriptors <= half.descriptors && end.rss_kib <= half.rss_kib + GROWTH_KIB,
        "it has grown: {half:?}, then {end:?}"
    );
    Ok(())
}

/// What the tool holds once a second has passed in which it hardly worked: work that the last connections left may take
/// a busy machine a while, work that never ends is found.
fn idle(id: u32) -> Result<Uses> {
    let mut last = Uses::of(id)?;
    wait_until("a second in which the tool is idle", || {
        thread::sleep(Duration::from_secs(1));
        let before = std::mem::replace(&mut last, Uses::of(id)?);
        Ok(last.ticks - before.ticks <= IDLE_PERCENT)
    })?;
    Ok(last)
}

/// Its own threads are all that holds on to an anonymous namespace of the lab.
#[test]
fn a_listener_in_the_namespace_of_a_thread_is_primed() -> Result<()> {
    needs_kernel!();
    let namespace = Namespace::anonymous("thread")?;
    namespace.set_sysctl("net/ipv4/tcp_fastopen", "3")?;
    let server = Server::start(&namespace, &Listen::new((Ipv4Addr::LOCALHOST, 0).into()))?;
    let trace = Tool::attached(&[
        "trace",
        "--format",
        "json",
        "--port",
        &server.address().port().to_string(),
    ])?;
    let connect = Connect {
        api: Api::MsgFastopen,
        ..Connect::new(server.address(), 100)
    };
    connect.run_in(&namespace)?;
    trace.wait_for_lines(2)?;
    let (flows, summary) = trace.stop()?.records()?;
    let inode = namespace.inode()?;
    let server = flows
        .iter()
        .find(|flow| flow.role == Role::Server && flow.netns == Some(inode));
    ensure!(
        server.is_some_and(|flow| flow.outcome == "cookie-granted") && summary.lost("unprimed-listener") == 0,
        "{flows:?} {summary:?}"
    );
    Ok(())
}
