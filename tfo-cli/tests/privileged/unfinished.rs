//! Server handshakes with Fast Open that never end: nothing tells of it but that nothing comes. What the kernel side keeps
//! of them is taken out and counted when the kernel has given them up, and not before.

use std::{fs, process::Command};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tfo_lab::{
    client::{Connect, Connection},
    lab::{self, Lab},
    middlebox::{Effect, Middlebox, Rule},
    server::{Keys, Listen, Server},
};

use crate::support::{BINARY, flow::Role, needs_kernel, needs_programs, sandbox::Sandbox, tool::Tool};

/// By how much the tool's clock is ahead of the kernel's, seconds: more than a request lives (64).
const AHEAD: &str = "100";
/// What becomes of the handshakes, two of each.
const OUTCOMES: [&str; 3] = ["cookie-granted", "cookie-rejected", "not-enabled"];
const EACH: u64 = 2;

/// `trace` in a time namespace, for which a minute has passed when the kernel's programs have not seen a second: what is
/// tested is the end of the minute, not the wait. `unshare` itself ignores signals.
fn ahead(sandbox: &Sandbox) -> Result<Tool> {
    let cgroup = sandbox.path().to_string_lossy().into_owned();
    let mut command = Command::new("unshare");
    command.args(["--time", "--monotonic", AHEAD, "--fork", "--kill-child", BINARY]);
    command.args(["trace", "--format", "json", "--cgroup", &cgroup]);
    Tool::attached_by(&mut command)
}

/// Ends the tool below `unshare` as Ctrl-C does.
fn interrupt_below(tool: &Tool) -> Result<()> {
    let id = tool.id();
    let path = format!("/proc/{id}/task/{id}/children");
    let children = fs::read_to_string(&path).with_context(|| path.clone())?;
    let child: i32 = children
        .trim()
        .parse()
        .with_context(|| format!("{path}: {children:?}"))?;
    kill(Pid::from_raw(child), Signal::SIGINT).context("SIGINT")
}

#[test]
fn server_handshakes_that_never_end_are_counted_when_their_time_is_over() -> Result<()> {
    needs_kernel!();
    needs_programs!("unshare");
    if !fs::exists("/proc/self/ns/time")? {
        println!("skipped: this kernel has no time namespaces");
        return Ok(());
    }
    let sandbox = Sandbox::enter()?;
    let lab = Lab::up_unique()?;
    let address = lab::server_v4(0);
    let start = |keys, fast_open| {
        let listen = Listen {
            keys,
            fast_open,
            ..Listen::new((address, 0).into())
        };
        Server::start(lab.server(), &listen)
    };
    let (granting, other, off) = (
        start(Keys::One(*b"the first key 16"), Some(64))?,
        start(Keys::One(*b"another key 16 b"), Some(64))?,
        start(Keys::Inherited, None)?,
    );
    let connect = |server: &Server| Connect {
        reset_on_close: true,
        ..Connect::new(server.address(), 100)
    };
    let open = |server: &Server| -> Result<Connection> { lab.in_client(|| connect(server).open()) };
    let (now, later) = (sandbox.trace(&[])?, ahead(&sandbox)?);
    let rule = Rule::new(Effect::DropAfterSyn, address);
    let mut held = Vec::new();
    let path = Middlebox::on_path(&lab, &rule)?;
    for _ in 0..EACH {
        // The first asks for a cookie, and has it: its client's ACK is what gets lost. The others send it where it is
        // worth nothing; the second of them is told of a better one.
        lab.client().flush_tcp_metrics()?;
        held.extend([open(&granting)?, open(&other)?]);
        held.push(open(&off)?);
    }
    interrupt_below(&later)?;
    let (flows, summary) = later.ended()?.complete_records()?;
    for outcome in OUTCOMES {
        ensure!(summary.total("server", outcome) == EACH, "{outcome}: {summary:?}");
    }
    // They are in the totals, and have no record.
    ensure!(
        flows.iter().all(|flow| flow.role == Role::Client),
        "records of servers: {flows:?}"
    );
    // For who has not waited so long they are under way: neither counted nor lost.
    let (_, summary) = now.stop()?.complete_records()?;
    let servers: u64 = summary.totals["server"].values().sum();
    ensure!(servers == 0, "{summary:?}");
    drop(path);
    Ok(())
}
