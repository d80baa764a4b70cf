//! The commands of the systemd units, run without systemd but with the capabilities of the units: these suffice, each of
//! them is needed, and stopping leaves nothing behind.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use tfo_lab::{client::Family, command, lab::Lab, netns::Namespace};

use crate::{
    enforce::{is_fast, primed},
    files::temporary,
    policy::{self, PINS, add, add_strip},
    support::{BINARY, NO_CONFIG, ground::temporary_directory, sandbox::Sandbox},
    watch::Watch,
};

const UNIT: &str = include_str!("../../dist/tfo-cli-policy.service");
/// The unit of `policy watch`.
const WATCH: &str = include_str!("../../dist/tfo-cli-policy-watch.service");
/// What the unit calls the program and the file.
const INSTALLED: &str = "/usr/bin/tfo-cli";
const FILE: &str = "/etc/tfo-cli/policy.toml";

/// The value of a setting, which a unit has once.
fn setting(unit: &'static str, name: &str) -> Result<&'static str> {
    let values: Vec<_> = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='))
        .collect();
    match values[..] {
        [value] => Ok(value),
        _ => bail!("{name} is there {} times", values.len()),
    }
}

/// Capabilities a unit leaves, as `setpriv` names them.
fn capabilities(unit: &'static str) -> Result<Vec<String>> {
    let names = setting(unit, "CapabilityBoundingSet")?.split_whitespace();
    names
        .map(|name| {
            let name = name.strip_prefix("CAP_").with_context(|| name.to_owned())?;
            Ok(name.to_lowercase())
        })
        .collect()
}

/// Runs the command of a setting as the unit would, with these capabilities and not one more, in the lab: rules that
/// strip concern the interfaces of the namespace they are applied in.
fn run(lab: &Lab, setting_name: &str, file: &str, capabilities: &[String]) -> Result<Output> {
    let mut command = command_of(UNIT, setting_name, file, capabilities)?;
    lab.in_client(|| {
        command
            .envs(NO_CONFIG)
            .stdin(Stdio::null())
            .output()
            .context("setpriv")
    })
}

fn command_of(
    unit: &'static str,
    setting_name: &str,
    file: &str,
    capabilities: &[String],
) -> Result<Command> {
    ensure!(
        setting(unit, "NoNewPrivileges")? == "yes",
        "the unit may gain privileges"
    );
    let line = setting(unit, setting_name)?;
    let mut words = line.split_whitespace();
    ensure!(words.next() == Some(INSTALLED), "{line}");
    let bounding = capabilities.join(",+");
    let mut command = Command::new("setpriv");
    command
        .arg(format!("--bounding-set=-all,+{bounding}"))
        .args(["--no-new-privs", "--", BINARY])
        .args(words.map(|word| if word == FILE { file } else { word }));
    Ok(command)
}

fn succeeds(lab: &Lab, setting_name: &str, file: &str) -> Result<()> {
    let output = run(lab, setting_name, file, &capabilities(UNIT)?)?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{setting_name}: {}: {stderr}",
        output.status
    );
    Ok(())
}

/// Two rules, one for a service that does not run, and a guard that escalates.
fn policy_file(sandbox: &Sandbox, action: &str) -> Result<String> {
    let name = sandbox.name()?;
    temporary(
        "unit.toml",
        &format!(
            "[[rule]]\ncgroup = \"{name}\"\ndst = \"10.77.0.2\"\n\
             [[rule]]\ncgroup = \"{name}\"\ndst = \"198.51.100.0/24\"\naction = \"{action}\"\n\
             [[rule]]\nunit = \"no-such.service\"\ndst = \"::/0\"\n\
             [[guard]]\ncgroup = \"{name}\"\nescalate = true\n"
        ),
    )
}

pub fn starts_reloads_and_stops() -> Result<()> {
    if !command::is_installed("setpriv") {
        println!("skipped: needs setpriv");
        return Ok(());
    }
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let fast = || -> Result<bool> { Ok(is_fast(&connect.run_in(lab.client())?)) };
    let file = policy_file(&sandbox, "observe")?;
    ensure!(fast()?, "nothing is in force yet");

    succeeds(&lab, "ExecStart", &file)?;
    ensure!(!fast()?, "started, and not in force");
    let second = |action: &str| -> Result<()> {
        let list = policy::list()?;
        ensure!(
            list["rules"].as_array().map(Vec::len) == Some(2) && list["rules"][1]["action"] == action,
            "{list}"
        );
        Ok(())
    };
    second("observe")?;
    policy_file(&sandbox, "strip")?;
    succeeds(&lab, "ExecReload", &file)?;
    second("strip")?;
    ensure!(!fast()?, "reloaded, and not in force");
    fs::write(&file, "")?;
    succeeds(&lab, "ExecReload", &file)?;
    ensure!(
        !Path::new(PINS).exists(),
        "a file that lists nothing leaves something"
    );
    policy_file(&sandbox, "strip")?;
    succeeds(&lab, "ExecStart", &file)?;
    second("strip")?;
    succeeds(&lab, "ExecStop", &file)?;
    ensure!(!Path::new(PINS).exists(), "stopped, and {PINS} is left");
    ensure!(fast()?, "stopped, and still in force");
    // Stopping twice does no harm.
    succeeds(&lab, "ExecStop", &file)
}

