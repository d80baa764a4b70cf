//! `listeners` and `listeners set` on running servers: Fast Open is switched on and off, and connections go on.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsRawFd,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrStorage, bind, listen, setsockopt, socket, sockopt,
};
use serde_json::Value;
use tfo_lab::{
    apps::{Nginx, curl},
    client::{Connect, Family},
    command,
    lab::{self, Lab},
    mib::Mib,
    server::{Listen, Server},
};

use crate::support::{
    BINARY, DEADLINE, needs_lab, needs_programs,
    once::{self, Copy, Once},
    wait_until,
};

/// Listening sockets of the server's namespace.
fn listeners(lab: &Lab) -> Result<Vec<Value>> {
    let netns = lab.server().label();
    let shown = once::run(&["listeners", "--netns", netns, "--format", "json"])?.ended(0)?;
    shown.objects("listener")
}

fn on_port(all: &[Value], port: u16) -> Vec<&Value> {
    all.iter().filter(|one| one["local_port"] == port).collect()
}

/// Sets queues in the server's namespace, without being asked.
fn set(lab: &Lab, selector: &str, length: u32, more: &[&str]) -> Result<Once> {
    let length = length.to_string();
    let netns = lab.server().label();
    let common = [
        "listeners",
        "set",
        selector,
        "--qlen",
        &length,
        "--yes",
        "--netns",
        netns,
    ];
    once::run(&[&common, more].concat())
}

/// Runs the commands a change said would undo it.
fn undo(of: &Once) -> Result<usize> {
    let commands: Vec<&str> = of
        .stdout
        .lines()
        .filter_map(|line| line.strip_prefix("undo: tfo-cli "))
        .collect();
    for command in &commands {
        // As a shell takes it apart: it may be quoted.
        let line = format!("exec \"$0\" {command}");
        once::once(Command::new("sh").args(["-c", &line, BINARY]))?.ended(0)?;
    }
    Ok(commands.len())
}

/// Fast Open children of the server while `work` is done.
fn accepted(lab: &Lab, work: impl FnOnce() -> Result<()>) -> Result<u64> {
    let before = Mib::read(lab.server())?;
    work()?;
    Ok(Mib::read(lab.server())?.since(&before).of("TCPFastOpenPassive"))
}

/// One request on a connection that is kept open.
fn request(stream: &mut TcpStream) -> Result<()> {
    stream
        .write_all(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        .context("request")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 512];
    while !answer.ends_with(b"\r\n\r\nok") {
        let got = stream.read(&mut chunk).context("answer")?;
        ensure!(got > 0, "closed after {:?}", String::from_utf8_lossy(&answer));
        answer.extend(&chunk[..got]);
    }
    Ok(())
}

