//! Where things are in this repository, and cargo commands free of the outer cargo's environment.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::process;
use crate::toolchain::RustcVersion;

/// The repository's top directory.
pub fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// A path below `target/`. `CARGO_TARGET_DIR` is not followed: tfo-cli's build script and the
/// documentation name these places.
pub fn target(path: &str) -> PathBuf {
    root().join("target").join(path)
}

/// A cargo command for the host, in the repository, with this `target/`.
pub fn cargo(subcommand: &str) -> Command {
    let mut command = cargo_plain(subcommand);
    command.arg("--target-dir").arg(root().join("target"));
    command
}

/// The same for subcommands that build nothing, which do not know the option.
pub fn cargo_plain(subcommand: &str) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    forget_outer_cargo(&mut command, false);
    command.arg(subcommand);
    command
}

/// Removes what `cargo run` and rustup's proxy put into our environment, which an inner cargo would
/// take for the user's wish. `toolchain_too` also removes what selects a compiler and its flags.
pub fn forget_outer_cargo(command: &mut Command, toolchain_too: bool) {
    for (key, _) in std::env::vars_os() {
        if key.to_str().is_some_and(|key| is_leaked(key, toolchain_too)) {
            command.env_remove(&key);
        }
    }
    // `cargo run` puts its toolchain's own libraries first: another rustc would load the wrong ones.
    if let Some(value) = std::env::var_os("LD_LIBRARY_PATH") {
        let ours: Vec<_> = std::env::split_paths(&value)
            .filter(|p| !is_cargos_library_path(p))
            .collect();
        match std::env::join_paths(&ours) {
            Ok(value) if !value.is_empty() => command.env("LD_LIBRARY_PATH", value),
            _ => command.env_remove("LD_LIBRARY_PATH"),
        };
    }
}

/// Settings of the person (registries, network, output, home) stay; the outer package's do not.
fn is_leaked(key: &str, toolchain_too: bool) -> bool {
    const OUTER: [&str; 5] = [
        "CARGO_PKG_",
        "CARGO_MANIFEST_",
        "CARGO_BIN_",
        "CARGO_PRIMARY_PACKAGE",
        "CARGO_TARGET_DIR",
    ];
    const KEPT: [&str; 6] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_TERM_",
        "CARGO_SOURCE_",
    ];
    const TOOLCHAIN: [&str; 9] = [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTC_BOOTSTRAP",
        "RUSTDOC",
        "RUSTFLAGS",
        "RUSTDOCFLAGS",
        "RUSTUP_TOOLCHAIN",
        "RUST_RECURSION_COUNT",
    ];
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| key.starts_with(prefix));
    if toolchain_too {
        TOOLCHAIN.contains(&key) || (key.starts_with("CARGO") && !starts(&KEPT))
    } else {
        starts(&OUTER)
    }
}

fn is_cargos_library_path(path: &Path) -> bool {
    path.starts_with(root())
        || path.components().any(|part| part.as_os_str() == "toolchains")
        || path.ends_with("deps")
        || path.ends_with("debug")
}

/// The compiler that the inner cargo uses for the host.
pub fn host_rustc() -> Result<RustcVersion> {
    let mut command = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| OsString::from("rustc")));
    forget_outer_cargo(&mut command, false);
    RustcVersion::parse(&process::output(command.current_dir(root()).arg("-vV"))?)
}

/// Copies a file unless the content is the same already: a new time stamp would make cargo rebuild
/// what embeds it. The old file is replaced, never written into, as cargo keeps hard links to its own.
pub fn copy_if_changed(from: &Path, to: &Path) -> Result<bool> {
    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
    replace_if_changed(&content, to, |partial| fs::copy(from, partial).map(drop))
}

/// Puts content into a file, likewise.
pub fn write_if_changed(content: &[u8], to: &Path) -> Result<bool> {
    replace_if_changed(content, to, |partial| fs::write(partial, content))
}

/// Replaces a file by what `write` makes, unless it has this content. Whether it had another.
fn replace_if_changed(
    content: &[u8],
    to: &Path,
    write: impl FnOnce(&Path) -> std::io::Result<()>,
) -> Result<bool> {
    if fs::read(to).is_ok_and(|old| old == content) {
        return Ok(false);
    }
    let directory = to.parent().context("the file's path has no directory")?;
    fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let partial = to.with_extension("partial");
    write(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, to).with_context(|| format!("cannot replace {}", to.display()))?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outer_package_is_forgotten_and_the_person_is_not() {
        for key in ["CARGO_PKG_NAME", "CARGO_MANIFEST_DIR", "CARGO_TARGET_DIR"] {
            assert!(is_leaked(key, false) && is_leaked(key, true), "{key}");
        }
        for key in [
            "CARGO_HOME",
            "CARGO_NET_OFFLINE",
            "CARGO_TERM_COLOR",
            "CARGO_HTTP_PROXY",
            "HOME",
        ] {
            assert!(!is_leaked(key, false) && !is_leaked(key, true), "{key}");
        }
    }

    #[test]
    fn another_compiler_starts_without_the_hosts_flags() {
        for key in [
            "RUSTFLAGS",
            "CARGO_ENCODED_RUSTFLAGS",
            "RUSTC",
            "RUSTUP_TOOLCHAIN",
            "CARGO_BUILD_TARGET",
        ] {
            assert!(!is_leaked(key, false), "{key}");
            assert!(is_leaked(key, true), "{key}");
        }
    }

    #[test]
    fn a_copy_is_made_once() {
        let directory = std::env::temp_dir().join(format!("xtask-copy-{}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        let (from, to) = (directory.join("from"), directory.join("sub/to"));
        fs::write(&from, "one").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        assert!(!copy_if_changed(&from, &to).unwrap());
        fs::write(&from, "two").unwrap();
        assert!(copy_if_changed(&from, &to).unwrap());
        assert_eq!(fs::read_to_string(&to).unwrap(), "two");
        assert!(!write_if_changed(b"two", &to).unwrap());
        assert!(write_if_changed(b"three", &to).unwrap());
        assert_eq!(fs::read_to_string(&to).unwrap(), "three");
        fs::remove_dir_all(&directory).unwrap();
    }
}
