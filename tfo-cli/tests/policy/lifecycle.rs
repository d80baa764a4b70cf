//! Set-up and removal of a policy: complete or not at all, also when a command is killed, and without leftovers.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tfo_lab::{
    client::Family,
    command,
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{is_fast, primed},
    files::temporary,
    policy::{self, PINS, add, fails, ok},
    support::{BINARY, no_problems, sandbox::Sandbox},
};

/// Names of our programs and maps that the kernel holds at present.
fn in_kernel() -> Vec<String> {
    let mut names = Vec::new();
    // What is freed between its id and its name is an error, and gone.
    for program in aya::programs::loaded_programs().flatten() {
        names.push(program.name_as_str().unwrap_or_default().to_owned());
    }
    for map in aya::maps::loaded_maps().flatten() {
        names.push(map.name_as_str().unwrap_or_default().to_owned());
    }
    names.retain(|name| name.starts_with("tfo_pol") || name.starts_with("TFO_POL"));
    // Whoever looks at a program array (as this does) just when its last user has gone has the kernel keep it, empty,
    // 320 bytes: `prog_array_map_clear` (kernel/bpf/arraymap.c) takes a reference for work that is scheduled already, which
    // is then given back once for two. Tried by hand on 6.18.44: of 40 arrays that were looked at after their last
    // descriptor was closed 40 stayed for good, of 40 that nobody looked at none. It cannot be helped from outside the
    // kernel. The program it held, which would keep everything, is looked for.
    let arrays = [tfo_common::policy::TAILS, tfo_common::policy::AFTER];
    names.retain(|name| !arrays.contains(&name.as_str()));
    names.sort_unstable();
    names
}

/// Waits until the kernel has let go of everything: maps and programs are freed after a grace period.
fn wait_until_gone() -> Result<()> {
    crate::support::wait_until("the kernel to free programs and maps", || {
        Ok(in_kernel().is_empty())
    })
    .with_context(|| format!("{:?}", in_kernel()))
}

pub fn nothing_is_left() -> Result<()> {
    wait_until_gone()?;
    let lab = Lab::up_unique()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let sandbox = Sandbox::enter()?;
    for removal in ["remove", "flush", "guard off", "empty file"] {
        let path = sandbox.path().to_string_lossy().into_owned();
        match removal {
            "guard off" => drop(ok(&["guard", "on", "--cgroup", &path])?),
            _ => add(sandbox.path(), "10.77.0.2", &[])?,
        }
        ensure!(in_kernel().len() >= 11, "{removal}: {:?}", in_kernel());
        let mode = fs::metadata(PINS)?.permissions();
        ensure!(mode.mode() & 0o777 == 0o700, "{mode:?}");
        connect.run_in(lab.client())?;
        match removal {
            "remove" => ok(&["policy", "remove", "1"])?,
            "flush" => ok(&["policy", "flush"])?,
            "guard off" => ok(&["guard", "off", "--cgroup", &path])?,
            _ => ok(&["policy", "apply", "/dev/null"])?,
        };
        ensure!(!Path::new(PINS).exists(), "{removal}: {PINS} is left");
        // Detached at once, not some time later.
        ensure!(
            is_fast(&connect.run_in(lab.client())?),
            "{removal}: still in force"
        );
        wait_until_gone().context(removal)?;
    }
    Ok(())
}

/// A number that stands in a ticket means one rule, whatever was flushed since, by a command or by the last rule.
pub fn numbers() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    add(sandbox.path(), "10.0.0.0/8", &[])?;
    let mut given = vec![policy::newest()?];
    for end in ["flush", "remove", "guard off", "killed", "flush"] {
        let path = sandbox.path().to_string_lossy().into_owned();
        match end {
            "flush" => policy::clear()?,
            "guard off" => {
                // The policy that ends has given no number at all.
                policy::clear()?;
                ok(&["guard", "on", "--cgroup", &path])?;
                ok(&["guard", "off", "--cgroup", &path])?;
            }
            "killed" => {
                // What a command leaves that is killed while it removes the policy.
                fs::remove_file(Path::new(PINS).join("link-egress")).context("the pin that goes first")?;
            }
            _ => drop(ok(&["policy", "remove", &policy::newest()?])?),
        }
        add(sandbox.path(), "10.0.0.0/8", &[])?;
        let newest = policy::newest()?;
        ensure!(
            !given.contains(&newest),
            "{end}: number {newest} is given again: {given:?}"
        );
        given.push(newest);
    }
    let mode = fs::metadata(policy::LAST_RULE).context(policy::LAST_RULE)?;
    ensure!(mode.permissions().mode() & 0o777 == 0o600, "{mode:?}");
    // What others could have written is not believed, and named.
    policy::clear()?;
    chown(policy::LAST_RULE, Some(65_534), None).context("chown")?;
    let path = sandbox.path().to_string_lossy().into_owned();
    let refused = fails(&["policy", "add", "--cgroup", &path, "--dst", "::/0"], 1)?;
    ensure!(
        refused.contains(policy::LAST_RULE) && refused.contains("others may write to it: remove it"),
        "{refused}"
    );
    ensure!(!Path::new(PINS).exists(), "half of a policy is left");
    Ok(())
}

