//! The dashboard on a real terminal: keys change rules with `--allow-policy`, and only with it.

use std::{
    fs::{DirBuilder, File},
    mem::offset_of,
    os::unix::fs::DirBuilderExt as _,
    path::Path,
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{HashMap, MapData};
use serde_json::Value;
use tfo_cli::kernel::policy::{guard_state, in_force};
use tfo_common::{
    DestKey,
    guard::{GuardKey, GuardState},
    policy::{MAX_STATES, NETS, STATES},
};
use tfo_lab::{
    client::{Connect, Family},
    lab::Lab,
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{at_once, is_fast, late, primed, service},
    guards,
    policy::{self, PINS, add},
    pty::OnTerminal,
    support::{sandbox::Sandbox, wait_until},
};

/// The only rule there is.
fn rule() -> Result<Value> {
    let rules = policy::list()?["rules"].clone();
    match rules.as_array().map(Vec::as_slice) {
        Some([rule]) => Ok(rule.clone()),
        _ => anyhow::bail!("not one rule: {rules}"),
    }
}

fn number(rule: &Value, name: &str) -> Result<u64> {
    rule[name].as_u64().with_context(|| format!("{name} of {rule}"))
}

/// A dashboard on the sandbox that shows its first frame.
fn dashboard(name: &str, sandbox: &Sandbox, flags: &[&str]) -> Result<OnTerminal> {
    let path = sandbox.path().to_string_lossy().into_owned();
    let mut arguments = vec!["top", "--cgroup", &path, "--interval", "200ms"];
    arguments.extend(flags);
    let dashboard = OnTerminal::start(name, &arguments)?;
    dashboard.await_text("q quit")?;
    Ok(dashboard)
}

/// Programs of the observer that the kernel holds at present.
fn observers() -> usize {
    let is_observer = |program: &aya::programs::ProgramInfo| {
        let name = program.name_as_str().unwrap_or_default();
        name.starts_with("tfo_") && !name.starts_with("tfo_pol")
    };
    aya::programs::loaded_programs()
        .flatten()
        .filter(is_observer)
        .count()
}

pub fn changes_rules() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let address = service(Family::V4, 0);
    let dst = format!("{address}/32");
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, address))?;
    let before = observers();

    let mut top = dashboard(
        "allowed",
        &sandbox,
        &["--allow-policy", "--filter", "role:client"],
    )?;
    top.await_text("ALLOW-POLICY")?;
    late(&lab, &connect)?;
    top.await_text("syn-timeout")?;
    top.press("a")?;
    top.await_text("Add a rule")?;
    top.press("\r")?;
    top.await_text("1 to add, 0 to change, 0 to remove, 0 unchanged")?;
    ensure!(!Path::new(PINS).exists(), "it was only planned");
    top.press("y")?;
    top.await_text("added no-data for")?;
    let added = rule()?;
    let port = connect.target.port();
    ensure!(
        added["cgroup"] == sandbox.name()?
            && added["dst"] == dst
            && added["ports"] == serde_json::json!([[port, port]])
            && added["action"] == "no-data"
            && added["note"] == "tfo-cli top"
            && number(&added, "ttl_us")? == 3_600_000_000,
        "{added}"
    );
    ensure!(!is_fast(&at_once(&lab, &connect)?), "the rule denies");

    // Its page shows the rule, and who denied.
    top.press("\r")?;
    top.await_text("policy in force: rule 1, no-data for")?;
    top.await_text("denied 1: rule 1 withholds SYN data")?;

    // What changes between the plan and the answer is noticed.
    top.press("x")?;
    top.await_text("End of the rule in force")?;
    top.press("\r")?;
    top.await_text("0 to add, 1 to change, 0 to remove, 0 unchanged")?;
    add(sandbox.path(), "192.0.2.0/24", &[])?;
    top.press("y")?;
    top.await_text("the policy has changed since the plan was shown")?;
    policy::ok(&["policy", "remove", "2"])?;
    ensure!(number(&rule()?, "left_us")? > 3_000_000_000, "{}", rule()?);
    top.press("x")?;
    top.await_text("End of the rule in force")?;
    top.press("\r")?;
    top.await_text("0 to add, 1 to change, 0 to remove, 0 unchanged")?;
    top.press("y")?;
    top.await_text("changed rule 1")?;
    let expiring = rule()?;
    ensure!(
        number(&expiring, "left_us")? <= 600_000_000
            && expiring["id"] == 1
            && expiring["note"] == "tfo-cli top",
        "{expiring}"
    );

    // Whatever is not yes is no.
    top.press("d")?;
    top.await_text("0 to add, 0 to change, 1 to remove, 0 unchanged")?;
    top.press("n")?;
    top.await_no_text("1 to remove")?;
    ensure!(rule()?["id"] == 1, "it was not confirmed");
    top.press("d")?;
    top.await_text("0 to add, 0 to change, 1 to remove, 0 unchanged")?;
    top.press("y")?;
    top.await_text("removed rule 1")?;
    ensure!(!Path::new(PINS).exists(), "the last rule takes everything along");
    late(&lab, &connect)?;

    // Another one stays when the dashboard goes, and what was done is told then.
    top.press("a")?;
    top.await_text("Add a rule")?;
    top.press("\r")?;
    top.await_text("1 to add")?;
    top.press("y")?;
    top.await_text("added no-data for")?;
    top.press("qq")?;
    let said = top.ended()?;
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("tfo-cli: policy:"))
        .collect();
    let told = [
        "added no-data",
        "changed rule 1",
        "removed rule 1",
        "added no-data",
    ];
    ensure!(
        lines.len() == told.len() && lines.iter().zip(told).all(|(line, part)| line.contains(part)),
        "{said}"
    );
    ensure!(rule()?["dst"] == dst, "{}", rule()?);
    ensure!(!is_fast(&at_once(&lab, &connect)?), "still in force");
    wait_until("the observer to be gone", || Ok(observers() <= before))
}

