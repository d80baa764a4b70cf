//! Compiles `tfo-ebpf` for the BPF target, puts the blocks of its programs in the order that costs least, and the objects where
//! tfo-cli's build script embeds them.
//!
//! | module | has |
//! |---|---|
//! | `code` | instructions and the blocks they form |
//! | `elf` | the object file: programs, relocations, lines of source |
//! | `profile` | which blocks healthy connections run |
//! | `place` | puts these together |
//! | `count` | has programs count it, for `cargo xtask profile` |

mod code;
mod count;
mod elf;
mod place;
mod profile;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use self::code::{Block, Slot};
use self::elf::{Line, Object};
use self::place::Placed;
pub use self::profile::{LAST_RANK, Profile, Rank, file as profile_file};
use crate::process;
use crate::toolchain::Toolchain;
use crate::workspace;

const TARGET: &str = if cfg!(target_endian = "big") {
    "bpfeb-unknown-none"
} else {
    "bpfel-unknown-none"
};

/// The crate's objects, and the cargo feature each is made with: the observer, which `build` names, and the
/// enforcement programs.
const OBSERVER: &str = "tfo-ebpf";
const OBJECTS: [(&str, &str); 2] = [(OBSERVER, "observer"), ("tfo-policy", "policy")];

/// What a compiler warning does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Warnings {
    Show,
    Deny,
}

/// Whether the programs log each callback.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Log {
    No,
    Yes,
}

impl Log {
    /// The feature of the crate.
    const fn feature(self) -> &'static str {
        match self {
            Self::No => "",
            Self::Yes => "log",
        }
    }
}

/// The counters in an object that counts, and how many there are (tfo-ebpf/src/lib.rs).
const COUNTERS: &str = "TFO_COUNTERS";
/// See [`COUNTERS`].
const COUNTERS_LENGTH: usize = 16_384;

/// A program that counts: its blocks by where they come from, and the index of the counter of each that has one.
pub struct CountingProgram {
    pub name: String,
    pub blocks: Vec<(Line, Option<usize>)>,
}

/// Builds the objects and returns the place of the observer's.
pub fn build(toolchain: &Toolchain, warnings: Warnings, log: Log) -> Result<PathBuf> {
    println!(
        "==> tfo-ebpf with {} and {}",
        toolchain.compiler,
        toolchain.linker.display()
    );
    let profile = fs::read_to_string(profile_file()).context("cannot read tfo-ebpf/profile.txt")?;
    let profile = Profile::parse(&profile)?;
    for (name, feature) in OBJECTS {
        let built = compile(toolchain, warnings, &[feature, log.feature()], name)?;
        let placed =
            placed(read(&built)?, &profile).with_context(|| format!("cannot place the blocks of {name}"))?;
        workspace::write_if_changed(&placed, &workspace::target("bpf").join(name))?;
    }
    Ok(workspace::target("bpf").join(OBSERVER))
}

/// An object in which the blocks that the same connections run lie together.
fn placed(content: Vec<u8>, profile: &Profile) -> Result<Vec<u8>> {
    let (mut found, mut all) = (0, 0);
    let content = moved(content, |program| {
        let ranks = match profile.ranks(&program.name, &program.lines) {
            Some((ranks, known)) => {
                found += known;
                all += ranks.len();
                ranks
            }
            None => vec![Some(0); program.blocks.len()],
        };
        place::together(&program.code, &program.blocks, &ranks)
    })?;
    println!("==> profile: knows {found} of {all} blocks");
    if found * 10 < all * 9 {
        println!("    The programs have changed since it was made. `cargo xtask profile` makes it anew.");
    }
    Ok(content)
}

/// Builds objects whose programs count how often each of their blocks is run, in the place of those that do not. They are
/// for `cargo xtask profile` alone, which builds the others again. Returns the programs of each object.
pub fn build_counting(toolchain: &Toolchain) -> Result<Vec<Vec<CountingProgram>>> {
    let mut objects = Vec::new();
    for (name, feature) in OBJECTS {
        let built = compile(toolchain, Warnings::Show, &[feature, "counting"], name)?;
        let (content, programs) =
            counting(read(&built)?).with_context(|| format!("cannot have {name} count"))?;
        workspace::write_if_changed(&content, &workspace::target("bpf").join(name))?;
        objects.push(programs);
    }
    Ok(objects)
}

