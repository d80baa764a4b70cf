//! After an upgrade: which programs decide, exchanging them while connections are made, and what others could do to the
//! pins.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, Permissions},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _, chown},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, MapData};
use serde_json::Value;
use tfo_common::policy::{LATER, NETS, SWITCHES, Switch, WATCHES};
use tfo_lab::{
    client::{Connect, Family},
    command,
    lab::{DEVICE, Lab},
    middlebox::{Effect, Middlebox, Rule},
};

use crate::{
    enforce::{SENT_AGAIN, at_once, counted, is_fast, late, primed, service},
    policy::{self, PINS, add, add_strip, fails, ok, told},
    support::{sandbox::Sandbox, wait_until},
};

/// Lets the policy look as if another build had loaded its programs: same layout, other code.
fn age() -> Result<()> {
    let mut switches: Array<MapData, u32> = policy::pinned(SWITCHES)?;
    switches.set(Switch::BuildLow as u32, 1, 0)?;
    Ok(switches.set(Switch::BuildHigh as u32, 0, 0)?)
}

/// Numbers of our programs in the kernel.
fn programs() -> BTreeSet<u32> {
    let all = aya::programs::loaded_programs().flatten();
    all.filter(|program| {
        program
            .name_as_str()
            .is_some_and(|name| name.starts_with("tfo_pol"))
    })
    .map(|program| program.id())
    .collect()
}

fn destinations() -> Result<Value> {
    let mut list = policy::guards()?["destinations"].clone();
    for one in list.as_array_mut().context("a list")? {
        // Time goes on.
        one["next_trial_us"] = Value::Null;
    }
    Ok(list)
}

/// Rules, guards and what they know survive; each connection meanwhile finds either the old programs or the new ones:
/// none waits for a SYN to be sent again on a path that eats SYN data.
pub fn no_gap() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_ruled, ruled) = primed(&lab, Family::V4, 0)?;
    let (_guarded, guarded) = primed(&lab, Family::V4, 1)?;
    add(sandbox.path(), "10.77.0.2", &["--note", "stays"])?;
    let path = sandbox.path().to_string_lossy().into_owned();
    ok(&["guard", "on", "--cgroup", &path, "--failures", "1", "--of", "1"])?;
    let _eats: Vec<Middlebox> = [0, 1]
        .into_iter()
        .map(|index| Middlebox::on_path(&lab, &Rule::new(Effect::DropSynData, service(Family::V4, index))))
        .collect::<Result<_>>()?;
    late(&lab, &guarded)?;
    let (listed, states) = (policy::list()?["rules"].clone(), destinations()?);
    ensure!(states[0]["state"] == "open", "{states}");

    ensure!(told(&["policy", "reload"])?.contains("are those of this build"));
    age()?;
    ensure!(
        policy::list()?["programs"]["current"] == false,
        "{}",
        policy::list()?
    );
    ensure!(told(&["policy", "list"])?.contains("of another build of tfo-cli"));
    let before = programs();
    let connect = |done: &AtomicBool, connect: &Connect| -> Result<u32> {
        let mut count = 0;
        while !done.load(Ordering::Relaxed) {
            ensure!(!is_fast(&at_once(&lab, connect)?), "neither rule nor guard");
            count += 1;
        }
        Ok(count)
    };
    let done = AtomicBool::new(false);
    let (counts, again) = counted(&lab, SENT_AGAIN, || {
        thread::scope(|scope| {
            let both = [&ruled, &guarded].map(|one| scope.spawn(|| connect(&done, one)));
            for _ in 0..5 {
                age()?;
                ensure!(told(&["policy", "reload"])?.contains("exchanged the programs"));
            }
            done.store(true, Ordering::Relaxed);
            both.into_iter()
                .map(|one| one.join().expect("it does not panic"))
                .collect::<Result<Vec<u32>>>()
        })
    })?;
    ensure!(
        counts.iter().all(|count| *count > 0) && again == 0,
        "{counts:?}, {again} SYNs again"
    );
    ensure!(
        policy::list()?["programs"]["current"] == true,
        "{}",
        policy::list()?
    );
    let now = policy::list()?["rules"].clone();
    ensure!(
        now[0]["id"] == listed[0]["id"] && now[0]["note"] == "stays",
        "{now}"
    );
    ensure!(
        destinations()?[0]["failures"] == states[0]["failures"],
        "{}",
        destinations()?
    );
    wait_until("the old programs to be freed", || {
        Ok(programs().is_disjoint(&before))
    })
}

/// The option is taken out all the time, with either way to attach.
pub fn strip_has_no_gap() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    add_strip(sandbox.path(), "10.77.0.2", lab.client().label())?;
    let _eats = Middlebox::on_path(&lab, &Rule::new(Effect::DropTfoSyn, service(Family::V4, 0)))?;
    at_once(&lab, &connect)?;
    let before = programs();
    for _ in 0..3 {
        age()?;
        ensure!(told(&["policy", "reload"])?.contains("exchanged the programs"));
        at_once(&lab, &connect)?;
    }
    ensure!(policy::counter("strip_missed")? == 0, "{}", policy::list()?);
    wait_until("the old programs to be freed", || {
        Ok(programs().is_disjoint(&before))
    })?;
    policy::clear()
}

/// See [`strip_has_no_gap`].
pub fn strip_has_no_gap_before_tcx() -> Result<()> {
    policy::before_tcx(strip_has_no_gap)
}

