//! Which kernels are booted; finds, downloads and unpacks their packages. Nothing of it is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::release::Series;
use super::suites::Suites;
use crate::{process, workspace};

/// A kernel to boot, and on how many CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    pub which: Which,
    pub cpus: u32,
}

/// How a kernel is named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest package of a series.
    Series(Series),
    /// The newest that is packaged at all.
    Newest,
    /// An image on this machine.
    Image(PathBuf),
}

/// The matrix: the oldest supported kernel, the first without compressed modules or TCX, the first with listener
/// priming, and what a new install gets. 5.10 has no "bpf: Adjust free target to avoid global starvation of LRU
/// map" (Linux 6.16; Debian's 6.12 has it): that is where more CPUs can be too many for a small map.
pub const MATRIX: [Wanted; 4] = [
    wanted(Which::Series(Series::new(5, 10)), MANY_CPUS),
    wanted(Which::Series(Series::new(6, 1)), 1),
    wanted(Which::Series(Series::new(6, 12)), 1),
    wanted(Which::Newest, 1),
];
const MANY_CPUS: u32 = 8;

/// Those that `cargo xtask test` boots. What is known to fail is not in it, and comes in with what mends it.
pub const IN_CI: [Wanted; 3] = [
    wanted(Which::Series(Series::new(6, 1)), 1),
    wanted(Which::Series(Series::new(6, 12)), 1),
    wanted(Which::Newest, 1),
];

const fn wanted(which: Which, cpus: u32) -> Wanted {
    Wanted { which, cpus }
}

impl Wanted {
    /// `--kernel SERIES|PATH`: of the matrix, if it is there.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "newest" {
            return Ok(wanted(Which::Newest, 1));
        }
        if let Ok(series) = text.parse() {
            let which = Which::Series(series);
            let known = MATRIX.into_iter().find(|wanted| wanted.which == which);
            return Ok(known.unwrap_or(wanted(which, 1)));
        }
        let path = PathBuf::from(text);
        ensure!(
            path.is_file(),
            "{text} is neither a series (6.12, newest) nor a kernel image"
        );
        Ok(wanted(Which::Image(path), 1))
    }
}

/// A kernel image ready to boot.
#[derive(Debug)]
pub struct Kernel {
    /// As `uname -r` will print it; of an image that was named, the name of the file.
    pub version: String,
    /// Whether the machine's `uname -r` is known before it has booted.
    pub is_packaged: bool,
    pub image: PathBuf,
    /// Modules of [`MODULES`] that the initramfs can load as they are.
    pub modules: Vec<PathBuf>,
    pub cpus: u32,
}

/// What filters of clsact need, in the order of loading. Kernels with TCX need none, and theirs are compressed.
const MODULES: [&str; 2] = ["sch_ingress.ko", "cls_bpf.ko"];

/// The kernels; downloads what is not cached in target/vm.
pub fn obtain(all: &[Wanted]) -> Result<Vec<Kernel>> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut suites = None;
    let mut kernels = Vec::new();
    for wanted in all {
        let which = match &wanted.which {
            Which::Image(path) => {
                kernels.push(image(path, wanted.cpus)?);
                continue;
            }
            Which::Series(series) => Some(*series),
            Which::Newest => None,
        };
        let suites = match &suites {
            Some(suites) => suites,
            None => suites.insert(Suites::open()?),
        };
        kernels.push(packaged(&directory, suites, which, wanted.cpus)?);
    }
    Ok(kernels)
}

fn image(path: &Path, cpus: u32) -> Result<Kernel> {
    let name = path.file_name().context("a kernel image needs a file name")?;
    Ok(Kernel {
        version: name.to_string_lossy().into_owned(),
        is_packaged: false,
        image: path.to_path_buf(),
        modules: Vec::new(),
        cpus,
    })
}

fn packaged(directory: &Path, suites: &Suites, series: Option<Series>, cpus: u32) -> Result<Kernel> {
    let names = suites.names("linux-")?;
    let package = newest(&names, series).with_context(|| match series {
        Some(series) => format!("Debian's suites have no cloud kernel linux-image-{series}.*-cloud-amd64"),
        None => "Debian's suites have no cloud kernel at all".to_owned(),
    })?;
    let version = version_of(package).unwrap_or(package).to_owned();
    let unpacked = directory.join(&version);
    if !unpacked.exists() {
        println!("    downloading {package}");
        let download = directory.join("download");
        let file = suites.download(package, &download)?;
        // Whole or not at all: an interrupted run must not leave half a kernel behind that counts as there.
        let partial = directory.join("partial");
        let _ = fs::remove_dir_all(&partial);
        process::output(Command::new("dpkg-deb").arg("-x").arg(&file).arg(&partial))
            .with_context(|| format!("cannot unpack {package}"))?;
        fs::rename(&partial, &unpacked).with_context(|| format!("cannot rename {}", partial.display()))?;
        fs::remove_dir_all(&download).with_context(|| format!("cannot remove {}", download.display()))?;
    }
    let places = [
        unpacked.join("boot").join(format!("vmlinuz-{version}")),
        unpacked.join("usr/lib/modules").join(&version).join("vmlinuz"),
    ];
    let image = places.into_iter().find(|place| place.exists());
    let modules = unpacked
        .join("lib/modules")
        .join(&version)
        .join("kernel/net/sched");
    Ok(Kernel {
        image: image.with_context(|| {
            format!(
                "package {package} has no kernel image; remove {} to get it again",
                unpacked.display()
            )
        })?,
        version,
        is_packaged: true,
        modules: MODULES
            .map(|name| modules.join(name))
            .into_iter()
            .filter(|path| path.exists())
            .collect(),
        cpus,
    })
}

