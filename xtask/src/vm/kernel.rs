//! Finds, downloads and unpacks a kernel package; nothing of it is installed.

use std::cmp::Reverse;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{packages, process, workspace};

/// The kernel series to boot: the oldest one supported, and the first with iter/tcp listener priming.
pub const SERIES: [&str; 2] = ["6.1", "6.12"];

/// A kernel image ready to boot.
#[derive(Debug)]
pub struct Kernel {
    /// As in the package's name, `6.1.0-56-cloud-amd64`.
    pub version: String,
    pub image: PathBuf,
    /// Modules of [`MODULES`] that the initramfs can load as they are.
    pub modules: Vec<PathBuf>,
}

/// What filters of clsact need, in the order of loading. Kernels with TCX need none, and theirs are compressed.
const MODULES: [&str; 2] = ["sch_ingress.ko", "cls_bpf.ko"];

/// The kernel of each series; downloads what is not cached in target/vm.
pub fn obtain_all() -> Result<Vec<Kernel>> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    match SERIES.iter().map(|series| obtain(&directory, series)).collect() {
        Ok(kernels) => Ok(kernels),
        // Lists that are missing or older than what the mirror still has.
        Err(_) if process::is_root() => {
            packages::update()?;
            SERIES.iter().map(|series| obtain(&directory, series)).collect()
        }
        Err(error) => Err(error.context("try `sudo apt-get update` first")),
    }
}

fn obtain(directory: &Path, series: &str) -> Result<Kernel> {
    let names = process::output(process::command("apt-cache").args(["pkgnames", "linux-image-"]))?;
    let package = newest(&names, series).with_context(|| {
        format!("the package lists have no cloud kernel linux-image-{series}.*-cloud-amd64")
    })?;
    let version = package.trim_start_matches("linux-image-").to_owned();
    let unpacked = directory.join(&version);
    let image = unpacked.join("boot").join(format!("vmlinuz-{version}"));
    let sched = unpacked
        .join("lib/modules")
        .join(&version)
        .join("kernel/net/sched");
    if !image.exists() || !sched.exists() {
        println!("    downloading {package}");
        let download = directory.join("download");
        // One package per directory: its file name carries a version that we need not know.
        let _ = fs::remove_dir_all(&download);
        fs::create_dir_all(&download).with_context(|| format!("cannot create {}", download.display()))?;
        process::output(
            packages::apt_get()
                .current_dir(&download)
                .args(["download", package]),
        )
        .with_context(|| format!("cannot download {package}"))?;
        let file = fs::read_dir(&download)?
            .flatten()
            .next()
            .context("apt-get download left no file")?;
        // Whole or not at all: an interrupted run must not leave half a kernel behind that counts as there.
        let partial = directory.join("partial");
        for old in [&partial, &unpacked] {
            let _ = fs::remove_dir_all(old);
        }
        process::output(Command::new("dpkg-deb").arg("-x").arg(file.path()).arg(&partial))
            .with_context(|| format!("cannot unpack {package}"))?;
        fs::rename(&partial, &unpacked).with_context(|| format!("cannot rename {}", partial.display()))?;
        fs::remove_dir_all(&download).with_context(|| format!("cannot remove {}", download.display()))?;
    }
    anyhow::ensure!(image.exists(), "package {package} has no {}", image.display());
    let modules = MODULES.map(|name| sched.join(name)).to_vec();
    Ok(Kernel {
        version,
        image,
        modules: modules.into_iter().filter(|path| path.exists()).collect(),
    })
}

/// The newest real cloud kernel of a series among package names: no debug symbols, no unsigned build,
/// no meta package (`linux-image-6.12-cloud-amd64`, which has no third number).
fn newest<'a>(names: &'a str, series: &str) -> Option<&'a str> {
    names
        .lines()
        .map(str::trim)
        .filter_map(|name| {
            let version = name.strip_prefix("linux-image-")?.strip_suffix("-cloud-amd64")?;
            let patch = version.strip_prefix(series)?.strip_prefix('.')?;
            Some((Reverse(numbers(patch)?), name))
        })
        .min()
        .map(|(_, name)| name)
}

/// `0-56` as [0, 56], `117+deb12` as [117, 12]; compared as numbers, 9 comes before 10.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = text
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|n| n.parse().ok())
        .collect();
    (!numbers.is_empty()).then_some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-dbg\n\
        linux-image-6.1.0-56-cloud-amd64\nlinux-image-6.1.0-57-cloud-amd64-unsigned\n\
        linux-image-6.1.0-58-amd64\nlinux-image-6.12-cloud-amd64\nlinux-image-6.12.117+deb12-cloud-amd64\n\
        linux-image-6.12.99+deb12-cloud-amd64\nlinux-image-6.12.200+deb12-rt-amd64\nlinux-image-cloud-amd64\n";

    #[test]
    fn takes_the_newest_real_kernel_of_the_series() {
        assert_eq!(newest(NAMES, "6.1"), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(
            newest(NAMES, "6.12"),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
    }

    #[test]
    fn a_meta_package_or_an_empty_list_is_no_kernel() {
        assert_eq!(
            newest("linux-image-6.12-cloud-amd64\nlinux-image-cloud-amd64\n", "6.12"),
            None
        );
        assert_eq!(newest("", "6.1"), None);
    }
}
