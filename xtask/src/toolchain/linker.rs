//! The installed copies of `bpf-linker`, and the LLVM that each was built with.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process;
use crate::workspace;

/// An installed `bpf-linker`.
#[derive(Debug)]
pub struct Linker {
    pub path: PathBuf,
    /// Major version of its LLVM; `None` when LLVM is linked statically, as in upstream's release binaries.
    pub llvm_major: Option<u32>,
}

impl Linker {
    /// The directory in which `install` puts a copy of its own when the one on PATH is for another LLVM.
    pub fn private_root() -> PathBuf {
        workspace::target("tools")
    }

    /// Whether it was built with this LLVM. An unknown version counts as fitting: if it does not fit, linking fails with a
    /// message.
    pub fn fits(&self, llvm_major: u32) -> bool {
        self.llvm_major.is_none_or(|major| major == llvm_major)
    }
}

/// The installed linkers: first our own copy, which exists only where the one on PATH did not fit; then the one on PATH;
/// then the one in cargo's directory.
pub fn installed() -> Vec<Linker> {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    [
        Some(Linker::private_root().join("bin/bpf-linker")),
        process::find("bpf-linker"),
        cargo_home.map(|home| home.join("bin/bpf-linker")),
    ]
    .into_iter()
    .flatten()
    .filter(|path| path.exists())
    .map(|path| Linker {
        llvm_major: llvm_of(&path),
        path,
    })
    .collect()
}

/// Why none of these linkers can be used with a rustc of this LLVM.
pub fn why_none_fits(linkers: &[Linker], llvm_major: u32) -> String {
    if linkers.is_empty() {
        return format!("bpf-linker: not installed (LLVM {llvm_major} wanted)");
    }
    let found: Vec<_> = linkers
        .iter()
        .map(|linker| {
            let major = linker
                .llvm_major
                .map_or_else(|| "?".to_owned(), |major| major.to_string());
            format!("{} is for LLVM {major}", linker.path.display())
        })
        .collect();
    format!("bpf-linker: LLVM {llvm_major} wanted, {}", found.join(", "))
}

/// The LLVM of a linker. `bpf-linker --version` does not name it, but the file name of the library that it loads does.
fn llvm_of(linker: &Path) -> Option<u32> {
    llvm_in_ldd(&process::output(Command::new("ldd").arg(linker)).ok()?)
}

/// Reads `libLLVM.so.22.1 => …` and the older `libLLVM-17.so.1 => …`.
fn llvm_in_ldd(ldd: &str) -> Option<u32> {
    let rest = ldd.lines().find_map(|line| line.trim().strip_prefix("libLLVM"))?;
    let rest = rest.strip_prefix(".so.").or_else(|| rest.strip_prefix('-'))?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..digits)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_names_of_the_library() {
        let ldd =
            "\tlinux-vdso.so.1 (0x00007f)\n\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x0)\n";
        assert_eq!(llvm_in_ldd(ldd), Some(22));
        assert_eq!(
            llvm_in_ldd("\tlibLLVM-17.so.1 => /lib/libLLVM-17.so.1 (0x0)\n"),
            Some(17)
        );
    }

    #[test]
    fn a_static_linker_has_no_known_version_and_fits() {
        assert_eq!(
            llvm_in_ldd("\tlibc.so.6 => /lib/libc.so.6 (0x0)\n\tstatically linked\n"),
            None
        );
        let linker = Linker {
            path: PathBuf::from("x"),
            llvm_major: None,
        };
        assert!(linker.fits(21) && linker.fits(22));
    }

    #[test]
    fn a_linker_for_another_llvm_is_named() {
        let linkers = [Linker {
            path: PathBuf::from("/x/bpf-linker"),
            llvm_major: Some(21),
        }];
        assert!(!linkers[0].fits(22));
        let why = why_none_fits(&linkers, 22);
        assert!(
            why.contains("22 wanted") && why.contains("/x/bpf-linker is for LLVM 21"),
            "{why}"
        );
    }
}