/// The dashboard goes on while another command holds the lock, and quitting waits for a change that has begun.
pub fn waits_for_others() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let mut top = dashboard("waits", &sandbox, &["--allow-policy", "--filter", "role:client"])?;
    at_once(&lab, &connect)?;
    top.await_text("accepted")?;
    let lock = || -> Result<File> {
        // As a command that is about to add the first rule.
        DirBuilder::new().mode(0o700).create(PINS)?;
        let file = File::open(PINS)?;
        file.lock().context("lock")?;
        Ok(file)
    };

    let held = lock()?;
    top.press("d")?;
    top.await_text("Looking at the policy")?;
    // Not an answer: the plan is not there.
    top.press("y")?;
    at_once(&lab, &connect)?;
    top.await_text("client      2 tried")?;
    drop(held);
    top.await_text("no rule decides on connections of")?;

    let held = lock()?;
    top.press("d")?;
    top.await_text("Looking at the policy")?;
    top.press("\x1b")?;
    top.await_no_text("Looking at the policy")?;
    top.press("q")?;
    top.await_said("waiting for what is under way")?;
    drop(held);
    top.ended()?;
    ensure!(!Path::new(PINS).exists(), "nothing was to be done");
    Ok(())
}

pub fn only_looks_without_the_flag() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    let address = service(Family::V4, 0);
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, address))?;
    let mut top = dashboard("read-only", &sandbox, &["--filter", "role:client"])?;
    late(&lab, &connect)?;
    top.await_text("syn-timeout")?;
    for installed in [false, true] {
        if installed {
            add(sandbox.path(), &address.to_string(), &["--note", "by hand"])?;
        }
        let before = policy::list()?;
        for key in ["a", "x", "d"] {
            // Sorting and turning around again takes the last message away.
            top.press("SS")?;
            top.await_no_text("--allow-policy")?;
            top.press(key)?;
            top.await_text("start `tfo-cli top --allow-policy`")?;
            top.press("\r")?;
            top.await_text("policy in force:")?;
            top.press("y\x1b")?;
            top.await_no_text("policy in force:")?;
        }
        ensure!(policy::list()? == before, "{before}, {}", policy::list()?);
        ensure!(Path::new(PINS).exists() == installed, "{PINS}");
    }
    top.press("q")?;
    let said = top.ended()?;
    ensure!(!said.contains("policy:"), "{said}");
    ensure!(rule()?["note"] == "by hand", "{}", rule()?);
    Ok(())
}

