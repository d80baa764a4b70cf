//! `policy watch`: attaches to new interfaces at once, logs what guards do, and changes nothing else.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context, Result, ensure};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tfo_lab::{
    client::{Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
    server::{Listen, Server},
};

use crate::{
    enforce::{at_once, is_fast, late, primed, service},
    files::temporary,
    guards::on,
    policy::{self, PINS, add, add_strip, counter, list},
    support::{BINARY, NO_CONFIG, sandbox::Sandbox, wait_until},
};

/// A running `policy watch`, and its output.
pub struct Watch {
    child: Child,
    said: PathBuf,
}

impl Watch {
    fn start(tag: &str, more: &[&str]) -> Result<Self> {
        let mut command = Command::new(BINARY);
        command
            .args(["policy", "watch", "--interval", "200ms"])
            .args(more);
        Self::spawn(tag, command)
    }

    /// Starts the command.
    pub fn spawn(tag: &str, mut command: Command) -> Result<Self> {
        let said = std::env::temp_dir().join(format!("tfo-cli-watch-{tag}"));
        let child = command
            .envs(NO_CONFIG)
            .stdin(Stdio::null())
            .stderr(File::create(&said)?)
            .spawn()
            .context("starting the watch")?;
        let watch = Self { child, said };
        watch.until_it_says("watching /sys/fs/bpf/tfo-cli")?;
        Ok(watch)
    }

    pub fn said(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.said)?)
    }

    pub fn until_it_says(&self, what: &str) -> Result<()> {
        wait_until(what, || Ok(self.said()?.contains(what)))
            .with_context(|| format!("it said: {}", self.said().unwrap_or_default()))
    }

    /// Ends the command as systemd would.
    pub fn end(mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGTERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}: {}", self.said()?);
        Ok(())
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.said);
    }
}

/// Another pair of interfaces between the two, on a network of its own, with a server at its end.
fn connect_anew(lab: &Lab, number: u8) -> Result<(Server, Connect)> {
    let (ours, theirs) = (format!("late{number}"), format!("peer{number}"));
    let link = |args: &[&str]| lab.client().command("ip", args).map(drop);
    link(&[
        "link",
        "add",
        &ours,
        "type",
        "veth",
        "peer",
        "name",
        &theirs,
        "netns",
        lab.server().label(),
    ])?;
    link(&["addr", "add", &format!("10.78.{number}.1/24"), "dev", &ours])?;
    link(&["link", "set", &ours, "up"])?;
    lab.server().command(
        "ip",
        &["addr", "add", &format!("10.78.{number}.2/24"), "dev", &theirs],
    )?;
    lab.server().command("ip", &["link", "set", &theirs, "up"])?;
    wait_until("the new link", || {
        Ok(lab
            .client()
            .command("ip", &["link", "show", &ours])?
            // Not only LOWER_UP: its queue may not have been activated yet (net/core/link_watch.c), and drops.
            .contains("state UP"))
    })?;
    let server = Server::start(lab.server(), &Listen::on([10, 78, number, 2].into(), Family::V4))?;
    let connect = Connect::new(server.address(), 300);
    Ok((server, connect))
}

pub fn new_interfaces() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let netns = lab.client().label().to_owned();
    add_strip(sandbox.path(), "10.78.0.0/16", &netns)?;
    // Without it the option leaves by a new interface, and that is counted.
    let (_server, missed) = connect_anew(&lab, 1)?;
    at_once(&lab, &missed)?;
    let text = policy::ok(&["policy", "list"])?;
    ensure!(text.contains("1 SYNs kept the TFO option"), "{text}");
    ensure!(counter("stripped")? == 0, "{}", list()?);

    let watch = Watch::start("interfaces", &[])?;
    let (_server, caught) = connect_anew(&lab, 2)?;
    watch.until_it_says("stripping on late2")?;
    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, caught.target.ip()))?;
    at_once(&lab, &caught)?;
    ensure!(path.hits()? == 0, "an option left");
    ensure!(
        counter("stripped")? == 1 && counter("strip_missed")? == 1,
        "{}",
        list()?
    );

    // A namespace is not kept alive by those who listen in it.
    let inode = lab.client().inode()?;
    drop((path, lab));
    watch.until_it_says("that were stripped on are gone")?;
    wait_until("nobody to follow the namespace", || Ok(!is_followed(inode)?))?;
    watch.end()?;
    ensure!(
        list()?["rules"].as_array().map(Vec::len) == Some(1),
        "{}",
        list()?
    );
    Ok(())
}

