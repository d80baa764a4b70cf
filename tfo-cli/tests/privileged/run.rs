//! `run`: the command behaves as without it, its connections are counted, and no cgroup is left.

use std::{
    fs,
    io::Write as _,
    net::SocketAddr,
    os::unix::process::{CommandExt as _, ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use tfo_lab::{
    apps::Nginx,
    command,
    lab::{self, Lab},
};

use crate::support::{
    BINARY, NO_CONFIG, ground::temporary_directory, kernel::Loaded, needs_kernel, needs_programs, once,
    sandbox::Sandbox, wait_until,
};

/// Where reports and scripts lie.
struct Ground {
    directory: PathBuf,
    before: Loaded,
}

impl Ground {
    fn new() -> Result<Self> {
        Ok(Self {
            directory: temporary_directory()?,
            before: Loaded::now(),
        })
    }

    fn report(&self) -> PathBuf {
        self.directory.join("report.json")
    }

    /// `tfo-cli run --format json -o <report> <arguments>`.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(["run", "--format", "json", "--output"]);
        command.arg(self.report()).args(arguments).envs(NO_CONFIG);
        command
    }

    /// Runs it; returns what the command wrote, and the last object of the report.
    fn run(&self, arguments: &[&str]) -> Result<(Output, Value)> {
        let output = self.command(arguments).stdin(Stdio::null()).output()?;
        let report = self.read().with_context(|| format!("{output:?}"))?;
        self.nothing_left()?;
        Ok((output, report))
    }

    fn read(&self) -> Result<Value> {
        let text = fs::read_to_string(self.report())?;
        let last = text.lines().last().context("the report is empty")?;
        let object: Value = serde_json::from_str(last)?;
        ensure!(object["schema"] == 1 && object["type"] == "run", "{object}");
        Ok(object)
    }

    fn nothing_left(&self) -> Result<()> {
        let left = cgroups()?;
        ensure!(left.is_empty(), "cgroups are left: {left:?}");
        self.before.nothing_added("the command's end")
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The cgroup2 mount, and this process's place in it.
fn own_cgroup() -> Result<PathBuf> {
    let mount = command::run("findmnt", &["-n", "-o", "TARGET", "-t", "cgroup2"])?;
    let mount = mount.lines().next().context("no cgroup2 mount")?.to_owned();
    Ok(PathBuf::from(mount + &cgroup_of("self")?))
}

fn cgroup_of(process: &str) -> Result<String> {
    let text = fs::read_to_string(format!("/proc/{process}/cgroup"))?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"));
    Ok(path.context("no cgroup v2")?.trim_end_matches('/').to_owned())
}

/// Cgroups of `run` below the own one.
fn cgroups() -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(own_cgroup()?)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<std::io::Result<Vec<_>>>()?;
    paths.retain(|path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with("tfo-cli-run."))
    });
    Ok(paths)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn what_curl_got_from_fast_open_is_counted_and_its_output_is_its_own() -> Result<()> {
    needs_kernel!();
    needs_programs!("nginx", "curl");
    let lab = Lab::up_unique()?;
    let ground = Ground::new()?;
    let nginx = Nginx::start(&lab, SocketAddr::new(lab::server_v4(0), 8080), Some(64))?;
    let url = format!("http://{}/", nginx.address());
    let curl = [
        "curl",
        "--silent",
        "--noproxy",
        "*",
        "--max-time",
        "20",
        "--tcp-fastopen",
        &url,
    ];
    for (outcome, bytes) in [("cookie-granted", false), ("accepted", true)] {
        let (output, report) = lab
            .client()
            .run(|| ground.run(&[&["--"][..], &curl[..]].concat()))?;
        ensure!(
            output.status.code() == Some(0) && text(&output.stdout) == "ok",
            "{output:?}"
        );
        ensure!(output.stderr.is_empty(), "{output:?}");
        let client = &report["client"];
        ensure!(
            client["connections"] == 1 && report["totals"]["client"][outcome] == 1,
            "{report}"
        );
        let sent = client["syn_bytes"].as_u64().context("no number")?;
        ensure!(
            (sent > 0) == bytes && client["syn_bytes_accepted"] == sent,
            "{report}"
        );
        ensure!(
            report["exit_code"] == 0 && report["signal"].is_null() && report["server"]["connections"] == 0
        );
        ensure!(
            report["trouble"].is_null() && report["left_behind"] == 0,
            "{report}"
        );
    }
    // For people, on stderr; of the server's own sockets nothing is seen.
    let mut words = vec!["run"];
    words.extend(curl);
    let said = lab.client().run(|| once::run(&words))?.ended(0)?;
    ensure!(
        said.stdout == "ok" && said.stderr.contains("accepted  The server took"),
        "{said:?}"
    );
    ground.nothing_left()
}

#[test]
fn exit_codes_output_and_rights_are_those_of_the_command() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    let (output, report) = ground.run(&["--", "sh", "-c", "echo out; echo err >&2; exit 42"])?;
    ensure!(
        output.status.code() == Some(42) && report["exit_code"] == 42,
        "{output:?} {report}"
    );
    ensure!(
        text(&output.stdout) == "out\n" && text(&output.stderr) == "err\n",
        "{output:?}"
    );
    let (output, report) = ground.run(&["sh", "-c", "kill -KILL $$"])?;
    ensure!(
        output.status.signal() == Some(Signal::SIGKILL as i32),
        "{output:?}"
    );
    ensure!(report["signal"] == 9 && report["exit_code"].is_null(), "{report}");
    // Another user has its own name, home and groups, and no rights of ours.
    let whose = "id -u; id -G; echo $HOME $USER; grep CapEff /proc/self/status";
    let (output, _) = ground.run(&["--user", "nobody", "--", "sh", "-c", whose])?;
    let said = text(&output.stdout);
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        lines.len() == 4 && lines[0] == "65534" && lines[1] == "65534",
        "{output:?}"
    );
    ensure!(
        lines[2] == "/nonexistent nobody" && lines[3].ends_with("0000000000000000"),
        "{output:?}"
    );
    // A signal that was ignored still is, also by whoever runs the tests, and none is blocked.
    let masks = [
        "run",
        "-o",
        "/dev/null",
        "sh",
        "-c",
        "grep -E 'Sig(Blk|Ign)' /proc/self/status",
    ];
    let ignoring = "trap '' USR1; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", ignoring, "sh", BINARY])
        .args(masks)
        .output()?;
    let said = text(&output.stdout);
    let bits = |status: &str, name: &str| {
        let hex = status.lines().find_map(|line| line.strip_prefix(name));
        u64::from_str_radix(hex.unwrap_or_default().trim(), 16)
    };
    // The Rust runtime of this test ignores SIGPIPE for itself only.
    let ours = bits(&fs::read_to_string("/proc/self/status")?, "SigIgn:")? & !bit_of(Signal::SIGPIPE);
    // Those from 32 on belong to the C library.
    ensure!(
        bits(&said, "SigBlk:")? == 0
            && bits(&said, "SigIgn:")? & 0x7fff_ffff == (ours | bit_of(Signal::SIGUSR1)) & 0x7fff_ffff,
        "{output:?}"
    );
    Ok(())
}