#[test]
fn fast_open_starts_and_stops_on_a_live_nginx() -> Result<()> {
    needs_lab!();
    needs_programs!("nginx", "curl");
    let lab = Lab::up_unique()?;
    let nginx = Nginx::start(&lab, SocketAddr::new(lab::server_v4(0), 8080), None)?;
    let selector = nginx.address().to_string();
    let twice = || -> Result<()> {
        for _ in 0..2 {
            let report = curl(&lab, nginx.address(), true)?;
            ensure!(report.status == 200, "{report:?}");
        }
        Ok(())
    };
    let shown = listeners(&lab)?;
    let [one] = on_port(&shown, 8080)[..] else {
        anyhow::bail!("{shown:?}")
    };
    ensure!(one["queue_limit"] == 0 && one["works"] == false, "{one}");
    ensure!(
        one["processes"][0]["comm"] == "nginx" && one["mptcp"] == false,
        "{one}"
    );
    ensure!(
        one["fix"]
            .as_str()
            .is_some_and(|fix| fix.contains("fastopen=256")),
        "{one}"
    );
    ensure!(accepted(&lab, twice)? == 0, "Fast Open before it was switched on");

    // One connection stays, others come and go, all the time.
    let mut kept = lab.in_client(|| TcpStream::connect(nginx.address()).context("connect"))?;
    kept.set_read_timeout(Some(DEADLINE))?;
    request(&mut kept)?;
    let (stop, flowing) = (AtomicBool::new(false), AtomicU64::new(0));
    let flow = || -> Result<()> {
        while !stop.load(Ordering::Relaxed) {
            let mut stream = TcpStream::connect(nginx.address()).context("connect")?;
            stream.set_read_timeout(Some(DEADLINE))?;
            request(&mut stream)?;
            flowing.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    };
    thread::scope(|scope| -> Result<()> {
        let flow = scope.spawn(|| lab.in_client(flow));
        let result = (|| {
            let more = || {
                let seen = flowing.load(Ordering::Relaxed);
                wait_until("connections that flow", || {
                    Ok(flowing.load(Ordering::Relaxed) > seen + 2)
                })
            };
            more()?;
            let on = set(&lab, &selector, 64, &[])?.ended(0)?;
            ensure!(on.stdout.contains("Fast Open queue 0 -> 64"), "{on:?}");
            more()?;
            request(&mut kept)?;
            // The first asks for a cookie.
            ensure!(accepted(&lab, twice)? == 1, "Fast Open did not start");
            let shown = listeners(&lab)?;
            let [one] = on_port(&shown, 8080)[..] else {
                anyhow::bail!("{shown:?}")
            };
            ensure!(one["queue_limit"] == 64 && one["works"] == true, "{one}");
            ensure!(undo(&on)? == 1, "{on:?}");
            more()?;
            request(&mut kept)?;
            ensure!(accepted(&lab, twice)? == 0, "Fast Open did not stop");
            Ok(())
        })();
        stop.store(true, Ordering::Relaxed);
        let flow = flow.join().map_err(|_| anyhow::anyhow!("the clients panicked"))?;
        result.and(flow)
    })
}

#[test]
fn a_dual_stack_listener_takes_fast_open_from_both() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let any = Listen {
        fast_open: None,
        ..Listen::new("[::]:0".parse().context("an address")?)
    };
    let server = Server::start(lab.server(), &any)?;
    let port = server.address().port();
    let each = || -> Result<()> {
        for ip in [lab::server_v4(0), lab::server_v6(0)] {
            for _ in 0..2 {
                let report = Connect::new(SocketAddr::new(ip, port), 100).run_in(lab.client())?;
                ensure!(report.reply_matched, "{report:?}");
            }
        }
        Ok(())
    };
    let shown = listeners(&lab)?;
    let [one] = on_port(&shown, port)[..] else {
        anyhow::bail!("{shown:?}")
    };
    ensure!(one["dual_stack"] == true && one["local_addr"] == "::", "{one}");
    ensure!(accepted(&lab, each)? == 0, "Fast Open before it was switched on");
    let on = set(&lab, &format!("[::]:{port}"), 16, &[])?.ended(0)?;
    ensure!(accepted(&lab, each)? == 2, "one connection of each family");
    ensure!(undo(&on)? == 1, "{on:?}");
    ensure!(accepted(&lab, each)? == 0, "Fast Open did not stop");
    // As bound, and nothing else: the address a client uses is another one.
    let wrong = set(&lab, &format!("10.77.0.2:{port}"), 16, &[])?.ended(1)?;
    ensure!(wrong.stderr.contains("as bound"), "{wrong:?}");
    Ok(())
}

/// Sockets that share an address.
fn group(address: SocketAddr, size: usize) -> Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    for _ in 0..size {
        let flags = SockFlag::SOCK_CLOEXEC;
        let one = socket(AddressFamily::Inet, SockType::Stream, flags, None).context("socket")?;
        setsockopt(&one, sockopt::ReusePort, &true).context("SO_REUSEPORT")?;
        bind(one.as_raw_fd(), &SockaddrStorage::from(address)).context("bind")?;
        listen(&one, Backlog::new(16)?).context("listen")?;
        sockets.push(TcpListener::from(one));
    }
    Ok(sockets)
}