pub fn shows_the_guard() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V6, 0)?;
    let mut top = dashboard("guard", &sandbox, &["--filter", "role:client"])?;
    guards::on(&sandbox, &["--failures", "2", "--of", "3"])?;
    ensure!(is_fast(&at_once(&lab, &connect)?), "closed: TFO goes through");
    top.await_text("accepted")?;
    top.press("\r")?;
    top.await_text("2 failures of 3, back-off 10m to 1d; closed, nothing has failed here")?;
    let _path = Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V6, 0)))?;
    for _ in 0..2 {
        late(&lab, &connect)?;
    }
    at_once(&lab, &connect)?;
    top.await_text("STATE open  ACTION no-data  FAILED 2/")?;
    top.await_text("DENIED 1  SAVED")?;
    top.await_text(&format!(
        "denied 1: the guard on {} withholds SYN data",
        sandbox.name()?
    ))?;
    policy::clear()?;
    // The policy is read every few seconds only.
    top.await_text("policy in force: no rule, no guard")?;
    top.press("qq")?;
    top.ended().map(drop)
}

/// The page of a destination says that the guard is open for the network in front of it.
pub fn shows_the_network(sandbox: &Sandbox, lab: &Lab, connect: &Connect) -> Result<()> {
    let remote = connect.target.ip().to_string();
    let mut top = dashboard(
        "network",
        sandbox,
        &["--filter", &format!("role:client dst:{remote}")],
    )?;
    ensure!(!is_fast(&at_once(lab, connect)?), "the network is open");
    top.await_text("denied")?;
    top.press("\r")?;
    top.await_text("open for all from 10.77.0.1")?;
    top.await_text("withholds SYN data of everything from 10.77.0.1")?;
    top.press("qq")?;
    top.ended().map(drop)
}

/// One lookup finds a destination among as many as there may be. Times are printed, not asserted.
pub fn looking_is_cheap() -> Result<()> {
    const LOOKS: u32 = 1_000;
    const NET: u64 = 1;
    let sandbox = Sandbox::enter()?;
    guards::on(&sandbox, &[])?;
    let guard = sandbox.id()?;
    let mut states: HashMap<MapData, [u8; size_of::<GuardKey>()], [u8; size_of::<GuardState>()]> =
        policy::pinned(STATES)?;
    let dest = |index: u32| {
        let mut remote = [0; 16];
        remote[..4].copy_from_slice(&(0x0a00_0000 | index).to_be_bytes());
        DestKey {
            cgroup_id: guard,
            remote,
            port: 443,
            role: 0,
            family: 4,
            pad: 0,
        }
    };
    let mut nets: HashMap<MapData, u64, u32> = policy::pinned(NETS)?;
    nets.insert(NET, 0, 0)?;
    for index in 0..MAX_STATES {
        let dest = dest(index);
        let mut key = [0; size_of::<GuardKey>()];
        let mut put = |at: usize, bytes: &[u8]| key[at..at + bytes.len()].copy_from_slice(bytes);
        put(offset_of!(GuardKey, cgroup), &guard.to_ne_bytes());
        put(offset_of!(GuardKey, own), &dest.cgroup_id.to_ne_bytes());
        put(offset_of!(GuardKey, net), &NET.to_ne_bytes());
        put(offset_of!(GuardKey, addr), &dest.remote);
        put(offset_of!(GuardKey, port), &dest.port.to_ne_bytes());
        put(offset_of!(GuardKey, family), &[dest.family]);
        let mut state = [0; size_of::<GuardState>()];
        let window = offset_of!(GuardState, window);
        state[window..window + 4].copy_from_slice(&index.to_ne_bytes());
        states.insert(key, state, 0)?;
    }
    // The map is an LRU: the earliest may have given way, the last has not.
    let last = MAX_STATES - 1;
    let (pins, local) = (Path::new(PINS), dest(MAX_STATES).remote);
    let found = guard_state(pins, guard, &dest(last), &[local])?.context("the last one is there")?;
    ensure!(
        found.state.window == last && found.addr.to_string() == "10.0.255.255" && found.port == 443,
        "{found:?}"
    );
    ensure!(
        guard_state(pins, guard, &dest(MAX_STATES), &[local])?.is_none(),
        "nobody put it there"
    );
    ensure!(
        guard_state(pins, guard + 1, &dest(last), &[local])?.is_none(),
        "another guard's"
    );
    let begun = Instant::now();
    for _ in 0..LOOKS {
        guard_state(pins, guard, &dest(last), &[local])?;
    }
    let state = begun.elapsed() / LOOKS;
    let begun = Instant::now();
    for _ in 0..LOOKS {
        in_force(pins, |_| None)?;
    }
    println!(
        "  of {MAX_STATES} destinations one is looked up in {state:?}; rules and guards (0 and 1) are read in {:?}",
        begun.elapsed() / LOOKS
    );
    Ok(())
}