/// Of a signal in the sets of `/proc/PID/status`.
fn bit_of(signal: Signal) -> u64 {
    1 << (signal as i32 - 1)
}

#[test]
fn failures_of_run_itself_have_codes_of_their_own() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    let file = ground.directory.join("not-executable");
    fs::write(&file, "x")?;
    let file = file.to_string_lossy().into_owned();
    let table: [(&[&str], i32, &str); 6] = [
        (
            &["--", "/no/such/command"],
            127,
            "run /no/such/command: No such file",
        ),
        (&["--", &file], 126, "Permission denied"),
        (
            &["--user", "no-such-user", "--", "true"],
            125,
            "--user no-such-user",
        ),
        (&["--format", "xml", "--", "true"], 125, "xml"),
        (&[], 125, "COMMAND"),
        (
            &["--output", "/no/such/directory/x", "--", "true"],
            125,
            "/no/such/directory/x",
        ),
    ];
    for (arguments, code, word) in table {
        let all = [&["run"][..], arguments].concat();
        let said = once::run(&all)?.ended(code)?;
        ensure!(said.stderr.contains(word) && said.stdout.is_empty(), "{said:?}");
    }
    let copy = once::Copy::make()?;
    let refused = once::once(
        Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--bounding-set=-all",
            ])
            .arg(copy.path())
            .args(["run", "--", "sh", "-c", "echo ran"]),
    )?;
    let refused = refused.ended(125)?;
    ensure!(
        refused.stdout.is_empty() && refused.stderr.contains("tfo-cli: "),
        "{refused:?}"
    );
    ground.nothing_left()
}

