//! The kernels that are booted: finds, downloads and unpacks their packages. Nothing is installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::release::Series;
use super::suites::Suites;
use crate::{process, workspace};

/// A machine to boot: a kernel and a number of CPUs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineSpec {
    pub which: Which,
    pub cpus: u32,
}

/// The kernel to boot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    /// The newest package of a series.
    Series(Series),
    /// The newest that is packaged at all.
    Newest,
    /// An image on this machine.
    Image(PathBuf),
}

/// All machines: 5.10 is the oldest kernel that is tried, 6.1 has neither TCX nor listener priming, 6.12 has both, and the
/// newest is what a new installation gets. 5.10 lacks "bpf: Adjust free target to avoid global starvation of LRU map"
/// (Linux 6.16; Debian's 6.12 has it), without which many CPUs may be too many for a small map.
pub const MATRIX: [MachineSpec; 4] = [
    machine(Which::Series(Series::new(5, 10)), MANY_CPUS),
    machine(Which::Series(Series::new(6, 1)), 1),
    machine(Which::Series(Series::new(6, 12)), 1),
    machine(Which::Newest, 1),
];
/// CPUs of the machine that tests small LRU maps.
const MANY_CPUS: u32 = 8;

/// The machines that `cargo xtask test` boots: those without known findings. `cargo xtask vm-test` boots all.
pub const IN_CI: [MachineSpec; 3] = [
    machine(Which::Series(Series::new(6, 1)), 1),
    machine(Which::Series(Series::new(6, 12)), 1),
    machine(Which::Newest, 1),
];

const fn machine(which: Which, cpus: u32) -> MachineSpec {
    MachineSpec { which, cpus }
}

impl MachineSpec {
    /// Reads `--kernel SERIES|PATH`. A series of the matrix has the CPUs that it has there, others have one.
    pub fn parse(text: &str) -> Result<Self> {
        if text == "newest" {
            return Ok(machine(Which::Newest, 1));
        }
        if let Ok(series) = text.parse() {
            let which = Which::Series(series);
            let in_matrix = MATRIX.into_iter().find(|spec| spec.which == which);
            return Ok(in_matrix.unwrap_or(machine(which, 1)));
        }
        let path = PathBuf::from(text);
        ensure!(
            path.is_file(),
            "{text} is neither a series (6.12, newest) nor a kernel image"
        );
        Ok(machine(Which::Image(path), 1))
    }
}

/// A kernel image ready to boot.
#[derive(Debug)]
pub struct Kernel {
    /// The release that `uname -r` prints; of an image, the name of the file.
    pub version: String,
    /// Whether `version` is the release; otherwise it is known only after the boot.
    pub is_packaged: bool,
    pub image: PathBuf,
    /// The modules of [`MODULES`] that the package has uncompressed, for the initramfs.
    pub modules: Vec<PathBuf>,
    pub cpus: u32,
}

/// The modules that filters of clsact need, in the order of loading. Kernels with TCX need none, and have compressed
/// ones.
const MODULES: [&str; 2] = ["sch_ingress.ko", "cls_bpf.ko"];

/// Gets the kernels; downloads those that are not in target/vm.
pub fn obtain(all: &[MachineSpec]) -> Result<Vec<Kernel>> {
    let directory = workspace::target("vm");
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let mut suites = None;
    let mut kernels = Vec::new();
    for spec in all {
        let which = match &spec.which {
            Which::Image(path) => {
                kernels.push(image(path, spec.cpus)?);
                continue;
            }
            Which::Series(series) => Some(*series),
            Which::Newest => None,
        };
        let suites = match &suites {
            Some(suites) => suites,
            None => suites.insert(Suites::open()?),
        };
        kernels.push(packaged(&directory, suites, which, spec.cpus)?);
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
        // Renamed when complete: an interrupted run must not leave half a kernel that counts as a whole one.
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

/// The package of the newest cloud kernel of a series, or of all, among these names. Packages with debug symbols, unsigned
/// builds and meta packages (`linux-image-6.12-cloud-amd64`, without a third number) do not count. From 7.x on the image
/// is in `linux-binary-*`, and `linux-image-*` only depends on other packages.
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

/// Prefix of the package with the image, where it is a package of its own.
const SPLIT: &str = "linux-binary-";

/// The release in the name of a package: `6.1.0-56-cloud-amd64` in `linux-image-6.1.0-56-cloud-amd64`.
fn version_of(package: &str) -> Option<&str> {
    let prefixes = [SPLIT, "linux-image-"];
    let version = prefixes.iter().find_map(|prefix| package.strip_prefix(prefix))?;
    // Excludes `linux-binary-unsigned-...`.
    version
        .starts_with(|c: char| c.is_ascii_digit())
        .then_some(version)
}

/// The numbers in a release, for comparing: `6.12.117+deb12` is [6, 12, 117, 12].
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
        assert_eq!(MachineSpec::parse("5.10").unwrap(), MATRIX[0]);
        assert_eq!(MachineSpec::parse("newest").unwrap(), MATRIX[3]);
        let other = MachineSpec::parse("6.16").unwrap();
        assert_eq!(other.which, Which::Series(Series::new(6, 16)));
        let image = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert_eq!(
            MachineSpec::parse(image).unwrap().which,
            Which::Image(image.into())
        );
        assert!(MachineSpec::parse("/no/such/image").is_err());
    }

    #[test]
    fn ci_boots_a_part_of_the_matrix() {
        assert!(IN_CI.iter().all(|wanted| MATRIX.contains(wanted)));
    }
}