#[test]
fn a_group_is_set_as_a_whole_cut_to_somaxconn_and_undone_exactly() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let address = SocketAddr::new(lab::server_v4(0), 9000);
    let sockets = lab.in_server(|| group(address, 3))?;
    let queues = || -> Result<Vec<u64>> {
        let shown = listeners(&lab)?;
        let mut found: Vec<_> = on_port(&shown, 9000)
            .iter()
            .map(|one| {
                (
                    one["socket"].as_u64().unwrap_or(0),
                    one["queue_limit"].as_u64().unwrap_or(99),
                )
            })
            .collect();
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, length)| length).collect())
    };
    let shown = listeners(&lab)?;
    let inodes: BTreeSet<u64> = on_port(&shown, 9000)
        .iter()
        .filter_map(|one| one["socket"].as_u64())
        .collect();
    ensure!(inodes.len() == sockets.len(), "{shown:?}");
    let middle = inodes.iter().nth(1).context("three sockets")?.to_string();
    set(&lab, ":9000", 7, &["--socket", &middle])?.ended(0)?;
    ensure!(queues()? == [0, 7, 0], "{:?}", queues()?);

    // Without --yes nobody is there to be asked.
    let unasked = once::run(&[
        "listeners",
        "set",
        ":9000",
        "--qlen",
        "5",
        "--netns",
        lab.server().label(),
    ])?
    .ended(2)?;
    ensure!(
        unasked.stderr.contains("--yes") && queues()? == [0, 7, 0],
        "{unasked:?}"
    );

    lab.server().set_sysctl("net/core/somaxconn", "100")?;
    let cut = set(&lab, "10.77.0.2:9000", 4096, &[])?.ended(0)?;
    ensure!(queues()? == [100; 3], "{:?}", queues()?);
    ensure!(
        cut.stdout
            .contains("0 -> 100 (asked for 4096; net.core.somaxconn there is 100)"),
        "{cut:?}"
    );
    ensure!(undo(&cut)? == 2, "two lengths, two commands: {cut:?}");
    ensure!(queues()? == [0, 7, 0], "{:?}", queues()?);
    drop(sockets);
    let gone = set(&lab, ":9000", 16, &[])?.ended(1)?;
    ensure!(gone.stderr.contains("no socket listens there"), "{gone:?}");
    Ok(())
}

/// A child that is killed with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn another_users_socket_takes_root_and_rights_are_named() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    let copy = Copy::make()?;
    let netns = lab.server().label().to_owned();
    let mut theirs = Command::new("ip");
    theirs.args([
        "netns",
        "exec",
        &netns,
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ]);
    theirs
        .arg(copy.path())
        .args(["probe", "--serve", "10.77.0.2:9001", "--qlen", "3"]);
    theirs
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Background(theirs.spawn().context("a server of nobody")?);
    wait_until("the server to listen", || {
        Ok(!on_port(&listeners(&lab)?, 9001).is_empty())
    })?;
    let shown = listeners(&lab)?;
    let one = on_port(&shown, 9001)[0];
    ensure!(one["uid"] == 65534 && one["queue_limit"] == 3, "{one}");
    ensure!(
        one["works"] == true && one["why"].as_str().is_some_and(|why| why.contains("queue of 3")),
        "{one}"
    );
    // A server of root, seen and set by nobody.
    let roots = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    let selector = roots.address().to_string();
    let refused = copy
        .run_as_nobody(&netns, &["listeners", "set", &selector, "--qlen", "9", "--yes"])?
        .ended(3)?;
    ensure!(refused.stderr.contains("CAP_SYS_PTRACE"), "{refused:?}");
    let seen = copy.run_as_nobody(&netns, &["listeners"])?.ended(0)?;
    ensure!(
        seen.stdout.contains(&selector) && seen.stdout.contains("256"),
        "{seen:?}"
    );
    ensure!(
        seen.stderr.contains("lengths of queues not looked at"),
        "{seen:?}"
    );
    // Where only parents may look into processes nobody has no part that succeeds.
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    if scope.is_ok_and(|scope| scope.trim() != "0") {
        println!("skipped: a part of a selection that fails needs kernel.yama.ptrace_scope=0");
    } else {
        part_of_a_selection_fails(&lab, &copy)?;
    }
    // Root sets that of nobody, from another namespace.
    let done = set(&lab, ":9001", 32, &[])?.ended(0)?;
    ensure!(done.stdout.contains("3 -> 32"), "{done:?}");
    Ok(())
}

