//! Functions that run the commands under test and return what they print as values.

use std::{
    fs,
    mem::offset_of,
    path::Path,
    process::{Command, Output, Stdio},
    sync::atomic::{AtomicBool, Ordering},
};

use anyhow::{Context, Result, bail, ensure};
use aya::maps::{Array, Map, MapData, MapError};
use nix::mount::{MsFlags, mount, umount};
use serde_json::Value;
use tfo_common::{
    guard::{Birth, Watch},
    policy::{BIRTHS, LEARNED, Learned, WATCHES},
};

use crate::support::{BINARY, NO_CONFIG, schema};

/// The directory of the pins.
pub const PINS: &str = "/sys/fs/bpf/tfo-cli";

/// Where the number of the last rule is kept beyond the policy.
pub const LAST_RULE: &str = "/run/tfo-cli/last-rule";

/// Directory of it.
const NUMBERS: &str = "/run/tfo-cli";

/// A directory for the number of the last rule in this mount namespace alone: that of the host is left as it is.
pub fn own_numbers() -> Result<()> {
    if !Path::new(NUMBERS).exists() {
        fs::create_dir(NUMBERS).context(NUMBERS)?;
    }
    mount(
        Some("tmpfs"),
        NUMBERS,
        Some("tmpfs"),
        MsFlags::empty(),
        Some("mode=700"),
    )
    .context(NUMBERS)
}

/// Ends that; a directory that was made for it goes, one with the host's number in it stays.
pub fn give_numbers_back() {
    // What fails is only a directory that stays.
    let _ = umount(NUMBERS).map(|()| fs::remove_dir(NUMBERS));
}

/// The number of the newest rule.
pub fn newest() -> Result<String> {
    let list = list()?;
    let rules = list["rules"].as_array().context("no rules")?;
    let newest = rules.iter().filter_map(|rule| rule["id"].as_u64()).max();
    Ok(newest.with_context(|| format!("no rule: {list}"))?.to_string())
}

/// Whether commands are to treat this kernel as one without TCX.
static BEFORE_TCX: AtomicBool = AtomicBool::new(false);

/// Lets everything within use filters of clsact where it would use TCX.
pub fn before_tcx(test: fn() -> Result<()>) -> Result<()> {
    BEFORE_TCX.store(true, Ordering::Relaxed);
    let result = test();
    BEFORE_TCX.store(false, Ordering::Relaxed);
    result
}

/// Runs `tfo-cli` and returns what it did, whatever that was.
pub fn run(args: &[&str]) -> Result<Output> {
    let before_tcx = BEFORE_TCX.load(Ordering::Relaxed);
    Command::new(BINARY)
        .args(args)
        .envs(NO_CONFIG)
        .envs(before_tcx.then_some(("TFO_NO_TCX", "1")))
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{BINARY}: starting it"))
}

/// Runs it, expects success and returns stdout.
pub fn ok(args: &[&str]) -> Result<String> {
    let output = run(args)?;
    ensure!(
        output.status.success(),
        "{args:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs it, expects this exit code and returns stderr.
pub fn fails(args: &[&str], code: i32) -> Result<String> {
    let output = run(args)?;
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.code() == Some(code),
        "{args:?}: {}, not {code}: {stderr}",
        output.status
    );
    Ok(stderr)
}

/// Runs it, expects success and returns stderr: what it tells of changes.
pub fn told(args: &[&str]) -> Result<String> {
    fails(args, 0)
}

/// Adds a rule that strips, in a namespace by its name or a process of it.
pub fn add_strip(cgroup: &Path, dst: &str, netns: &str) -> Result<()> {
    add(cgroup, dst, &["--action", "strip", "--netns", netns])
}

/// Adds a rule for a cgroup.
pub fn add(cgroup: &Path, dst: &str, more: &[&str]) -> Result<()> {
    let path = cgroup.to_string_lossy();
    let mut args = vec!["policy", "add", "--cgroup", &path, "--dst", dst];
    args.extend(more);
    ok(&args).map(drop)
}

/// `policy list --format json`.
pub fn list() -> Result<Value> {
    json(&["policy", "list", "--format", "json"])
}

/// Runs it and returns the object it prints, which is as docs/schema-1.json says.
pub fn json(args: &[&str]) -> Result<Value> {
    let value = serde_json::from_str(&ok(args)?)?;
    schema::check(&value);
    Ok(value)
}

/// `guard status --format json`.
pub fn guards() -> Result<Value> {
    json(&["guard", "status", "--format", "json"])
}

/// A counter of `policy list`.
pub fn counter(name: &str) -> Result<u64> {
    list()?["counters"][name]
        .as_u64()
        .with_context(|| format!("counter {name}"))
}

/// A pinned map of the policy in force.
pub fn pinned<M: TryFrom<Map, Error = MapError>>(name: &str) -> Result<M> {
    let map = MapData::from_pin(Path::new(PINS).join(name)).and_then(Map::from_map_data);
    map.and_then(M::try_from).with_context(|| name.to_owned())
}

/// How many handshakes that guards watch have a callback flag of ours.
pub fn flagged() -> Result<usize> {
    let watches: Array<MapData, [u64; size_of::<Watch>() / 8]> = pinned(WATCHES)?;
    let word = |at: usize, words: &[u64]| words.get(at / 8).copied().unwrap_or(0).to_ne_bytes()[at % 8];
    let births: Array<MapData, u64> = pinned(BIRTHS)?;
    let mut flagged = 0;
    for birth in births.iter() {
        flagged += usize::from(Birth::of_word(birth?).asked());
    }
    for watch in watches.iter() {
        let watch = watch?;
        let is_there = watch[offset_of!(Watch, sk) / 8] != 0;
        flagged += usize::from(is_there && word(offset_of!(Watch, added), &watch) != 0);
    }
    Ok(flagged)
}

/// Whether a mark was ever made for a socket: from then on each one that connects is looked up.
pub fn were_marks_made() -> Result<bool> {
    let learned: Array<MapData, [u32; 4]> = pinned(LEARNED)?;
    let words = learned.get(&0, 0)?;
    Ok(words[offset_of!(Learned, marked) / 4] != 0)
}

/// Hits of the rule for a destination.
pub fn hits(dst: &str) -> Result<u64> {
    let list = list()?;
    let rules = list["rules"].as_array().context("no rules")?;
    match rules.iter().find(|rule| rule["dst"] == dst) {
        Some(rule) => rule["hits"].as_u64().context("hits"),
        None => bail!("no rule for {dst}: {list}"),
    }
}

/// Removes everything and checks that it is gone.
pub fn clear() -> Result<()> {
    ok(&["policy", "flush"])?;
    ensure!(!Path::new(PINS).exists(), "{PINS} is left behind");
    Ok(())
}