/// A guard asks for a callback on the sockets it watches. It goes only when they have been given back: whatever
/// else is attached would be called for them from then on.
pub fn flags_are_taken_back() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let path = sandbox.path().to_string_lossy().into_owned();
    let _eats = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, connect.target.ip()))?;
    // The handshake takes a second; a machine that stands still for that long gets another try.
    for _ in 0..3 {
        ok(&["guard", "on", "--cgroup", &path])?;
        let in_time = thread::scope(|scope| {
            let connection = scope.spawn(|| connect.run_in(lab.client()));
            crate::support::wait_until("a socket to be flagged", || Ok(policy::flagged()? == 1))?;
            let in_time = policy::flagged()? == 1 && in_handshake(&lab)?;
            ok(&["guard", "off", "--cgroup", &path])?;
            ensure!(!in_handshake(&lab)?, "the guard went before its socket was done");
            ensure!(!Path::new(PINS).exists(), "{PINS} is left");
            let report = connection.join().expect("it does not panic")?;
            ensure!(report.reply_matched, "{report:?}");
            Ok(in_time)
        })?;
        if in_time {
            return Ok(());
        }
    }
    bail!("the handshake was over each time before anybody could look")
}

/// Whether the client has a socket in `SYN_SENT`.
fn in_handshake(lab: &Lab) -> Result<bool> {
    let table = lab.in_client(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
    let state = |line: &str| line.split_whitespace().nth(3).map(str::to_owned);
    Ok(table.lines().any(|line| state(line).as_deref() == Some("02")))
}

#[expect(clippy::too_many_lines, reason = "most of it is one table")]
pub fn bad_input() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let path = sandbox.path().to_string_lossy().into_owned();
    add(sandbox.path(), "10.0.0.0/8", &["--note", "the one that is there"])?;
    let before = policy::list()?["rules"].clone();
    let file = temporary("bad.toml", "[[rule]]\ncgroup = \"/\"\ndst = \"10.1.0.0/8\"\n")?;
    let twice = "[[rule]]\ncgroup = \"/\"\ndst = \"::/0\"\n".repeat(2);
    let twice = temporary("twice.toml", &twice)?;
    let missing = temporary("missing.toml", "[[rule]]\nunit = \"no-such\"\ndst = \"::/0\"\n")?;
    let add = ["policy", "add", "--cgroup"];
    let table: Vec<(Vec<&str>, i32, &str)> = vec![
        (
            [&add[..], &["/no/such", "--dst", "::/0"]].concat(),
            2,
            "cgroup /no/such: there is no such cgroup",
        ),
        (
            [&add[..], &["/../..", "--dst", "::/0"]].concat(),
            2,
            "not a cgroup v2 directory",
        ),
        (
            [&add[..], &[&path, "--dst", "10.1.0.0/8"]].concat(),
            2,
            "did you mean 10.0.0.0/8",
        ),
        (
            [&add[..], &[&path, "--dst", "10.0.0.0/8"]].concat(),
            2,
            "rule 1 is there already",
        ),
        (
            [&add[..], &[&path, "--dst", "::/0", "--port", "9-8"]].concat(),
            2,
            "--port 9-8",
        ),
        (
            [&add[..], &[&path, "--dst", "::/0", "--ttl", "x"]].concat(),
            2,
            "--ttl x",
        ),
        (
            [&add[..], &[&path, "--dst", "::/0", "--action", "x"]].concat(),
            2,
            "'x' for '--action",
        ),
        (
            [
                &add[..],
                &[&path, "--dst", "::/0", "--action", "strip", "--dev", "nope0"],
            ]
            .concat(),
            2,
            "interface nope0",
        ),
        (
            [
                &add[..],
                &[&path, "--dst", "::/0", "--action", "strip", "--netns", "nope"],
            ]
            .concat(),
            2,
            "network namespace nope",
        ),
        (vec!["policy", "add", "--dst", "::/0"], 2, "--cgroup"),
        (
            vec!["policy", "add", "--unit", "no-such", "--dst", "::/0"],
            2,
            "unit no-such: there is no such",
        ),
        (
            vec!["policy", "add", "--container", "abc", "--dst", "::/0"],
            2,
            "at least 6",
        ),
        (vec!["policy", "remove", "1", "77"], 1, "rule 77: there is none"),
        (
            vec!["policy", "apply", "/no/such/file"],
            1,
            "/no/such/file: No such file",
        ),
        (vec!["policy", "apply", &file], 2, "line 3: dst: 10.1.0.0/8"),
        (
            vec!["policy", "plan", &twice],
            2,
            "line 4: a rule for / to ::/0 is in line 1",
        ),
        (vec!["policy", "apply", &missing], 2, "line 1: unit no-such"),
        (
            vec!["policy", "list", "--bpffs", "/tmp/tfo-cli"],
            3,
            "mount -t bpf bpf /sys/fs/bpf, or",
        ),
        (
            vec!["policy", "list", "--bpffs", "/sys/fs/bpf"],
            3,
            "name a directory below it: --bpffs /sys/fs/bpf/tfo-cli",
        ),
        (
            vec!["policy", "list", "--bpffs", "/sys/fs/bpf/no/such"],
            1,
            "look at /sys/fs/bpf/no: No such file or directory",
        ),
        (
            vec![
                "policy", "add", "--cgroup", &path, "--dst", "::/0", "--dev", "eth0",
            ],
            2,
            "--dev: says where the option is stripped, and this rule does not",
        ),
        (
            vec!["guard", "on", "--cgroup", &path, "--netns", "1"],
            2,
            "--netns: says where the option is stripped, and this guard does not",
        ),
        (
            vec!["policy", "watch", "--netns", "1"],
            2,
            "--netns: says where rules of --keep strip",
        ),
        (vec!["guard", "off", "--cgroup", &path], 1, "there is none"),
        (
            vec!["guard", "on", "--cgroup", "/", "--failures", "9"],
            2,
            "--failures: 9 is not",
        ),
    ];
    let mut problems = Vec::new();
    for (args, code, part) in &table {
        match fails(args, *code) {
            Ok(stderr) if stderr.contains(part) => {}
            Ok(stderr) => problems.push(format!("{args:?}: {stderr}, not {part}")),
            Err(error) => problems.push(format!("{error:#}")),
        }
        if policy::list()?["rules"] != before_now(&before, &policy::list()?["rules"]) {
            problems.push(format!("{args:?} changed something: {}", policy::list()?));
        }
    }
    if command::is_installed("setpriv") {
        let output = Command::new("setpriv")
            .args([
                "--reuid=65534",
                "--regid=65534",
                "--clear-groups",
                "--",
                BINARY,
                "policy",
                "list",
            ])
            .output()?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.code() != Some(3) || !stderr.contains("run it as root") {
            problems.push(format!("without rights: {}: {stderr}", output.status));
        }
    }
    no_problems(&problems)
}

