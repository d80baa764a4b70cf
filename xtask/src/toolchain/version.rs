//! Reads the output of `rustc -vV`.

use anyhow::{Context as _, Result};

/// The lines of `rustc -vV` that builds depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RustcVersion {
    /// Version such as `1.96.0` or `1.97.0-nightly`.
    pub release: String,
    /// Target triple of the host.
    pub host: String,
    /// Major version of its LLVM, which that of `bpf-linker` has to equal.
    pub llvm_major: u32,
}

impl RustcVersion {
    pub fn parse(text: &str) -> Result<Self> {
        let field = |name: &str| {
            text.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::trim)
                .with_context(|| format!("`rustc -vV` has no line `{name}`"))
        };
        let llvm = field("LLVM version")?;
        let llvm_major = llvm.split('.').next().and_then(|major| major.parse().ok());
        Ok(Self {
            release: field("release")?.to_owned(),
            host: field("host")?.to_owned(),
            llvm_major: llvm_major.with_context(|| format!("`rustc -vV`: LLVM version `{llvm}`"))?,
        })
    }

    pub fn at_least(&self, minimum: (u32, u32)) -> bool {
        let mut numbers = self.release.split(['.', '-']).map_while(|part| part.parse().ok());
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= minimum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NIGHTLY: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
        commit-hash: e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a\ncommit-date: 2026-05-19\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";

    #[test]
    fn reads_release_host_and_llvm() {
        let version = RustcVersion::parse(NIGHTLY).unwrap();
        assert_eq!(version.release, "1.97.0-nightly");
        assert_eq!(version.host, "x86_64-unknown-linux-gnu");
        assert_eq!(version.llvm_major, 22);
    }

    #[test]
    fn compares_releases_as_numbers() {
        let version = RustcVersion::parse(NIGHTLY).unwrap();
        assert!(version.at_least((1, 95)) && version.at_least((1, 97)));
        assert!(!version.at_least((1, 100)) && !version.at_least((2, 0)));
    }

    #[test]
    fn names_the_missing_line() {
        let error = RustcVersion::parse("release: 1.63.0\nhost: x\n").unwrap_err();
        assert!(error.to_string().contains("LLVM version"), "{error}");
        assert!(RustcVersion::parse("release: 1\nhost: x\nLLVM version: unknown\n").is_err());
    }
}
