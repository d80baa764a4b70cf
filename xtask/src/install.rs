//! Puts the missing parts of the eBPF toolchain on the machine, or says exactly what to do.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::interrupt::Interrupted;
use crate::packages;
use crate::process;
use crate::toolchain::{Compiler, Linker, Search, Toolchain};
use crate::workspace;

/// The version the project was verified with; newer ones may ask for a newer rustc than the workspace does.
const LINKER_VERSION: &str = "0.13.0";

/// A complete toolchain: what is there, else what can be installed.
pub fn ensure_toolchain() -> Result<Toolchain> {
    let mut search = Search::run();
    if let Some(found) = search.complete() {
        return Ok(found);
    }
    println!("==> the eBPF toolchain is not complete");
    for why in &search.rejected {
        println!("    {why}");
    }
    if let Some(why) = packages::cannot_install() {
        bail!(
            "cannot install the eBPF toolchain here ({why})\n{}",
            advice(&search)
        );
    }
    if let Some(found) = add_linker(&mut search)? {
        return Ok(found);
    }
    // No compiler, or one whose LLVM this Debian does not have.
    if !search
        .compilers
        .iter()
        .any(|compiler| matches!(compiler, Compiler::Debian(_)))
    {
        packages::install(&["rustc-web".to_owned(), "rust-web-src".to_owned()])?;
        search = Search::run();
        if let Some(found) = add_linker(&mut search)? {
            return Ok(found);
        }
    }
    bail!(
        "the eBPF toolchain is still not complete: {}\n{}",
        search.rejected.join("; "),
        advice(&search)
    )
}

/// Gives the first compiler for which that works a linker, unless one fits already.
fn add_linker(search: &mut Search) -> Result<Option<Toolchain>> {
    let mut found = search.complete();
    for compiler in &search.compilers {
        if found.is_some() {
            break;
        }
        match install_linker(compiler) {
            Ok(()) => found = Search::run().complete(),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => println!("    {compiler}: {error:#}"),
        }
    }
    Ok(found)
}

fn install_linker(compiler: &Compiler) -> Result<()> {
    let major = compiler.version().llvm_major;
    let prefix = format!("/usr/lib/llvm-{major}");
    if !std::path::Path::new(&prefix).join("include/llvm-c").exists() {
        let dev = format!("llvm-{major}-dev");
        packages::install(&[dev, "libzstd-dev".to_owned(), "zlib1g-dev".to_owned()])?;
    }
    println!("==> cargo install bpf-linker for LLVM {major} (about a minute)");
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    workspace::forget_outer_cargo(&mut command, true);
    // Not in the repository, whose settings are not meant for this build.
    command
        .current_dir("/")
        .env("LLVM_PREFIX", &prefix)
        .args(linker_args(major));
    if process::find("bpf-linker").is_some() {
        // Someone's own copy, for another LLVM: leave it alone.
        command.arg("--root").arg(Linker::private_root());
    }
    process::run(&mut command).context("cannot build bpf-linker")
}

fn linker_args(llvm_major: u32) -> Vec<String> {
    let features = format!("llvm-{llvm_major}");
    [
        "install",
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--locked",
        "--no-default-features",
        "--features",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain([features])
    .collect()
}

/// Commands for a person to run, by what is missing.
fn advice(search: &Search) -> String {
    if let Some(compiler) = search.compilers.first() {
        let major = compiler.version().llvm_major;
        return format!(
            "  a compiler is there ({compiler}); what is missing is its linker. Install LLVM {major} with headers\n  \
             (Debian: apt-get install llvm-{major}-dev libzstd-dev zlib1g-dev), then run\n    \
             LLVM_PREFIX=/usr/lib/llvm-{major} cargo {}",
            linker_args(major).join(" ")
        );
    }
    format!(
        "  either, with rustup:\n    \
         rustup toolchain install nightly --component rust-src\n    \
         cargo install bpf-linker --version {LINKER_VERSION} --locked --no-default-features --features llvm-NN\n    \
         (NN: the LLVM major version that `rustc +nightly -vV` prints; needs that LLVM's headers, LLVM_PREFIX)\n  \
         or, on Debian, as root:\n    \
         apt-get update && apt-get install --no-install-recommends rustc-web rust-web-src\n    \
         and run `cargo xtask setup` again"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::RustcVersion;

    #[test]
    fn advice_names_the_llvm_of_the_compiler_found() {
        let version = RustcVersion {
            release: "1.96.0".into(),
            host: "h".into(),
            llvm_major: 22,
        };
        let search = Search {
            compilers: vec![Compiler::Debian(version)],
            rejected: Vec::new(),
        };
        let text = advice(&search);
        assert!(
            text.contains("llvm-22-dev") && text.contains("--features llvm-22"),
            "{text}"
        );
    }

    #[test]
    fn advice_without_a_compiler_names_both_ways() {
        let text = advice(&Search::default());
        assert!(
            text.contains("--component rust-src") && text.contains("rustc-web"),
            "{text}"
        );
    }
}