/// On one port nobody has a socket and root another: what changed is named and undone, what did not is named, too.
fn part_of_a_selection_fails(lab: &Lab, copy: &Copy) -> Result<()> {
    let netns = lab.server().label();
    let roots = Server::start(lab.server(), &Listen::new((lab::server_v4(1), 9001).into()))?;
    let queues = || -> Result<BTreeSet<u64>> {
        let shown = listeners(lab)?;
        let limits = on_port(&shown, 9001)
            .into_iter()
            .filter_map(|one| one["queue_limit"].as_u64());
        Ok(limits.collect())
    };
    let before = queues()?;
    let part = copy
        .run_as_nobody(netns, &["listeners", "set", ":9001", "--qlen", "9", "--yes"])?
        .ended(1)?;
    ensure!(part.stdout.contains("3 -> 9"), "{part:?}");
    ensure!(
        part.stderr.contains("1 of 2 sockets not changed")
            && part.stderr.contains(&roots.address().to_string()),
        "{part:?}"
    );
    ensure!(queues()? == BTreeSet::from([9, 256]), "{:?}", queues()?);
    ensure!(undo(&part)? == 1, "only what changed is undone: {part:?}");
    ensure!(queues()? == before, "{:?}", queues()?);
    Ok(())
}

#[test]
fn mptcp_listeners_are_told_from_tcp() -> Result<()> {
    needs_lab!();
    let lab = Lab::up_unique()?;
    if !command::is_installed("python3") || lab.server().sysctl("net/mptcp/enabled")?.is_none() {
        println!("skipped: needs `python3` and a kernel with MPTCP");
        return Ok(());
    }
    let script = "import socket,time\ns=socket.socket(socket.AF_INET,socket.SOCK_STREAM,262)\n\
                  s.bind(('10.77.0.2',9002))\ns.listen(8)\ntime.sleep(600)";
    let mut python = Command::new("ip");
    python.args(["netns", "exec", lab.server().label(), "python3", "-c", script]);
    let _server = Background(python.stdin(Stdio::null()).spawn().context("python3")?);
    wait_until("the server to listen", || {
        Ok(!on_port(&listeners(&lab)?, 9002).is_empty())
    })?;
    let shown = listeners(&lab)?;
    let one = on_port(&shown, 9002)[0];
    ensure!(one["mptcp"] == true && one["works"] == false, "{one}");
    ensure!(
        one["why"].as_str().is_some_and(|why| why.contains("MPTCP")),
        "{one}"
    );
    // Linux 6.2 and later give it a queue as to a TCP socket.
    let done = set(&lab, ":9002", 16, &[])?;
    ensure!(
        done.stdout.contains("0 -> 16") || done.stderr.contains("before Linux 6.2"),
        "{done:?}"
    );
    let plain = Server::start(lab.server(), &Listen::on(lab::server_v4(0), Family::V4))?;
    let shown = listeners(&lab)?;
    ensure!(
        on_port(&shown, plain.address().port())[0]["mptcp"] == false,
        "{shown:?}"
    );
    Ok(())
}

/// A queue that children wait in: only an iterator sees how many.
#[test]
fn lengths_of_queues_are_shown() -> Result<()> {
    crate::support::needs_kernel!();
    let lab = Lab::up_unique()?;
    let server = Server::start(lab.server(), &Listen::new((lab::server_v4(0), 0).into()))?;
    Connect::new(server.address(), 100).run_in(lab.client())?;
    let rule = tfo_lab::middlebox::Rule::new(tfo_lab::middlebox::Effect::DropAfterSyn, lab::server_v4(0));
    let _middlebox = tfo_lab::middlebox::Middlebox::on_path(&lab, &rule)?;
    let half_open = Connect {
        blocking: false,
        reply: 0,
        timeout: Duration::from_secs(5),
        ..Connect::new(server.address(), 100)
    };
    let _open = lab.in_client(|| half_open.open())?;
    wait_until("a child that waits", || {
        let shown = listeners(&lab)?;
        let one = on_port(&shown, server.address().port())[0];
        Ok(one["queue_length"] == 1)
    })
}