/// The list as it was, if only times have passed.
fn before_now(before: &Value, now: &Value) -> Value {
    let same = |rule: &Value| (rule["id"].clone(), rule["dst"].clone(), rule["note"].clone());
    let list = |value: &Value| {
        value
            .as_array()
            .map(|rules| rules.iter().map(same).collect::<Vec<_>>())
    };
    if list(before) == list(now) {
        now.clone()
    } else {
        before.clone()
    }
}

pub fn deleted_cgroup() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    sandbox.within("gone", || Ok(()))?;
    add(&sandbox.child("gone"), "10.0.0.0/8", &[])?;
    add(sandbox.path(), "10.0.0.0/8", &[])?;
    let gone = sandbox.child("gone").to_string_lossy().into_owned();
    ok(&["guard", "on", "--cgroup", &gone])?;
    crate::support::wait_until("the last thread to leave", || Ok(fs::remove_dir(&gone).is_ok()))?;
    let output = policy::run(&["policy", "list", "--format", "json"])?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        stderr.contains("removed rule 1, its cgroup is gone: no-data for /")
            && stderr.contains("/gone to 10.0.0.0/8"),
        "{stderr}"
    );
    ensure!(
        stderr.contains("removed, its cgroup is gone: guard on"),
        "{stderr}"
    );
    let rules = policy::list()?["rules"].clone();
    ensure!(
        rules.as_array().map(Vec::len) == Some(1) && rules[0]["id"] == 2,
        "{rules}"
    );
    Ok(())
}

