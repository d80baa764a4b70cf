//! Debian's suites that have the kernels to boot. Their package lists are kept under `target/vm/apt`: the host may be
//! another release, and its own sources and lists stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use crate::{packages, process, workspace};

/// Archive and suite: bullseye has 5.10, bookworm 6.1, its backports 6.12, and sid the newest that is packaged.
const SUITES: [(&str, &str); 6] = [
    ("debian", "bullseye"),
    ("debian-security", "bullseye-security"),
    ("debian", "bookworm"),
    ("debian-security", "bookworm-security"),
    ("debian", "bookworm-backports"),
    ("debian", "sid"),
];
/// The keys that sign all suites, of the package `debian-archive-keyring`, which other distributions have, too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// Age up to which lists are not read again: the newest kernel changes every week or two.
const MAX_AGE: Duration = Duration::from_hours(24);

/// Package lists that have been read.
pub struct Suites {
    directory: PathBuf,
}

impl Suites {
    /// Reads the package lists, unless that was done within [`MAX_AGE`]. Without a network, older lists are used.
    pub fn open() -> Result<Self> {
        let suites = Self {
            directory: workspace::target("vm/apt"),
        };
        let stamp = suites.directory.join("read");
        let sources = suites.directory.join("sources.list");
        let list = sources_list();
        let is_same = fs::read_to_string(&sources).is_ok_and(|text| text == list);
        if is_same && age(&stamp).is_some_and(|age| age < MAX_AGE) {
            return Ok(suites);
        }
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is not there: install the package debian-archive-keyring"
        );
        for directory in ["lists/partial", "cache/archives/partial"] {
            let path = suites.directory.join(directory);
            fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
        }
        fs::write(&sources, list).with_context(|| format!("cannot write {}", sources.display()))?;
        println!("    reading the package lists of {} suites", SUITES.len());
        match process::output(suites.apt(packages::apt_get()).arg("update")) {
            Ok(_) => {
                fs::write(&stamp, "").with_context(|| format!("cannot write {}", stamp.display()))?;
            }
            Err(error) if stamp.exists() => {
                println!("    using older package lists: {error:#}");
            }
            Err(error) => return Err(error.context("cannot read the package lists of Debian's suites")),
        }
        Ok(suites)
    }

    /// Names of the packages that begin with `prefix`, one on each line.
    pub fn names(&self, prefix: &str) -> Result<String> {
        process::output(self.apt(process::command("apt-cache")).args(["pkgnames", prefix]))
    }

    /// Downloads a package into a directory, which is emptied before; returns the path of the file.
    pub fn download(&self, package: &str, directory: &Path) -> Result<PathBuf> {
        // The file name has a version, which need not be known when the directory has one file.
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).with_context(|| format!("cannot create {}", directory.display()))?;
        let mut command = self.apt(packages::apt_get());
        process::output(command.current_dir(directory).args(["download", package]))
            .with_context(|| format!("cannot download {package}"))?;
        let file = fs::read_dir(directory)?.flatten().next();
        Ok(file.context("apt-get download left no file")?.path())
    }

    /// An apt command that uses our directories instead of the system's.
    fn apt(&self, mut command: Command) -> Command {
        let mut option = |name: &str, value: &str| {
            command.args(["-o", &format!("{name}={value}")]);
        };
        for (name, place) in [
            ("Dir::Etc::sourcelist", "sources.list"),
            ("Dir::State::lists", "lists"),
            ("Dir::Cache", "cache"),
        ] {
            option(name, &self.directory.join(place).to_string_lossy());
        }
        option("Dir::Etc::sourceparts", "/dev/null");
        option("Acquire::Languages", "none");
        option("Acquire::IndexTargets::deb::DEP-11::DefaultEnabled", "false");
        // The user `_apt` may not have access to this directory.
        option("APT::Sandbox::User", "root");
        command
    }
}

fn sources_list() -> String {
    let line = |(archive, suite): &(&str, &str)| {
        format!("deb [arch=amd64 signed-by={KEYRING}] http://deb.debian.org/{archive} {suite} main\n")
    };
    SUITES.iter().map(line).collect()
}

fn age(stamp: &Path) -> Option<Duration> {
    let written = fs::metadata(stamp).ok()?.modified().ok()?;
    SystemTime::now().duration_since(written).ok()
}