/// The newest real cloud kernel of a series, or of all, among package names: no debug symbols, no unsigned build,
/// no meta package (`linux-image-6.12-cloud-amd64`, which has no third number). From 7.x the image is in
/// `linux-binary-*`, and `linux-image-*` is one of those that only depend on others.
fn newest(names: &str, series: Option<Series>) -> Option<&str> {
    let is_of_series = |version: &str| {
        let own = Series::of(version);
        series.is_none_or(|series| own.is_ok_and(|own| own == series))
    };
    names
        .lines()
        .map(str::trim)
        .filter_map(|name| {
            let version = version_of(name)?;
            let numbers = numbers(version.strip_suffix("-cloud-amd64")?);
            (numbers.len() > 2 && is_of_series(version)).then(|| (numbers, name.starts_with(SPLIT), name))
        })
        .max()
        .map(|(_, _, name)| name)
}

const SPLIT: &str = "linux-binary-";

/// `linux-image-6.1.0-56-cloud-amd64` is the package of 6.1.0-56-cloud-amd64.
fn version_of(package: &str) -> Option<&str> {
    let prefixes = [SPLIT, "linux-image-"];
    let version = prefixes.iter().find_map(|prefix| package.strip_prefix(prefix))?;
    // Not `linux-binary-unsigned-...`.
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(version)
}

/// `6.1.0-56` as [6, 1, 0, 56], `6.12.117+deb12` as [6, 12, 117, 12]; compared as numbers, 9 comes before 10.
fn numbers(text: &str) -> Vec<u32> {
    let numbers = text.split(|c: char| !c.is_ascii_digit());
    numbers.filter_map(|n| n.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &str = "linux-image-6.1.0-9-cloud-amd64\nlinux-image-6.1.0-56-cloud-amd64-dbg\n\
        linux-image-6.1.0-56-cloud-amd64\nlinux-image-6.1.0-57-cloud-amd64-unsigned\n\
        linux-image-6.1.0-0.deb11.52-cloud-amd64\n\
        linux-image-6.1.0-58-amd64\nlinux-image-6.12-cloud-amd64\nlinux-image-6.12.117+deb12-cloud-amd64\n\
        linux-image-6.12.99+deb12-cloud-amd64\nlinux-image-6.12.200+deb12-rt-amd64\nlinux-image-cloud-amd64\n\
        linux-headers-9.9.9-cloud-amd64\nlinux-base-7.2.13+deb14-cloud-amd64\n";
    const SPLIT_NAMES: &str = "linux-image-7.2.13+deb14-cloud-amd64\nlinux-binary-7.2.13+deb14-cloud-amd64\n\
        linux-binary-unsigned-7.2.14+deb14-cloud-amd64\nlinux-modules-7.2.13+deb14-cloud-amd64\n";

    #[test]
    fn takes_the_newest_real_kernel_of_the_series() {
        let newest = |minor| newest(NAMES, Some(Series::new(6, minor)));
        assert_eq!(newest(1), Some("linux-image-6.1.0-56-cloud-amd64"));
        assert_eq!(newest(12), Some("linux-image-6.12.117+deb12-cloud-amd64"));
        assert_eq!(newest(2), None);
    }

    #[test]
    fn takes_the_part_with_the_image_where_the_package_is_split() {
        let names = [NAMES, SPLIT_NAMES].concat();
        assert_eq!(
            newest(&names, None),
            Some("linux-binary-7.2.13+deb14-cloud-amd64")
        );
        assert_eq!(
            newest(NAMES, None),
            Some("linux-image-6.12.117+deb12-cloud-amd64")
        );
    }

    #[test]
    fn a_meta_package_or_an_empty_list_is_no_kernel() {
        let meta = "linux-image-6.12-cloud-amd64\nlinux-image-cloud-amd64\n";
        assert_eq!(newest(meta, Some(Series::new(6, 12))), None);
        assert_eq!(newest(meta, None), None);
        assert_eq!(newest("", None), None);
    }

    #[test]
    fn a_kernel_is_named_by_series_or_path() {
        assert_eq!(Wanted::parse("5.10").unwrap(), MATRIX[0]);
        assert_eq!(Wanted::parse("newest").unwrap(), MATRIX[3]);
        let other = Wanted::parse("6.16").unwrap();
        assert_eq!(other.which, Which::Series(Series::new(6, 16)));
        let image = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(Wanted::parse(image).unwrap().which, Which::Image(image.into()));
        assert!(Wanted::parse("/no/such/image").is_err());
    }

    #[test]
    fn ci_boots_a_part_of_the_matrix() {
        assert!(IN_CI.iter().all(|wanted| MATRIX.contains(wanted)));
    }
}