/// Commands are killed at instants spread over their run time. Whatever they leave: the next command works, and
/// every rule is there or not, and in force if it is.
pub fn killed() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let path = sandbox.path().to_string_lossy().into_owned();
    let base = format!("[[rule]]\ncgroup = \"{path}\"\ndst = \"198.51.100.0/24\"\n");
    let rules: Vec<String> = (0..20)
        .map(|net| format!("[[rule]]\ncgroup = \"{path}\"\ndst = \"10.{net}.0.0/16\"\n"))
        .collect();
    let rules = rules.concat();
    let (base, many) = (temporary("base.toml", &base)?, temporary("many.toml", &rules)?);
    let commands: [&[&str]; 4] = [
        &["policy", "add", "--cgroup", &path, "--dst", "192.0.2.0/24"],
        &["policy", "apply", &many],
        &["policy", "apply", "/dev/null"],
        &["policy", "flush"],
    ];
    let mut seen = Seen::default();
    // From nothing, and from a policy that is in force.
    for before in ["/dev/null", &base] {
        for command in commands {
            ok(&["policy", "apply", before])?;
            let begun = std::time::Instant::now();
            ok(command)?;
            let whole = begun.elapsed();
            for step in 0..KILLS {
                ok(&["policy", "apply", before])?;
                // A little beyond the end.
                kill_after(whole * step * 5 / (KILLS * 4), command, &mut seen)?;
            }
        }
    }
    println!("  {seen:?}");
    ensure!(
        seen.ended < seen.commands && seen.half_made > 0 && seen.rules.len() > 2,
        "nobody was killed in the middle: {seen:?}"
    );
    policy::clear()?;
    wait_until_gone()
}

/// How often each command is killed.
const KILLS: u32 = 14;

/// What became of killed commands.
#[derive(Debug, Default)]
struct Seen {
    commands: u32,
    /// They were faster.
    ended: u32,
    /// They left something the next command had to remove.
    half_made: u32,
    /// How many rules there were then.
    rules: std::collections::BTreeSet<usize>,
}

/// Kills a command at some instant, and looks at what is left with the next one.
fn kill_after(delay: Duration, command: &[&str], seen: &mut Seen) -> Result<()> {
    let mut child = Command::new(BINARY)
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    thread::sleep(delay);
    // Fails when it has ended already.
    let _ = child.kill();
    seen.commands += 1;
    seen.ended += u32::from(child.wait()?.code().is_some());
    let output = policy::run(&["policy", "list", "--format", "json"])?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success(),
        "after {command:?}, killed at {delay:?}: {stderr}"
    );
    seen.half_made += u32::from(stderr.contains("interrupted"));
    let list: Value = serde_json::from_slice(&output.stdout)?;
    let count = list["rules"].as_array().map_or(0, Vec::len);
    seen.rules.insert(count);
    // In force exactly while there are rules.
    let linked = Path::new(PINS).join("link-egress").exists();
    ensure!(
        linked == (count > 0),
        "after {command:?}, killed at {delay:?}: {count} rules, linked: {linked}"
    );
    ensure!(linked || !Path::new(PINS).exists(), "leftovers in {PINS}");
    Ok(())
}

/// What the dashboard does: it reads what is in force, also while somebody else holds the lock.
pub fn looked_at() -> Result<()> {
    let look = || anyhow::Ok(tfo_cli::kernel::policy::in_force(Path::new(PINS), |_| None)?.rules);
    ensure!(look()?.is_empty(), "{:?}", look()?);
    let sandbox = Sandbox::enter()?;
    add(sandbox.path(), "10.77.0.2", &["--port", "443", "--note", "why"])?;
    let before = policy::list()?;
    let directory = fs::File::open(PINS)?;
    directory.lock().context("lock")?;
    let rules = look()?;
    drop(directory);
    ensure!(
        rules.len() == 1
            && rules[0].spec.dst.to_string() == "10.77.0.2/32"
            && rules[0].spec.note == "why"
            && rules[0].covers(443)
            && !rules[0].covers(80)
            && sandbox
                .path()
                .to_string_lossy()
                .ends_with(&rules[0].spec.cgroup.path),
        "{rules:?}"
    );
    ensure!(policy::list()? == before, "looking changed something");
    ok(&["policy", "flush"])?;
    ensure!(look()?.is_empty(), "{:?}", look()?);
    Ok(())
}

pub fn serialised() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let path: PathBuf = sandbox.path().to_path_buf();
    let results: Vec<Result<()>> = thread::scope(|scope| {
        let adds: Vec<_> = (0..8)
            .map(|net| {
                let path = &path;
                scope.spawn(move || add(path, &format!("10.{net}.0.0/16"), &[]))
            })
            .collect();
        adds.into_iter()
            .map(|add| add.join().expect("it does not panic"))
            .collect()
    });
    results.into_iter().collect::<Result<()>>()?;
    let rules = policy::list()?["rules"].clone();
    let ids: Vec<u64> = rules
        .as_array()
        .context("rules")?
        .iter()
        .filter_map(|rule| rule["id"].as_u64())
        .collect();
    ensure!(ids == [1, 2, 3, 4, 5, 6, 7, 8], "{rules}");
    Ok(())
}