fn counting(content: Vec<u8>) -> Result<(Vec<u8>, Vec<CountingProgram>)> {
    let mut programs = Vec::new();
    let mut next = 0;
    let content = moved(content, |program| {
        let (placed, counters) = count::counted(&program.code, &program.blocks, next)?;
        next += placed.loads.len();
        programs.push(CountingProgram {
            name: program.name,
            blocks: program.lines.into_iter().zip(counters).collect(),
        });
        Ok(placed)
    })?;
    ensure!(
        next <= COUNTERS_LENGTH,
        "{next} blocks: {COUNTERS} in tfo-ebpf/src/lib.rs has room for {COUNTERS_LENGTH}"
    );
    Ok((content, programs))
}

/// A program of an object.
struct Program {
    name: String,
    code: Vec<Slot>,
    blocks: Vec<Block>,
    /// Where each block comes from.
    lines: Vec<Line>,
}

/// An object whose programs are what `place` makes of them.
fn moved(content: Vec<u8>, mut place: impl FnMut(Program) -> Result<Placed>) -> Result<Vec<u8>> {
    let object = Object::parse(content)?;
    let mut placed = Vec::new();
    for program in object.programs() {
        let in_program = || program.name.clone();
        let code = object.code(program)?;
        let blocks = code::blocks(&code).with_context(in_program)?;
        let lines = object.lines(program)?;
        let line = |block: &Block| lines.get(block.slots.start).copied().flatten().unwrap_or((0, 0));
        let program = Program {
            name: program.name.clone(),
            lines: blocks.iter().map(line).collect(),
            code,
            blocks,
        };
        placed.push(place(program).with_context(in_program)?);
    }
    object.with(&placed, COUNTERS)
}

/// Compiles one object and returns where cargo put it.
fn compile(toolchain: &Toolchain, warnings: Warnings, features: &[&str], name: &str) -> Result<PathBuf> {
    // Apart from the host's builds, which use another compiler.
    let target_dir = workspace::target("ebpf-build");
    let mut command = toolchain.compiler.cargo();
    command
        .args(["build", "--release", "--package", "tfo-ebpf", "--bin", name])
        .args(["--features", &features.join(",")])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain.linker));
    if warnings == Warnings::Deny {
        // Unlike `-D warnings` in the flags this does not make cargo build `core` again.
        command.args(["-Z", "warnings", "--config", "build.warnings = 'deny'"]);
    }
    process::run(&mut command).with_context(|| format!("cannot build {name} of tfo-ebpf"))?;
    Ok(target_dir.join(TARGET).join("release").join(name))
}

/// Debug info is what `--btf` makes the object's BTF from. Separated as cargo wants it, so that a path
/// with spaces stays one flag.
fn flags(linker: &Path) -> String {
    let linker = format!("-Clinker={}", linker.display());
    ["-Cdebuginfo=2", "-Clink-arg=--btf", &linker].join("\u{1f}")
}

fn read(object: &Path) -> Result<Vec<u8>> {
    let content = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    ensure!(is_bpf_elf(&content), "{} is not a BPF object", object.display());
    Ok(content)
}

/// ELF, and machine 247 (`EM_BPF`) in the header's bytes 18 and 19.
fn is_bpf_elf(content: &[u8]) -> bool {
    let machine = content
        .get(18..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    content.starts_with(b"\x7fELF") && machine == Some(247)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_bpf_object_from_a_host_program() {
        let mut elf = vec![0; 64];
        elf[..4].copy_from_slice(b"\x7fELF");
        elf[18..20].copy_from_slice(&62_u16.to_ne_bytes());
        assert!(!is_bpf_elf(&elf));
        elf[18..20].copy_from_slice(&247_u16.to_ne_bytes());
        assert!(is_bpf_elf(&elf));
        assert!(!is_bpf_elf(b"") && !is_bpf_elf(b"\x7fELF"));
    }

    #[test]
    fn a_linker_path_with_spaces_stays_one_flag() {
        let flags = flags(Path::new("/my tools/bpf-linker"));
        assert_eq!(
            flags.split('\u{1f}').next_back(),
            Some("-Clinker=/my tools/bpf-linker")
        );
    }
}