/// An earlier build had fewer maps. What is missing holds nothing that has to be remembered: rules stay, and a reload makes it.
pub fn without_later_maps() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    add(sandbox.path(), "10.77.0.2", &["--note", "stays"])?;
    for name in LATER {
        fs::remove_file(Path::new(PINS).join(name)).context(name)?;
    }
    age()?;
    let rules = policy::list()?["rules"].clone();
    ensure!(rules[0]["note"] == "stays", "{rules}");
    ensure!(!is_fast(&at_once(&lab, &connect)?), "the rule is not in force");
    ensure!(told(&["policy", "reload"])?.contains("exchanged the programs"));
    for name in LATER {
        ensure!(Path::new(PINS).join(name).exists(), "{name} was not made");
    }
    ensure!(policy::list()?["rules"][0]["note"] == "stays", "{rules}");
    ensure!(!is_fast(&at_once(&lab, &connect)?), "the rule is not in force");
    policy::clear()
}

/// A policy in force that lacks a map is another version's, and not what a killed command has left half made: who only looks
/// must not end it.
pub fn lacks_a_map() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    let (_server, connect) = primed(&lab, Family::V4, 0)?;
    add(sandbox.path(), "10.77.0.2", &[])?;
    fs::remove_file(Path::new(PINS).join(NETS)).context(NETS)?;
    let path = sandbox.path().to_string_lossy().into_owned();
    for command in [
        &["policy", "list"][..],
        &["guard", "status"],
        &["policy", "reload"],
        &["policy", "add", "--cgroup", &path, "--dst", "10.77.0.3"],
    ] {
        let said = fails(command, 1)?;
        ensure!(said.contains(NETS) && said.contains("policy flush"), "{said}");
        ensure!(
            !is_fast(&at_once(&lab, &connect)?),
            "{command:?} has ended the policy"
        );
    }
    policy::clear()
}

/// Watches of another version may be longer than those of this one: a flush goes without looking at them.
pub fn longer_watches() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    add(sandbox.path(), "10.77.0.2", &[])?;
    let pin = Path::new(PINS).join(WATCHES);
    fs::remove_file(&pin).context(WATCHES)?;
    let pin = pin.to_string_lossy();
    let sizes = "type array key 4 value 4096 entries 8192 name TFO_POL_WATCHES";
    let args = [
        &["map", "create", &pin][..],
        &sizes.split(' ').collect::<Vec<_>>(),
    ]
    .concat();
    command::run("bpftool", &args)?;
    policy::clear()
}

/// Pins that somebody else could exchange are not used.
pub fn others_cannot_write() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let path = sandbox.path().to_string_lossy().into_owned();
    let args = ["policy", "add", "--cgroup", &path, "--dst", "10.77.0.2"];
    DirBuilder::new().mode(0o700).create(PINS)?;
    for (mode, uid, why) in [
        (0o777, 0, "others may write to it"),
        (0o700, 65_534, "it belongs to uid 65534"),
    ] {
        fs::set_permissions(PINS, Permissions::from_mode(mode))?;
        chown(PINS, Some(uid), None)?;
        let said = fails(&args, 1)?;
        ensure!(said.contains(why) && said.contains("chmod 700"), "{said}");
        ensure!(fs::read_dir(PINS)?.next().is_none(), "something was pinned");
    }
    fs::remove_dir(PINS)?;
    let parent = Path::new(PINS).parent().context("a parent")?;
    let usual = fs::metadata(parent)?.permissions();
    fs::set_permissions(parent, Permissions::from_mode(0o777))?;
    let said = fails(&args, 1);
    fs::set_permissions(parent, usual)?;
    ensure!(said?.contains("others may rename and remove"), "no sticky bit");
    ok(&args)?;
    policy::clear()
}

/// Everybody can open the bpffs; a lock on it keeps nobody from changing the policy.
pub fn others_cannot_lock() -> Result<()> {
    let sandbox = Sandbox::enter()?;
    let held = File::open(Path::new(PINS).parent().context("a parent")?)?;
    held.lock().context("lock")?;
    add(sandbox.path(), "10.77.0.2", &[])?;
    policy::clear()
}

/// One interface whose filter cannot be removed does not keep the rest, and the next flush ends with it.
fn a_stuck_flush_goes_on() -> Result<()> {
    let lab = Lab::up_unique()?;
    let sandbox = Sandbox::enter()?;
    add_strip(sandbox.path(), "10.77.0.2", lab.client().label())?;
    let pins = || -> Result<Vec<String>> {
        let entries = fs::read_dir(PINS)?.flatten();
        Ok(entries
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    };
    let there = pins()?;
    let filter = there.iter().find(|name| name.starts_with("clsact-"));
    let filter = filter.with_context(|| format!("no filter on {DEVICE}: {there:?}"))?;
    let (namespace, _) = filter.rsplit_once('-').context("an interface")?;
    // What cannot be opened, as if it belonged to another interface.
    let stuck = format!("{namespace}-9999");
    DirBuilder::new().create(Path::new(PINS).join(&stuck))?;
    let said = fails(&["policy", "flush"], 1)?;
    ensure!(said.contains("detach the option stripper"), "{said}");
    ensure!(pins()? == [stuck.clone()], "{:?}", pins()?);
    let filters = lab
        .client()
        .command("tc", &["filter", "show", "dev", DEVICE, "egress"])?;
    ensure!(!filters.contains("tfo_pol_strip"), "{filters}");
    fs::remove_dir(Path::new(PINS).join(stuck))?;
    policy::clear()
}

/// See [`a_stuck_flush_goes_on`]: only filters have something that can be stuck.
pub fn a_stuck_flush_goes_on_before_tcx() -> Result<()> {
    policy::before_tcx(a_stuck_flush_goes_on)
}