/// Whether the pins still speak of a namespace.
fn is_followed(inode: u64) -> Result<bool> {
    let inode = inode.to_string();
    let names = fs::read_dir(PINS)?.flatten();
    Ok(names
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .any(|name| name.contains(&inode)))
}

pub fn guards_and_expiry() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    // It may begin before there is a policy.
    let watch = Watch::start("guards", &[])?;
    ensure!(!Path::new(PINS).exists(), "it makes nothing");
    on(&sandbox, &["--failures", "2", "--of", "2", "--backoff", "1s"])?;
    add(
        sandbox.path(),
        "192.0.2.0/24",
        &["--ttl", "1s", "--note", "for a moment"],
    )?;
    let path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, 0)))?;
    for _ in 0..2 {
        late(&lab, &connect)?;
    }
    watch.until_it_says(&format!(
        "TFO to {} is off: 2 of 2 attempts failed",
        connect.target
    ))?;
    watch.until_it_says("expired rule 1")?;
    drop(path);
    wait_until("TFO to come back", || Ok(is_fast(&connect.run_in(lab.client())?)))?;
    watch.until_it_says(&format!("TFO to {} is on again", connect.target))?;
    watch.end()
}

/// How many rules there are for a cgroup of the sandbox.
fn rules_of(child: &Path) -> Result<usize> {
    let name = child
        .file_name()
        .context("a name")?
        .to_string_lossy()
        .into_owned();
    let list = list()?;
    let rules = list["rules"].as_array().context("rules")?;
    let is_of = |rule: &&serde_json::Value| rule["cgroup"].as_str().is_some_and(|path| path.ends_with(&name));
    Ok(rules.iter().filter(is_of).count())
}

pub fn restarted_services() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let name = sandbox.name()?;
    let (app, late) = (sandbox.child("app"), sandbox.child("late"));
    fs::create_dir(&app)?;
    let text = format!(
        "[[rule]]\ncgroup = \"{name}/app\"\ndst = \"192.0.2.0/24\"\nnote = \"kept\"\n\
         [[rule]]\ncgroup = \"{name}/late\"\ndst = \"192.0.2.0/24\"\n"
    );
    let file = temporary("keep.toml", &text)?;
    let watch = Watch::start("keep", &["--keep", &file])?;
    ensure!(
        rules_of(&app)? == 1,
        "the one that is there is added: {}",
        watch.said()?
    );

    // Restarted: the same name, another cgroup. The one that starts later gets its rule, too.
    fs::remove_dir(&app)?;
    fs::create_dir(&late)?;
    wait_until("the late service's rule", || {
        Ok(rules_of(&late)? == 1 && rules_of(&app)? == 0)
    })?;
    fs::create_dir(&app)?;
    wait_until("the restarted service's rule", || Ok(rules_of(&app)? == 1))?;

    // What is removed by hand stays away, whatever else happens.
    let id = list()?["rules"]
        .as_array()
        .context("rules")?
        .iter()
        .find(|rule| rule["note"] == "kept")
        .and_then(|rule| rule["id"].as_u64())
        .context("its number")?;
    policy::ok(&["policy", "remove", &id.to_string()])?;
    fs::remove_dir(&late)?;
    wait_until("the late service's rule to go", || Ok(rules_of(&late)? == 0))?;
    fs::create_dir(&late)?;
    wait_until("its rule to come back", || Ok(rules_of(&late)? == 1))?;
    ensure!(rules_of(&app)? == 0, "{}", watch.said()?);

    // A file that makes no sense is told, and what it said before stays.
    fs::write(&file, "[[rule]]\nno-such-key = 1\n")?;
    watch.until_it_says("tfo-cli-test-keep.toml: line ")?;
    watch.end()?;
    let gone = std::env::temp_dir()
        .join("tfo-cli-no-such-file")
        .to_string_lossy()
        .into_owned();
    policy::fails(&["policy", "watch", "--keep", &gone], 1).map(drop)
}
