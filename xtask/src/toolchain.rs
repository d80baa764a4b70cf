//! Finds the eBPF toolchain: a rustc that accepts `-Z build-std` and has the sources of `core`, and a `bpf-linker` for the
//! LLVM of that rustc. The module `install` installs what is missing.

mod linker;
mod version;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

pub use self::linker::Linker;
pub use self::version::RustcVersion;
use crate::process;
use crate::workspace;

/// The oldest rustc that accepts the workspace (`rust-version` in Cargo.toml).
const MINIMUM: (u32, u32) = (1, 95);
/// The compiler of Debian's rustc-web; on PATH, the one of rustup would come first.
const DEBIAN_RUSTC: &str = "/usr/bin/rustc";

/// A compiler for the BPF target.
#[derive(Debug, Clone)]
pub enum Compiler {
    /// rustup's nightly with the component `rust-src`.
    Nightly(RustcVersion),
    /// Debian's rustc-web with rust-web-src: a stable release to which `RUSTC_BOOTSTRAP` allows nightly features. It is for
    /// machines on which rustup cannot download the component.
    Debian(RustcVersion),
}

impl Compiler {
    pub fn version(&self) -> &RustcVersion {
        match self {
            Self::Nightly(version) | Self::Debian(version) => version,
        }
    }

    /// A cargo that uses this compiler, whatever the environment says.
    pub fn cargo(&self) -> Command {
        let mut command;
        match self {
            Self::Nightly(_) => {
                command = Command::new("rustup");
                workspace::forget_outer_cargo(&mut command, true);
                command.args(["run", "nightly", "cargo"]);
            }
            Self::Debian(_) => {
                command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
                workspace::forget_outer_cargo(&mut command, true);
                command.env("RUSTC", DEBIAN_RUSTC).env("RUSTC_BOOTSTRAP", "1");
            }
        }
        command.current_dir(workspace::root());
        command
    }
}

impl std::fmt::Display for Compiler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, version) = match self {
            Self::Nightly(version) => ("rustup nightly", version),
            Self::Debian(version) => ("Debian's rustc-web", version),
        };
        write!(f, "{name} {} (LLVM {})", version.release, version.llvm_major)
    }
}

/// The compilers that were found.
#[derive(Debug, Default)]
pub struct Search {
    /// Usable compilers, the preferred one first.
    pub compilers: Vec<Compiler>,
    /// Why other compilers and linkers cannot be used, for the error message.
    pub rejected: Vec<String>,
}

/// A compiler and a linker that fit together.
#[derive(Debug)]
pub struct Toolchain {
    pub compiler: Compiler,
    pub linker: PathBuf,
}

impl Search {
    /// Finds the compilers that are installed.
    pub fn run() -> Self {
        let mut search = Self::default();
        for found in [find_nightly(), find_debian()] {
            match found {
                Ok(compiler) => search.compilers.push(compiler),
                Err(why) => search.rejected.push(format!("{why:#}")),
            }
        }
        search
    }

    /// The first compiler for which a linker is installed; `None` when there is none.
    pub fn complete(&mut self) -> Option<Toolchain> {
        let linkers = linker::installed();
        for compiler in &self.compilers {
            let llvm_major = compiler.version().llvm_major;
            match linkers.iter().find(|linker| linker.fits(llvm_major)) {
                Some(found) => {
                    return Some(Toolchain {
                        compiler: compiler.clone(),
                        linker: found.path.clone(),
                    });
                }
                None => self.rejected.push(linker::why_none_fits(&linkers, llvm_major)),
            }
        }
        None
    }
}

fn find_nightly() -> Result<Compiler> {
    anyhow::ensure!(
        process::find("rustup").is_some(),
        "rustup nightly: rustup is not installed"
    );
    let rustc = |args: &[&str]| {
        let mut command = Command::new("rustup");
        workspace::forget_outer_cargo(&mut command, true);
        // Without this, rustup would download a missing toolchain.
        process::output(
            command
                .env("RUSTUP_AUTO_INSTALL", "0")
                .args(["run", "nightly", "rustc"])
                .args(args),
        )
    };
    let Ok(version) = rustc(&["-vV"]) else {
        anyhow::bail!("rustup nightly: the toolchain is not installed");
    };
    let sysroot = rustc(&["--print", "sysroot"])?;
    anyhow::ensure!(
        has_core_sources(Path::new(sysroot.trim())),
        "rustup nightly: the component rust-src is not installed"
    );
    new_enough("rustup nightly", &version).map(Compiler::Nightly)
}

fn find_debian() -> Result<Compiler> {
    anyhow::ensure!(
        Path::new(DEBIAN_RUSTC).exists(),
        "Debian: package rustc-web is not installed"
    );
    let mut command = Command::new(DEBIAN_RUSTC);
    workspace::forget_outer_cargo(&mut command, true);
    let version = process::output(command.arg("-vV"))?;
    let version = new_enough("Debian: /usr/bin/rustc", &version)?;
    anyhow::ensure!(
        has_core_sources(Path::new("/usr")),
        "Debian: package rust-web-src is not installed"
    );
    Ok(Compiler::Debian(version))
}

fn has_core_sources(sysroot: &Path) -> bool {
    sysroot
        .join("lib/rustlib/src/rust/library/core/src/lib.rs")
        .exists()
}

fn new_enough(what: &str, verbose_version: &str) -> Result<RustcVersion> {
    let version = RustcVersion::parse(verbose_version)?;
    anyhow::ensure!(
        version.at_least(MINIMUM),
        "{what} is {}, older than the {}.{} that the workspace needs",
        version.release,
        MINIMUM.0,
        MINIMUM.1
    );
    Ok(version)
}
