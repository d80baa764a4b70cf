//! Compiles `tfo-ebpf` for the BPF target and puts its objects where tfo-cli's build script embeds them.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

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

/// Builds the objects and returns the place of the observer's.
pub fn build(toolchain: &Toolchain, warnings: Warnings, log: Log) -> Result<PathBuf> {
    println!(
        "==> tfo-ebpf with {} and {}",
        toolchain.compiler,
        toolchain.linker.display()
    );
    for (name, feature) in OBJECTS {
        let built = compile(toolchain, warnings, log, name, feature)?;
        ensure_bpf(&built)?;
        workspace::copy_if_changed(&built, &workspace::target("bpf").join(name))?;
    }
    Ok(workspace::target("bpf").join(OBSERVER))
}

/// Compiles one object and returns where cargo put it.
fn compile(
    toolchain: &Toolchain,
    warnings: Warnings,
    log: Log,
    name: &str,
    feature: &str,
) -> Result<PathBuf> {
    // Apart from the host's builds, which use another compiler.
    let target_dir = workspace::target("ebpf-build");
    let mut command = toolchain.compiler.cargo();
    command
        .args(["build", "--release", "--package", "tfo-ebpf", "--bin", name])
        .args(["--features", feature])
        .args(["--target", TARGET, "-Z", "build-std=core"])
        .arg("--target-dir")
        .arg(&target_dir)
        .env("CARGO_ENCODED_RUSTFLAGS", flags(&toolchain.linker));
    if log == Log::Yes {
        command.args(["--features", "log"]);
    }
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

fn ensure_bpf(object: &Path) -> Result<()> {
    let content = fs::read(object).with_context(|| format!("cannot read {}", object.display()))?;
    ensure!(is_bpf_elf(&content), "{} is not a BPF object", object.display());
    Ok(())
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