/// A process that keeps a network namespace without a name alive, as those of containers do.
struct Holder(Child);

impl Holder {
    fn start() -> Result<Self> {
        let namespace = Namespace::anonymous("held")?;
        let hold = || Command::new("sleep").arg("600").spawn().context("sleep");
        namespace.run(hold).map(Self)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The rights are enough to apply a file while the option is stripped in somebody else's namespace, and each of
/// them is needed: without `CAP_SYS_PTRACE` that namespace is not seen.
pub fn has_the_rights_it_needs() -> Result<()> {
    if !command::is_installed("setpriv") {
        println!("skipped: needs setpriv");
        return Ok(());
    }
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let holder = Holder::start()?;
    let netns = holder.0.id().to_string();
    let file = policy_file(&sandbox, "strip")?;
    let works = |capabilities: &[String]| -> Result<(bool, String)> {
        policy::clear()?;
        add_strip(sandbox.path(), "198.51.100.0/24", &netns)?;
        let output = run(&lab, "ExecStart", &file, capabilities)?;
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let is_whole = !stderr.contains("are gone") && !stderr.contains("not stripping");
        Ok((output.status.success() && is_whole, stderr))
    };
    let all = capabilities(UNIT)?;
    let (enough, said) = works(&all)?;
    ensure!(enough, "{all:?}: {said}");
    for one in &all {
        let others: Vec<_> = all.iter().filter(|name| *name != one).cloned().collect();
        ensure!(!works(&others)?.0, "it works without {one}");
    }
    Ok(())
}

/// With its rights the companion adds what the file lists, leaves somebody else's namespace alone, and strips on an
/// interface that comes up.
pub fn watch_has_the_rights_it_needs() -> Result<()> {
    if !command::is_installed("setpriv") {
        println!("skipped: needs setpriv");
        return Ok(());
    }
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let holder = Holder::start()?;
    add(
        sandbox.path(),
        "203.0.113.0/24",
        &["--action", "strip", "--netns", &holder.0.id().to_string()],
    )?;
    let file = policy_file(&sandbox, "strip")?;
    let command = command_of(WATCH, "ExecStart", &file, &capabilities(WATCH)?)?;
    let watch = lab.in_client(|| Watch::spawn("unit", command))?;
    watch.until_it_says("added strip for")?;
    let link = |args: &[&str]| lab.client().command("ip", args).map(drop);
    link(&["link", "add", "late0", "type", "veth", "peer", "name", "late1"])?;
    link(&["link", "set", "late0", "up"])?;
    watch.until_it_says("stripping on late0")?;
    let said = watch.said()?;
    ensure!(
        !said.contains("are gone") && !said.contains("not stripping"),
        "{said}"
    );
    ensure!(
        policy::list()?["rules"].as_array().map(Vec::len) == Some(3),
        "{}",
        policy::list()?
    );
    watch.end()
}

pub fn systemd_takes_it() -> Result<()> {
    if !command::is_installed("systemd-analyze") {
        println!("skipped: needs systemd-analyze");
        return Ok(());
    }
    let directory = temporary_directory()?;
    let checked = [
        ("tfo-cli-policy.service", UNIT),
        ("tfo-cli-policy-watch.service", WATCH),
    ]
    .map(|(name, text)| {
        // The file's name is that of the unit. The manual comes with the package.
        let path = directory.join(name);
        fs::write(&path, text.replace(INSTALLED, BINARY))?;
        Command::new("systemd-analyze")
            .args(["verify", "--man=no", "--recursive-errors=no"])
            .arg(&path)
            .stdin(Stdio::null())
            .output()
    });
    fs::remove_dir_all(&directory)?;
    for output in checked {
        let output = output.context("systemd-analyze")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            output.status
        );
    }
    Ok(())
}