/// Where it would be without `run`: in the caller's cgroup, alive. Also out of a cgroup that the command made for it.
#[test]
fn daemons_live_on_in_the_callers_cgroup() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    let own = cgroup_of("self")?;
    let daemon = "setsid sleep 600 >/dev/null 2>&1 & echo $!";
    let deeper = "inner=$(echo /sys/fs/cgroup/unified /sys/fs/cgroup | tr ' ' '\\n' | while read mount; do \
                  [ -f $mount/cgroup.procs ] && echo $mount && break; done)$(sed -n s/^0:://p /proc/self/cgroup)/inner; \
                  mkdir $inner; setsid sleep 600 >/dev/null 2>&1 & pid=$!; echo $pid > $inner/cgroup.procs; echo $pid";
    for script in [daemon, deeper] {
        let (output, report) = ground.run(&["--", "sh", "-c", script])?;
        let id: i32 = text(&output.stdout)
            .trim()
            .parse()
            .with_context(|| format!("{output:?}"))?;
        let place = cgroup_of(&id.to_string());
        kill(Pid::from_raw(id), Signal::SIGKILL).context("the daemon lives")?;
        ensure!(place? == own, "it is elsewhere");
        ensure!(
            output.status.code() == Some(0) && report["left_behind"] == 1,
            "{report}"
        );
    }
    Ok(())
}

/// Starts it and waits until the command says that it is ready.
fn ready(ground: &Ground, script: &str) -> Result<Child> {
    let ready = ground.directory.join("ready");
    let _ = fs::remove_file(&ready);
    let script = format!(
        "{script}; touch {}; while :; do sleep 0.05; done",
        ready.display()
    );
    let child = ground.command(&["--", "sh", "-c", &script]).spawn()?;
    wait_until("the command to begin", || Ok(ready.exists()))?;
    Ok(child)
}

#[test]
fn signals_sent_to_run_alone_are_passed_on() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    for (signal, trap, code, died) in [
        (Signal::SIGTERM, "trap 'exit 9' TERM", Some(9), None),
        (Signal::SIGINT, "trap 'exit 8' INT", Some(8), None),
        (Signal::SIGHUP, ":", None, Some(Signal::SIGHUP as i32)),
    ] {
        let mut child = ready(&ground, trap)?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        let status = child.wait()?;
        ensure!(
            (status.code(), status.signal()) == (code, died),
            "{signal}: {status:?}"
        );
        let report = ground.read()?;
        ensure!(report["exit_code"].as_i64() == code.map(i64::from), "{report}");
        ground.nothing_left()?;
    }
    // Killed itself, it leaves a cgroup; the next one takes it away when it is empty.
    let mut child = ready(&ground, ":")?;
    child.kill()?;
    child.wait()?;
    let left = cgroups()?;
    ensure!(left.len() == 1, "{left:?}");
    for id in fs::read_to_string(left[0].join("cgroup.procs"))?.lines() {
        kill(Pid::from_raw(id.parse()?), Signal::SIGKILL)?;
    }
    wait_until("the cgroup to be empty", || {
        Ok(fs::read_to_string(left[0].join("cgroup.events"))?.contains("populated 0"))
    })?;
    ground.run(&["true"])?;
    Ok(())
}

