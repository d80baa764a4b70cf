//! `cargo xtask profile`: counts which blocks of the programs healthy connections run, and writes `tfo-ebpf/profile.txt`, by which
//! every build puts these together.
//!
//! Nothing is timed: the programs count by themselves, so two profiles of one build hardly differ.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::build;
use crate::bench::bpftool::bpftool;
use crate::bench::load::{Kind, Shape};
use crate::bench::observer::{Observer, Tool};
use crate::bench::policy::{Rules, Stage};
use crate::bpf_object::{self, CountingProgram, LAST_RANK, Log, Profile, Rank, Warnings};
use crate::{install, interrupt, packages, process};

/// A block that fewer than one in so many runs of its program go through is rare.
const RARE: u64 = 20;
/// What a program was run less often than says nothing.
const LEAST_RUNS: u64 = 1_000;
/// Connections per second: more would wait for each other and for those who read their records.
const RATE: u32 = 10_000;
const SECONDS: u32 = 3;
/// Kinds of connections.
const KINDS: [Kind; 2] = [Kind::Tfo, Kind::Plain];
/// The map of the counters, as aya names it.
const COUNTERS: &str = ".data";

/// Of each program and each of its blocks, which kinds of connections ran it often: one bit each.
type Often = BTreeMap<String, Vec<u8>>;

pub fn run() -> Result<()> {
    ensure!(
        process::is_root(),
        "`cargo xtask profile` builds programs and attaches them: run it as root"
    );
    packages::ensure(&[packages::User::Bench])?;
    let toolchain = install::ensure_toolchain()?;
    let objects = bpf_object::build_counting(&toolchain)?;
    build::programs()?;
    let stage = Stage::enter()?;
    let [observer, policy] = &objects[..] else {
        anyhow::bail!("two objects were expected");
    };
    let mut often = Often::new();
    until_gone()?;
    for tool in [Tool::Trace, Tool::Top] {
        let watching = Observer::start(tool)?;
        count(&mut often, observer, 0)?;
        watching.stop()?;
        until_gone()?;
        println!("    {}", tool.name());
    }
    for (index, rules) in [Rules::Guard, Rules::One].into_iter().enumerate() {
        let in_force = stage.enforce(rules)?;
        count(&mut often, policy, index * KINDS.len())?;
        drop(in_force);
        until_gone()?;
        println!("    {}", rules.name());
    }
    let profile = profile(&objects, &often);
    let file = bpf_object::profile_file();
    fs::write(&file, profile.text()).with_context(|| format!("cannot write {}", file.display()))?;
    println!("==> {}: {} programs", file.display(), profile.0.len());
    // In the place of those that count.
    bpf_object::build(&toolchain, Warnings::Show, Log::No)?;
    build::programs()
}

/// Has connections made of each kind while the programs of an object are attached, and notes what they ran. `first`: the bit of the
/// first kind.
fn count(often: &mut Often, programs: &[CountingProgram], first: usize) -> Result<()> {
    for (index, kind) in KINDS.into_iter().enumerate() {
        for load in [Shape::both_ends(kind, SECONDS), Shape::fastest(kind, SECONDS)] {
            let before = counters()?;
            load.at_rate(RATE).run()?;
            note(often, programs, 1 << (first + index), &before, &counters()?);
        }
    }
    Ok(())
}

/// The maps with counters, by id.
fn maps() -> Result<Vec<u64>> {
    let maps = bpftool(&["map", "show"])?;
    let maps = maps.as_array().context("bpftool map show: no list")?;
    let counters = maps.iter().filter(|map| map["name"] == COUNTERS);
    Ok(counters.filter_map(|map| map["id"].as_u64()).collect())
}

/// The kernel frees maps after the programs that used them, in the background.
fn until_gone() -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !maps()?.is_empty() {
        ensure!(
            Instant::now() < deadline,
            "a map {COUNTERS} stays: who else has one loaded?"
        );
        interrupt::sleep(Duration::from_millis(50))?;
    }
    Ok(())
}

/// What the counters of the one object that is loaded say.
fn counters() -> Result<Vec<u64>> {
    let [id] = maps()?[..] else {
        anyhow::bail!("not one map is called {COUNTERS}: only the programs that count may be loaded");
    };
    let dumped = bpftool(&["map", "dump", "id", &id.to_string()])?;
    let bytes = dumped[0]["value"]
        .as_array()
        .context("bpftool map dump: no value")?;
    let bytes: Vec<u8> = bytes.iter().filter_map(byte).collect();
    ensure!(
        bytes.len().is_multiple_of(size_of::<u64>()) && !bytes.is_empty(),
        "counters that are none"
    );
    let number = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
    Ok(bytes.chunks_exact(size_of::<u64>()).map(number).collect())
}