/// The terminal sends SIGINT to both: the command gets it once, and says how it ends.
#[test]
fn ctrl_c_reaches_the_command_once() -> Result<()> {
    needs_kernel!();
    needs_programs!("script");
    let ground = Ground::new()?;
    for (trap, ending) in [
        ("trap 'echo caught >> caught; exit 7' INT", "code 7"),
        ("echo caught > caught", "code 130"),
    ] {
        let at = |name: &str| ground.directory.join(name);
        for name in ["ready", "caught", "code"] {
            let _ = fs::remove_file(at(name));
        }
        let inner = format!("{trap}; touch ready; while :; do sleep 0.05; done");
        fs::write(at("inner.sh"), inner)?;
        let line = format!(
            "trap : INT; '{BINARY}' run --format json -o '{}' -- sh inner.sh; echo \"code $?\" > code",
            ground.report().display()
        );
        fs::write(at("outer.sh"), line)?;
        let mut terminal = Command::new("script")
            .args(["-qfec", "sh outer.sh", "typescript"])
            .current_dir(&ground.directory)
            .envs(NO_CONFIG)
            .env("SHELL", "/bin/sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .context("script: starting it")?;
        let typed = wait_until("the command to begin", || Ok(at("ready").exists()));
        let mut keys = terminal.stdin.take().context("no stdin")?;
        keys.write_all(b"\x03")?;
        keys.flush()?;
        let ended = wait_until("its end", || Ok(read(&at("code")).ends_with('\n')));
        drop(keys);
        let _ = terminal.kill();
        terminal.wait()?;
        typed.and(ended).with_context(|| read(&at("typescript")))?;
        ensure!(
            read(&at("code")).trim() == ending,
            "{} {}",
            read(&at("code")),
            read(&at("typescript"))
        );
        ensure!(read(&at("caught")) == "caught\n", "{:?}", read(&at("caught")));
        ground.nothing_left()?;
    }
    Ok(())
}

/// `kill 0` in the command reaches `run`, too, which is in its process group: the command has it already. One from outside to
/// `run` alone is passed on all the same.
#[test]
fn what_the_command_sends_to_its_group_does_not_come_back() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    let at = |name: &str| ground.directory.join(name);
    let script = format!(
        "cd {}; trap 'echo caught >> caught' USR1; trap 'exit 5' TERM; kill -USR1 0; touch ready; \
         while :; do sleep 0.05; done",
        ground.directory.display()
    );
    let mut child = ground
        .command(&["--", "sh", "-c", &script])
        .process_group(0)
        .spawn()?;
    wait_until("the command to begin", || Ok(at("ready").exists()))?;
    // It looks for signals every 20 ms: one that is to be seen here would have come back long before.
    std::thread::sleep(std::time::Duration::from_millis(500));
    kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
    let status = child.wait()?;
    ensure!(status.code() == Some(5), "{status:?}");
    ensure!(read(&at("caught")) == "caught\n", "{:?}", read(&at("caught")));
    ground.nothing_left()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// A new cgroup below a threaded domain takes nobody until it is threaded itself.
#[test]
fn a_threaded_domain_is_no_obstacle() -> Result<()> {
    needs_kernel!();
    let ground = Ground::new()?;
    let sandbox = Sandbox::enter()?;
    sandbox.within("leaf", || Ok(()))?;
    let kind = fs::read_to_string(sandbox.path().join("cgroup.type"))?;
    ensure!(kind.trim() == "domain threaded", "{kind}");
    let (output, report) = ground.run(&["sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"])?;
    let id: i32 = text(&output.stdout)
        .trim()
        .parse()
        .with_context(|| format!("{output:?}"))?;
    let place = cgroup_of(&id.to_string());
    kill(Pid::from_raw(id), Signal::SIGKILL)?;
    ensure!(
        place? == sandbox.name()? && report["left_behind"] == 1,
        "{report}"
    );
    // It ends before the sandbox is taken away.
    wait_until("its end", || Ok(!Path::new(&format!("/proc/{id}")).exists()))
}