/// `"0x1f"`.
fn byte(value: &Value) -> Option<u8> {
    u8::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

/// Notes which blocks connections of a kind (a bit) have run often.
fn note(often: &mut Often, programs: &[CountingProgram], kind: u8, before: &[u64], after: &[u64]) {
    let count = |counter: usize| {
        let at = |counters: &[u64]| counters.get(counter).copied().unwrap_or(0);
        at(after).wrapping_sub(at(before))
    };
    for program in programs {
        let counts = program.blocks.iter().map(|(_, counter)| counter.map(count));
        let counts: Vec<Option<u64>> = counts.collect();
        // Where the first has no counter, whatever was run most.
        let first = counts.first().copied().flatten();
        let most = || counts.iter().flatten().max().copied();
        let runs = first.or_else(most).unwrap_or(0);
        if runs < LEAST_RUNS {
            continue;
        }
        let blocks = often
            .entry(program.name.clone())
            .or_insert_with(|| vec![0; counts.len()]);
        for (often, count) in blocks.iter_mut().zip(counts) {
            if count.is_none_or(|count| count * RARE >= runs) {
                *often |= kind;
            }
        }
    }
}

fn profile(objects: &[Vec<CountingProgram>], often: &Often) -> Profile {
    let programs: HashMap<&str, &CountingProgram> = objects
        .iter()
        .flatten()
        .map(|program| (program.name.as_str(), program))
        .collect();
    let blocks = |(name, often): (&String, &Vec<u8>)| {
        let program = programs.get(name.as_str())?;
        let lines = program.blocks.iter().map(|(line, _)| *line);
        Some((name.clone(), lines.zip(ranks(often)).collect()))
    };
    Profile(often.iter().filter_map(blocks).collect())
}

/// The ranks of blocks by the kinds of connections that run them: what more kinds run comes before what fewer do.
fn ranks(often: &[u8]) -> Vec<Rank> {
    let mut sets: Vec<u8> = often.iter().copied().filter(|kinds| *kinds != 0).collect();
    sets.sort_unstable_by_key(|kinds| (Reverse(kinds.count_ones()), *kinds));
    sets.dedup();
    let rank = |kinds: &u8| {
        let rank = sets.iter().position(|set| set == kinds)?;
        Some(u8::try_from(rank).unwrap_or(LAST_RANK).min(LAST_RANK))
    };
    often.iter().map(rank).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs() -> Vec<CountingProgram> {
        let blocks = vec![
            ((1, 1), Some(0)),
            ((2, 1), Some(1)),
            ((3, 1), None),
            ((4, 1), Some(2)),
        ];
        vec![CountingProgram {
            name: "tfo_connect".to_owned(),
            blocks,
        }]
    }

    #[test]
    fn what_one_in_twenty_runs_go_through_is_run_often() {
        let mut often = Often::new();
        note(&mut often, &programs(), 1, &[5, 0, 0], &[100_005, 5_000, 4_999]);
        assert_eq!(often["tfo_connect"], [1, 1, 1, 0]);
        // By another kind.
        note(&mut often, &programs(), 2, &[0, 0, 0], &[2_000, 0, 2_000]);
        assert_eq!(often["tfo_connect"], [3, 1, 3, 2]);
    }

    #[test]
    fn what_hardly_ran_says_nothing() {
        let mut often = Often::new();
        note(&mut often, &programs(), 1, &[0, 0, 0], &[999, 999, 999]);
        assert!(often.is_empty());
    }

    #[test]
    fn what_the_same_kinds_run_has_one_rank() {
        assert_eq!(
            ranks(&[3, 1, 3, 2, 0, 7]),
            [Some(1), Some(2), Some(1), Some(3), None, Some(0)]
        );
        assert_eq!(ranks(&[0, 0]), [None; 2]);
    }

    #[test]
    fn a_profile_names_what_was_run() {
        let often = Often::from([("tfo_connect".to_owned(), vec![3, 0, 3, 2])]);
        let profile = profile(&[programs()], &often);
        let want = [
            ((1, 1), Some(0)),
            ((2, 1), None),
            ((3, 1), Some(0)),
            ((4, 1), Some(1)),
        ];
        assert_eq!(profile.0["tfo_connect"], want);
    }

    #[test]
    fn a_byte_is_read_as_bpftool_writes_it() {
        assert_eq!(byte(&Value::from("0x1f")), Some(31));
        assert_eq!((byte(&Value::from("1f")), byte(&Value::from(7))), (None, None));
    }
}
